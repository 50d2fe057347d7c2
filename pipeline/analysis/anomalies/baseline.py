"""The forecast that every night is compared with: one recursion over the days, for all series side by side.

Here: forecasts, scores, alarms, and what is learnt from a day, as matrices of days and series. Tables are made in
`nights`; alarms are grouped by their cause in `incidents`.

The level of a series and its weekday factors are discounted ratios of events to exposure (West and Harrison, 1997). The
variation of its days beyond chance, its dispersion, is a winsorised moment that is shrunk to the median of the series
of the same metric. Slow drift is found by a two-sided CUSUM of the scores (Page, 1954).

A volume is forecast with a damped slope: held against a level alone, a list that grows by 9% a month raised 12 alarms
in 1,000 step-days, and raises 2. What repeats the fortnight before is a rhythm: mail on one weekday, or every second
week, raised 40 to 70, and raises 1; a mailing of the rhythm that does not come is told the same night.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.analysis.anomalies.state import (
    DISPERSION_DAYS,
    LARGEST_RATE,
    RECOVERY_DAYS,
    SLOW_FROM_NIGHTS,
    WARM_UP_DAYS,
    WINSOR,
    WINSOR_MEAN,
    Day,
    Kind,
    Panel,
    Recursion,
)
from pipeline.analysis.anomalies.tails import beta_binomial_score, negative_binomial_score
from pipeline.analysis.statistics import Array, Mask
from pipeline.analysis.statistics.intervals import NORMAL_95

MOST_CENSORED_DAYS = 4
ALARM_PROBABILITY = 1e-3
CUSUM_ALLOWANCE = 0.5
CUSUM_LIMITS = {"rate": 6.5, "volume": 8.0}
RHYTHM_DAYS = 14
# The dispersion of a sender with a rhythm is over-estimated while the rhythm is not learnt; this is a usual one.
_RHYTHM_DISPERSION = 0.05
# A former level is restored when a day that is an alarm under the new level fits the former one this well.
_RECOVERY_SCORE = 2.58


@dataclass(frozen=True)
class Replay:
    """What the recursion knew before each day, and how it judged the day; all matrices are (days, series).

    Attributes:
        expected: forecast count.
        dispersion: squared coefficient of variation of the forecast: the day's own variation and the level's error.
        score: normal score of the night alone.
        probability: smallest tail probability among the windows, each divided by its share of the alarm probability.
        window: nights of the window with this probability.
        window_score: normal score of that window.
        flagged: whether the night is an alarm.
        drift: 1 or -1 where a CUSUM confirms a drift upwards or downwards, else 0.
        change: 1 = a new level was confirmed, 2 = the former level returned, 0 = neither.
        days: usable days on which the forecast rests.
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


def predictive_score(kind: Kind, count: Array, exposure: Array, expected: Array, dispersion: Array) -> Array:
    """Normal score of counts under the forecast of their kind."""
    if kind == "volume":
        return negative_binomial_score(count, expected, dispersion)
    return beta_binomial_score(count, exposure, expected / exposure, dispersion)


@dataclass(frozen=True)
class _Snapshot:
    """The forecast as it stood before a day, for windows that begin with it; the slow one is for the long windows."""

    rate: Array
    error: Array
    slow_rate: Array
    slow_error: Array
    factors: Array


def replay(panel: Panel) -> Replay:
    """Walk through the days. Each day is scored by what was known before it, and then learnt unless it is an alarm.

    Args:
        panel: counts, exposures and which cells are usable.

    Returns:
        Forecasts, scores and alarms. Cells that are not usable have score 0 and probability 1.

    An alarm is a night with a probability below 0.001. Days in a row that are alarms are kept apart; after four of them
    they become the new level, since what goes on is no longer an exception. Days without any event never do.
    """
    days, series = panel.counts.shape
    state = Recursion(panel)
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


