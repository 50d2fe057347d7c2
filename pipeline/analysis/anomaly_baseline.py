"""The forecast every night is compared with: one recursion over days, all series side by side.

Here belong level, weekday factors, dispersion, censoring, restart and the scores, on plain matrices. Frames, names of
metrics and what to tell people belong to `anomalies` and `anomaly_incidents`.

Level and weekday factors are discounted ratios (West and Harrison, 1997), the dispersion a winsorised moment shrunk
to its fleet's median, slow drift a two-sided CUSUM (Page, 1954).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.analysis.anomaly_tails import Array, beta_binomial_score, negative_binomial_score

Mask = NDArray[np.bool_]

LEVEL_HALF_LIFE_DAYS = 21.0
# Weekdays come round once a week and their pattern changes slowly: 24 weeks halve their weight.
WEEKDAY_HALF_LIFE_DAYS = 168.0
WARM_UP_DAYS = 14
MOST_CENSORED_DAYS = 4
ALARM_PROBABILITY = 1e-3
CUSUM_ALLOWANCE = 0.5
CUSUM_LIMIT = 8.0
# A level that was left is taken up again when a day fits it this well while it alarms under the new one.
_RECOVERY_SCORE = 2.58
_RECOVERY_DAYS = 60
# Squared spread of a series' weekday factors around its fleet's before the fleet's own data speak: click rates of a
# step differ by some 7%, volumes by some 40%; 21 cells (three series) of data weigh as much as this guess.
_WEEKDAY_SPREAD = {"rate": 0.005, "volume": 0.16}
_SPREAD_CELLS = 21.0
_SPREAD_LIMITS = (0.0005, 0.5)
# Effective series behind a fleet's weekday factor saturate here, so that one giant does not speak for all.
_FLEET_SATURATION = 200.0
# Pseudo-days that hold a series' dispersion to the fleet's median, and that median before anything is known.
_DISPERSION_DAYS = 6.0
_FIRST_DISPERSION = {"rate": 0.02, "volume": 0.05}
_LARGEST_DISPERSION = 4.0
# A day's own variation below 5% is not worth telling from none, and keeps big series from flagging trifles.
_SMALLEST_DISPERSION = 0.0025
# Squared scores above three sigma squared are cut before they enter a moment.
_WINSOR = 9.0
# Share of the alarm probability each window of nights may spend.
WINDOW_SHARES = {"rate": {1: 0.75, 3: 0.25}, "volume": {1: 0.5, 3: 0.25, 7: 0.25}}

Kind = Literal["rate", "volume"]


@dataclass(frozen=True)
class Panel:
    """Counts of all series of one kind, days down and series across.

    Attributes:
        counts: numerators or volumes, (days, series).
        exposure: denominators, or 1 where a volume series exists, (days, series).
        usable: the cell may be scored and learnt from: exposure is there, no holiday, matured.
        weekday: 0-6 per day.
        fleet: fleet (metric) of each series, 0-based.
        kind: 'rate' or 'volume'.
    """

    counts: Array
    exposure: Array
    usable: Mask
    weekday: NDArray[np.int64]
    fleet: NDArray[np.int64]
    kind: Kind


@dataclass(frozen=True)
class Replay:
    """What the recursion knew before each day and made of it; all (days, series).

    Attributes:
        expected: forecast count.
        dispersion: squared coefficient of variation of the forecast (the day's own variation and the level's error).
        score: one-night normal score.
        probability: tail probability over all windows, each window's share paid for.
        window: nights of the window it comes from.
        window_score: that window's normal score.
        flagged: alarm.
        drift: signed CUSUM alarm, +1, -1 or 0.
        change: 1 = a new level was confirmed, 2 = the former level returned, 0 = none.
        days: usable days the baseline rests on.
    """

    expected: Array
    dispersion: Array
    score: Array
    probability: Array
    window: NDArray[np.int64]
    window_score: Array
    flagged: Mask
    drift: NDArray[np.int64]
    change: NDArray[np.int64]
    days: NDArray[np.int64]


def _weekday_spread(events: Array, expected: Array, guess: float) -> float:
    """Squared spread of true weekday factors around the fleet's, by moments weighted as if `guess` were true.

    Events are weighted so that chance alone gives them a variance equal to `expected`.
    """
    total = expected + expected**2 * guess
    relevance = (expected**2 * guess / np.maximum(total, 1e-12)) ** 2
    squared = np.minimum((events - expected) ** 2, _WINSOR * total)
    moment = (relevance * (squared - expected) / np.maximum(expected, 1e-9) ** 2).sum()
    spread = (moment + _SPREAD_CELLS * guess) / (relevance.sum() + _SPREAD_CELLS)
    return float(np.clip(spread, *_SPREAD_LIMITS))


def predictive_score(kind: Kind, count: Array, exposure: Array, expected: Array, dispersion: Array) -> Array:
    """Normal score of counts under the forecast of their kind."""
    if kind == "volume":
        return negative_binomial_score(count, expected, dispersion)
    return beta_binomial_score(count, exposure, expected / exposure, dispersion)


@dataclass
class _Level:
    """Discounted sums of one level per series: events, weighted exposure and the variance of the events."""

    events: Array
    exposure: Array
    variance: Array

    @classmethod
    def nothing(cls, series: int) -> "_Level":
        return cls(np.zeros(series), np.zeros(series), np.zeros(series))

    def decay(self, factor: float) -> None:
        self.events *= factor
        self.exposure *= factor
        self.variance *= factor**2

    def take(self, other: "_Level", where: Mask) -> None:
        for name in ("events", "exposure", "variance"):
            getattr(self, name)[where] = getattr(other, name)[where]

    def add(self, where: Mask, events: Array, exposure: Array, variance: Array) -> None:
        self.events += np.where(where, events, 0.0)
        self.exposure += np.where(where, exposure, 0.0)
        self.variance += np.where(where, variance, 0.0)

    def clear(self, where: Mask) -> None:
        for values in (self.events, self.exposure, self.variance):
            values[where] = 0.0


@dataclass
class _Recursion:
    """The state of all series between two days, and the steps that move it on."""

    panel: Panel
    level: _Level = field(init=False)
    held: _Level = field(init=False)
    former: _Level = field(init=False)

    def __post_init__(self) -> None:
        series = self.panel.counts.shape[1]
        self.series = series
        self.fleets = int(self.panel.fleet.max(initial=-1)) + 1
        self.level, self.held, self.former = (_Level.nothing(series) for _ in range(3))
        self.weekday_events = np.zeros((7, series))
        self.weekday_expected = np.zeros((7, series))
        self.moment = np.zeros(series)
        self.moment_weight = np.zeros(series)
        self.information = np.zeros(series)
        self.dispersion = np.full(series, _FIRST_DISPERSION[self.panel.kind])
        self.inflation = {width: (np.zeros(series), np.zeros(series)) for width in self.windows if width > 1}
        self.days = np.zeros(series, dtype=np.int64)
        self.run = np.zeros(series, dtype=np.int64)
        self.since_restart = np.full(series, WARM_UP_DAYS)
        self.former_age = np.full(series, _RECOVERY_DAYS + 1)
        self.cusum = np.zeros((2, series))

    @property
    def windows(self) -> dict[int, float]:
        return WINDOW_SHARES[self.panel.kind]

    def rate(self, level: _Level) -> Array:
        """Events per unit of exposure; half an event keeps a series without any from forecasting zero."""
        trial = 1.0 if self.panel.kind == "rate" else 0.0
        rate = (level.events + 0.5) / np.maximum(level.exposure + trial, 1e-9)
        return np.minimum(rate, 0.98) if self.panel.kind == "rate" else rate

    def factors(self) -> tuple[Array, Array]:
        """Weekday factors (7, series), shrunk to the fleet's, and the relative variance left in them."""
        saturated = 1 / (self.weekday_expected.sum(axis=0) / 7 + _FLEET_SATURATION)
        factors = np.empty_like(self.weekday_events)
        error = np.empty_like(self.weekday_events)
        for fleet in range(self.fleets):
            own = self.panel.fleet == fleet
            events, expected = self.weekday_events[:, own], self.weekday_expected[:, own]
            common = ((events * saturated[own]).sum(axis=1, keepdims=True) + 1.0) / (
                (expected * saturated[own]).sum(axis=1, keepdims=True) + 1.0
            )
            spread = _weekday_spread(events, expected * common, _WEEKDAY_SPREAD[self.panel.kind])
            factors[:, own] = common * (events + 1 / spread) / (expected * common + 1 / spread)
            error[:, own] = 1 / (1 / spread + expected * common)
        return factors / factors.mean(axis=0), error

    def shrink_dispersion(self) -> None:
        """Each series' moment, pulled to the median of its fleet as far as its own days are few."""
        own = np.divide(self.moment, self.moment_weight, out=np.zeros(self.series), where=self.moment_weight > 0)
        own = np.clip(own, _SMALLEST_DISPERSION, _LARGEST_DISPERSION)
        for fleet in range(self.fleets):
            members = self.panel.fleet == fleet
            known = members & (self.information >= 3)
            centre = np.median(own[known]) if known.any() else _FIRST_DISPERSION[self.panel.kind]
            information = self.information[members]
            self.dispersion[members] = (information * own[members] + _DISPERSION_DAYS * centre) / (
                information + _DISPERSION_DAYS
            )

    def learn(self, where: Mask, day: "_Day") -> None:
        """Add an unflagged day to level, weekday factors and dispersion."""
        variance = day.expected * day.complement + day.expected**2 * self.dispersion
        weight = day.expected * day.complement / np.maximum(variance, 1e-12)
        self.level.add(where, weight * day.count, weight * day.exposure * day.factor, weight**2 * variance)
        settled = where & (self.days >= 7)
        base = np.where(settled, weight, 0.0)
        self.weekday_events[day.weekday] += base * day.count
        self.weekday_expected[day.weekday] += base * day.expected / day.factor
        squared = np.minimum((day.count - day.expected) ** 2, _WINSOR * (variance + day.expected**2 * day.error))
        own = np.maximum(self.dispersion, _SMALLEST_DISPERSION)
        share = np.where(settled, own / (day.complement / np.maximum(day.expected, 1e-9) + own + day.error), 0.0) ** 2
        relevance = share / own**2
        excess = (squared - day.expected * day.complement) / np.maximum(day.expected, 1e-9) ** 2 - day.error
        self.moment += relevance * excess
        self.moment_weight += relevance
        self.information += share
        self.days += where

    def decay(self) -> None:
        """Let one calendar day pass."""
        daily = 0.5 ** (1 / LEVEL_HALF_LIFE_DAYS)
        slow = 0.5 ** (1 / WEEKDAY_HALF_LIFE_DAYS)
        self.level.decay(daily)
        self.former.decay(daily)
        self.weekday_events *= slow
        self.weekday_expected *= slow
        self.moment *= slow
        self.moment_weight *= slow
        self.information *= slow
        for sums, weights in self.inflation.values():
            sums *= slow
            weights *= slow

    def restart(self, where: Mask) -> None:
        """Take the days held back as the new level and remember the one that was left."""
        self.former.take(self.level, where)
        self.former_age[where] = 0
        self.level.take(self.held, where)
        self.since_restart[where] = 0

    def recover(self, where: Mask) -> None:
        """Return to the level that was left."""
        self.level.take(self.former, where)
        self.former_age[where] = _RECOVERY_DAYS + 1
        self.since_restart[where] = 0