def _score_day(state: Recursion, today: int, out: Replay, snapshots: deque[_Snapshot]) -> None:
    """Forecast a day from the state, score it, decide on alarms, and let the state learn."""
    usable = state.panel.usable[today]
    day = _forecast_of(state, today, snapshots)
    dispersion = state.dispersion + day.error
    scored = usable & (state.days >= WARM_UP_DAYS)
    score = predictive_score(state.panel.kind, day.count, day.exposure, day.expected, dispersion)
    out.expected[today], out.dispersion[today], out.days[today] = day.expected, dispersion, state.days
    out.score[today] = out.window_score[today] = np.where(scored, score, 0.0)
    out.probability[today] = np.where(scored, np.minimum(1.0, two_sided(score) / state.windows[1]), 1.0)
    for width in list(state.windows)[1:]:
        _score_window(state, today, width, scored, out, snapshots)

    in_rhythm, missed = _rhythm(state, today)
    out.probability[today] = np.minimum(out.probability[today], np.where(scored, missed, 1.0))
    # What has stopped stays an alarm until something comes again, however little a single night of silence says.
    is_silent = state.has_stopped & (day.count == 0)
    flagged = scored & ((out.probability[today] < ALARM_PROBABILITY) | is_silent) & ~in_rhythm
    flagged &= ~_recover(state, flagged & ~is_silent, day, today, out)
    renewed = flagged & (state.run >= MOST_CENSORED_DAYS) & ~is_silent
    state.restart(renewed)
    out.change[today][renewed] = 1
    flagged &= ~renewed
    state.run[usable] = np.where(flagged, state.run + 1, 0)[usable]
    out.flagged[today] = flagged

    state.held.clear(usable & ~flagged)
    state.add_to(state.held, flagged, day, day.count)
    learnt = usable & ~flagged & ~renewed
    state.learn(learnt, day)
    state.since_restart += usable
    state.former_age += 1
    _advance_cusum(state, scored & learnt & ~in_rhythm, _slow_score(state, day), day, today, out)


def _rhythm(state: Recursion, today: int) -> tuple[Mask, Array]:
    """Which volumes repeat what they did a fortnight ago, and how improbable it is that a rhythm is missed by chance.

    What repeats, night and fortnight alike, is a rhythm and no exception: a sender who mails every second week has no
    other ordinary nights. What has stopped repeats nothing, and the nights off of a rhythm end no alarm. A rhythm of a
    fortnight that is missed tonight is an alarm, although the weekday's level is too uncertain for one.
    """
    counts = state.panel.counts
    if state.panel.kind == "rate" or today < 2 * RHYTHM_DAYS - 1:
        return np.zeros(state.series, dtype=bool), np.ones(state.series)
    this = counts[today - RHYTHM_DAYS + 1 : today + 1]
    last = counts[today - 2 * RHYTHM_DAYS + 1 : today - RHYTHM_DAYS + 1]
    dispersion = 2 * np.minimum(state.dispersion, _RHYTHM_DISPERSION)
    night = _likeness(this[-1:], last[-1:], dispersion)
    is_alike = (np.abs(night) < NORMAL_95) & (np.abs(_likeness(this, last, dispersion)) < NORMAL_95)
    has_gaps = (this == 0).any(axis=0) & (last == 0).any(axis=0)
    fits = is_alike & has_gaps & (this.sum(axis=0) > 0) & (state.run == 0)
    is_missed = (state.nights_in_rhythm >= RHYTHM_DAYS) & (this[-1] == 0)
    state.nights_in_rhythm = np.where(fits, state.nights_in_rhythm + 1, 0)
    return fits, np.where(is_missed, two_sided(night), 1.0)


def _likeness(this: Array, last: Array, dispersion: Array) -> Array:
    """Normal score of a span of nights under what an earlier one says of it."""
    before = np.maximum(last.sum(axis=0), 0.5)
    spread = dispersion * (last**2).sum(axis=0) / before**2 + 1 / before
    return negative_binomial_score(this.sum(axis=0), before, spread)


def _slow_score(state: Recursion, day: Day) -> Array:
    """Score of a night against the level that remembers longer, which a slow drift has not moved as far.

    A volume is held against its ordinary level: the slope of that one is the younger.
    """
    rate, error = state.forecast(state.slow if state.panel.kind == "rate" else state.level)
    slow = _forecast(state.panel.kind, day.weekday, day.count, day.exposure, rate, day.factor, error)
    return predictive_score(state.panel.kind, slow.count, slow.exposure, slow.expected, state.dispersion + slow.error)


def _forecast_of(state: Recursion, today: int, snapshots: deque[_Snapshot]) -> Day:
    """The forecast of a day from what is known before it, which is also kept for windows that begin with the day."""
    panel, weekday = state.panel, int(state.panel.weekday[today])
    state.shrink_dispersion()
    factors, factor_error = state.factors()
    rate, error = state.forecast(state.level)
    shared = factor_error.mean(axis=0)
    slow_rate, slow_error = state.forecast(state.slow)
    snapshots.append(_Snapshot(rate, error + shared, slow_rate, slow_error + shared / 7, factors))
    exposure = np.where(panel.usable[today], panel.exposure[today], 1.0)
    count = np.where(panel.usable[today], panel.counts[today], 0.0)
    return _forecast(panel.kind, weekday, count, exposure, rate, factors[weekday], error + factor_error[weekday])