@dataclass(frozen=True)
class _Day:
    """One day's forecast of all series and what came."""

    weekday: int
    count: Array
    exposure: Array
    factor: Array
    expected: Array
    complement: Array
    error: Array


@dataclass(frozen=True)
class _Snapshot:
    """The forecast as it stood before a day, for windows that begin with it."""

    rate: Array
    factors: Array
    error: Array


def replay(panel: Panel) -> Replay:
    """Walk through the days; every day is scored by what was known before it, then learnt unless it was flagged.

    Args:
        panel: counts, exposures and masks.

    Returns:
        Forecasts, scores and alarms, (days, series). Cells that are not usable score 0 with probability 1.
    """
    days, series = panel.counts.shape
    state = _Recursion(panel)
    out = Replay(
        expected=np.zeros((days, series)),
        dispersion=np.zeros((days, series)),
        score=np.zeros((days, series)),
        probability=np.ones((days, series)),
        window=np.ones((days, series), dtype=np.int64),
        window_score=np.zeros((days, series)),
        flagged=np.zeros((days, series), dtype=bool),
        drift=np.zeros((days, series), dtype=np.int64),
        change=np.zeros((days, series), dtype=np.int64),
        days=np.zeros((days, series), dtype=np.int64),
    )
    snapshots: deque[_Snapshot] = deque(maxlen=max(state.windows))
    for today in range(days):
        _score_day(state, today, out, snapshots)
        state.decay()
    return out


def _score_day(state: _Recursion, today: int, out: Replay, snapshots: deque[_Snapshot]) -> None:
    panel = state.panel
    usable = panel.usable[today]
    state.shrink_dispersion()
    factors, factor_error = state.factors()
    rate = state.rate(state.level)
    weekday = int(panel.weekday[today])
    error = state.level.variance / (state.level.events + 0.5) ** 2
    snapshots.append(_Snapshot(rate, factors, error + factor_error.mean(axis=0)))
    error = error + factor_error[weekday]
    exposure = np.where(usable, panel.exposure[today], 1.0)
    count = np.where(usable, panel.counts[today], 0.0)
    day = _forecast(panel.kind, weekday, count, exposure, rate, factors[weekday], error)
    out.expected[today], out.dispersion[today] = day.expected, state.dispersion + error
    out.days[today] = state.days

    scored = usable & (state.days >= WARM_UP_DAYS)
    score = predictive_score(panel.kind, count, exposure, day.expected, state.dispersion + error)
    out.score[today] = np.where(scored, score, 0.0)
    out.window_score[today] = out.score[today]
    out.probability[today] = np.where(scored, np.minimum(1.0, two_sided(score) / state.windows[1]), 1.0)
    for width in list(state.windows)[1:]:
        _score_window(state, today, width, scored, out, snapshots)
    flagged = scored & (out.probability[today] < ALARM_PROBABILITY)

    flagged &= ~_recover(state, flagged, day, today, out)
    renewed = flagged & (state.run >= MOST_CENSORED_DAYS)
    state.restart(renewed)
    out.change[today][renewed] = 1
    flagged &= ~renewed
    state.run[usable] = np.where(flagged, state.run + 1, 0)[usable]
    out.flagged[today] = flagged

    state.held.clear(usable & ~flagged)
    variance = day.expected * day.complement + day.expected**2 * state.dispersion
    weight = day.expected * day.complement / np.maximum(variance, 1e-12)
    state.held.add(flagged, weight * count, weight * exposure * day.factor, weight**2 * variance)
    learnt = usable & ~flagged
    state.learn(learnt & ~renewed, day)
    state.since_restart += usable
    state.former_age += 1
    _advance_cusum(state, scored & learnt & ~renewed, score, today, out)