def _forecast(kind: Kind, weekday: int, count: Array, exposure: Array, rate: Array, factor: Array, error: Array) -> Day:
    expected = exposure * rate * factor
    if kind == "volume":
        return Day(weekday, count, exposure, factor, expected, np.ones_like(expected), error)
    expected = np.minimum(expected, LARGEST_RATE * exposure)
    return Day(weekday, count, exposure, factor, expected, 1 - expected / exposure, error)


def two_sided(score: Array) -> Array:
    """Probability of a normal score at least this far from zero."""
    probability: Array = 2 * ndtr(-np.abs(score))
    return probability


def _score_window(
    state: Recursion, today: int, width: int, scored: Mask, out: Replay, snapshots: deque[_Snapshot]
) -> None:
    """Score the sum of the last nights without alarm against the forecast from before the first of them."""
    if len(snapshots) < width:
        return
    panel, before = state.panel, snapshots[-width]
    nights = slice(today - width + 1, today + 1)
    free = panel.usable[nights] & ~out.flagged[nights]
    exposure = np.where(free, panel.exposure[nights], 0.0)
    counts = np.where(free, panel.counts[nights], 0.0)
    is_long = width >= SLOW_FROM_NIGHTS
    rate, error = (before.slow_rate, before.slow_error) if is_long else (before.rate, before.error)
    expected = exposure * rate * before.factors[panel.weekday[nights]]
    total, trials, count = expected.sum(axis=0), exposure.sum(axis=0), counts.sum(axis=0)
    # A level that was adopted rests on the days that made it be adopted, which were chosen for being out of line.
    settled = width + WARM_UP_DAYS if is_long else width
    known = scored & (free.sum(axis=0) >= 2) & (state.since_restart >= settled) & (state.days >= WARM_UP_DAYS + width)
    total, trials, count = np.where(known, total, 1.0), np.where(known, trials, 2.0), np.where(known, count, 0.0)
    if panel.kind == "rate":
        total = np.minimum(total, LARGEST_RATE * trials)
    complement = 1 - total / trials if panel.kind == "rate" else np.ones_like(total)
    dispersion = state.dispersion * (expected**2).sum(axis=0) / total**2 + error
    variance = total * complement + total**2 * dispersion
    # Sums of nights that resemble their neighbours vary more than sums of independent nights.
    sums, weights = state.inflation[width]
    inflation = np.maximum((sums + DISPERSION_DAYS) / (weights + DISPERSION_DAYS), 1.0)
    dispersion = dispersion + (inflation - 1) * variance / total**2
    score = predictive_score(panel.kind, count, trials, total, dispersion)
    squared = np.minimum((count - total) ** 2 / variance, WINSOR) / WINSOR_MEAN
    sums += np.where(known, squared, 0.0)
    weights += known
    probability = np.minimum(1.0, two_sided(score) / state.windows[width])
    better = known & (probability < out.probability[today])
    out.probability[today][better] = probability[better]
    out.window[today][better] = width
    out.window_score[today][better] = score[better]


def _recover(state: Recursion, flagged: Mask, day: Day, today: int, out: Replay) -> Mask:
    """The series whose alarm is only the return to a former level, which is restored."""
    candidates = flagged & (state.former_age <= RECOVERY_DAYS)
    if not candidates.any():
        return candidates
    rate = state.rate(state.former)
    error = state.error(state.former)
    old = _forecast(state.panel.kind, day.weekday, day.count, day.exposure, rate, day.factor, error)
    score = predictive_score(state.panel.kind, day.count, day.exposure, old.expected, state.dispersion + error)
    returned = candidates & (np.abs(score) < _RECOVERY_SCORE)
    state.recover(returned)
    out.change[today][returned] = 2
    return returned


def _advance_cusum(state: Recursion, where: Mask, score: Array, day: Day, today: int, out: Replay) -> None:
    """Add a night to both CUSUMs. One that passes its limit confirms a drift, and its days become the level."""
    bounded = np.where(where, np.clip(score, -3.0, 3.0), 0.0)
    moved = np.maximum(0.0, state.cusum + np.stack([bounded, -bounded]) - CUSUM_ALLOWANCE)
    state.cusum = np.where(where, moved, state.cusum)
    alarms = state.cusum > CUSUM_LIMITS[state.panel.kind]
    for side, recent in enumerate(state.since_cusum):
        recent.clear(state.cusum[side] == 0)
        state.add_to(recent, where & (state.cusum[side] > 0), day, day.count)
        state.adopt(side, alarms[side])
    out.drift[today] = alarms[0].astype(np.int64) - alarms[1].astype(np.int64)
    state.cusum[:, alarms.any(axis=0) | (out.change[today] > 0)] = 0.0