def _forecast(
    kind: Kind, weekday: int, count: Array, exposure: Array, rate: Array, factor: Array, error: Array
) -> _Day:
    expected = exposure * rate * factor
    if kind == "volume":
        return _Day(weekday, count, exposure, factor, expected, np.ones_like(expected), error)
    expected = np.minimum(expected, 0.98 * exposure)
    return _Day(weekday, count, exposure, factor, expected, 1 - expected / exposure, error)


def two_sided(score: Array) -> Array:
    """Probability of a normal score at least this far from zero."""
    return 2 * ndtr(-np.abs(score))


def _score_window(
    state: _Recursion, today: int, width: int, scored: Mask, out: Replay, snapshots: deque[_Snapshot]
) -> None:
    """Score the sum of the last nights that were not flagged, forecast from before the first of them."""
    if len(snapshots) < width:
        return
    panel, before = state.panel, snapshots[-width]
    nights = slice(today - width + 1, today + 1)
    free = panel.usable[nights] & ~out.flagged[nights]
    exposure = np.where(free, panel.exposure[nights], 0.0)
    counts = np.where(free, panel.counts[nights], 0.0)
    expected = exposure * before.rate * before.factors[panel.weekday[nights]]
    total, trials, count = expected.sum(axis=0), exposure.sum(axis=0), counts.sum(axis=0)
    known = scored & (free.sum(axis=0) >= 2) & (state.since_restart >= width) & (state.days >= WARM_UP_DAYS + width)
    total, trials, count = np.where(known, total, 1.0), np.where(known, trials, 2.0), np.where(known, count, 0.0)
    if panel.kind == "rate":
        total = np.minimum(total, 0.98 * trials)
    complement = 1 - total / trials if panel.kind == "rate" else np.ones_like(total)
    dispersion = state.dispersion * (expected**2).sum(axis=0) / total**2 + before.error
    variance = total * complement + total**2 * dispersion
    # Nights that resemble their neighbours make sums vary more than independent ones would.
    sums, weights = state.inflation[width]
    inflation = np.maximum((sums + _DISPERSION_DAYS) / (weights + _DISPERSION_DAYS), 1.0)
    dispersion = dispersion + (inflation - 1) * variance / total**2
    score = predictive_score(panel.kind, count, trials, total, dispersion)
    squared = np.minimum((count - total) ** 2 / variance, _WINSOR)
    sums += np.where(known, squared, 0.0)
    weights += known
    probability = np.minimum(1.0, two_sided(score) / state.windows[width])
    better = known & (probability < out.probability[today])
    out.probability[today][better] = probability[better]
    out.window[today][better] = width
    out.window_score[today][better] = score[better]


def _recover(state: _Recursion, flagged: Mask, day: _Day, today: int, out: Replay) -> Mask:
    """Series whose alarm is only the return of the level they left lately; their state is put back."""
    candidates = flagged & (state.former_age <= _RECOVERY_DAYS)
    if not candidates.any():
        return candidates
    rate = state.rate(state.former)
    error = state.former.variance / (state.former.events + 0.5) ** 2
    old = _forecast(state.panel.kind, day.weekday, day.count, day.exposure, rate, day.factor, error)
    score = predictive_score(state.panel.kind, day.count, day.exposure, old.expected, state.dispersion + error)
    returned = candidates & (np.abs(score) < _RECOVERY_SCORE)
    state.recover(returned)
    out.change[today][returned] = 2
    return returned


def _advance_cusum(state: _Recursion, where: Mask, score: Array, today: int, out: Replay) -> None:
    bounded = np.where(where, np.clip(score, -3.0, 3.0), 0.0)
    moved = np.maximum(0.0, state.cusum + np.stack([bounded, -bounded]) - CUSUM_ALLOWANCE)
    state.cusum = np.where(where, moved, state.cusum)
    rising, falling = state.cusum[0] > CUSUM_LIMIT, state.cusum[1] > CUSUM_LIMIT
    out.drift[today] = rising.astype(np.int64) - falling.astype(np.int64)
    state.cusum[:, rising | falling | (out.change[today] > 0)] = 0.0
