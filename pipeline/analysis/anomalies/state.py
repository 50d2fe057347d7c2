"""What the detector knows of all series between two days: levels, weekday factors and dispersions.

Here: this state, and how a day changes it. Days are scored in `baseline`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.statistics import Array, Mask

LEVEL_HALF_LIFE_DAYS = 21.0
# Windows of two weeks and more are held against a level that remembers longer, as the other one would follow a decay.
SLOW_HALF_LIFE_DAYS = 63.0
SLOW_FROM_NIGHTS = 14
# A volume grows or shrinks on as it did, but not for sure: this share of its slope is carried to tonight, and a part of
# what it carries is added to the error, because a slope may bend. A slope beyond a doubling in a month is a jump.
_SLOPE_DAMPING = 0.9
_SLOPE_DOUBT = 0.6
_STEEPEST_SLOPE = float(np.log(2) / 30)
# A weekday comes once a week and its pattern changes slowly, so 24 weeks halve its weight.
WEEKDAY_HALF_LIFE_DAYS = 168.0
WARM_UP_DAYS = 14
RECOVERY_DAYS = 60
# The series of one metric are a fleet. This is the squared spread of a series' weekday factors around its fleet's while
# no data are known: click rates differ by some 7%, volumes by some 40%. 21 cells (three series) weigh as much.
_WEEKDAY_SPREAD = {"rate": 0.005, "volume": 0.16}
_SPREAD_CELLS = 21.0
_SPREAD_LIMITS = (0.0005, 0.5)
# The weight of one series in its fleet's weekday factor is limited, so that a giant does not speak for all.
_FLEET_SATURATION = 200.0
# A series' dispersion is shrunk to its fleet's median with the weight of this many days.
DISPERSION_DAYS = 10.0
_FIRST_DISPERSION = {"rate": 0.02, "volume": 0.05}
_LARGEST_DISPERSION = 4.0
# Every day varies by at least 5%, so that trifles raise no alarm in large series.
_SMALLEST_DISPERSION = 0.0025
# Scores are cut at three standard deviations before their squares enter a moment. An earlier cut would find a little
# more, but it would take the skew of strongly scattered days for alarms. A normal's square cut there has this mean.
WINSOR = 9.0
WINSOR_MEAN = 0.9951
# Counts are cut at this many standard deviations before they change level and weekday factors.
_BOUND = 3.0
# What each window of nights may spend of the alarm probability. The windows of a rate overlap and their counts are
# small, so that together they may spend more than one: what they cost in false incidents is on the methods page.
WINDOW_SHARES = {
    "rate": {1: 0.5, 3: 0.3, 7: 0.4, 14: 0.6, 28: 1.0},
    "volume": {1: 0.5, 3: 0.25, 7: 0.25},
}
# A rate may be expected to be all but one, such as the delivery of a small clean list.
LARGEST_RATE = 1 - 1e-4

Kind = Literal["rate", "volume"]


@dataclass(frozen=True)
class Panel:
    """Counts of all series of one kind, days down and series across.

    Attributes:
        counts: numerators or volumes, (days, series).
        exposure: denominators, or 1 where a volume exists, (days, series).
        usable: whether the cell may be scored and learnt from: it has exposure, is mature, and is no holiday.
        weekday: weekday of each day, Monday = 0.
        fleet: metric of each series, 0-based.
        kind: 'rate' or 'volume'.
    """

    counts: Array
    exposure: Array
    usable: Mask
    weekday: NDArray[np.int64]
    fleet: NDArray[np.int64]
    kind: Kind


def _weekday_spread(events: Array, expected: Array, guess: float) -> float:
    """Squared spread of true weekday factors around the fleet's, by moments that are weighted as if `guess` were true.

    Events come weighted such that chance alone gives them a variance equal to `expected`.
    """
    total = expected + expected**2 * guess
    relevance = (expected**2 * guess / np.maximum(total, 1e-12)) ** 2
    squared = np.minimum((events - expected) ** 2, WINSOR * total) / WINSOR_MEAN
    moment = (relevance * (squared - expected) / np.maximum(expected, 1e-9) ** 2).sum()
    spread = (moment + _SPREAD_CELLS * guess) / (relevance.sum() + _SPREAD_CELLS)
    return float(np.clip(spread, *_SPREAD_LIMITS))


@dataclass(frozen=True)
class Day:
    """One day's forecast of all series, and what happened."""

    weekday: int
    count: Array
    exposure: Array
    factor: Array
    expected: Array
    complement: Array
    error: Array


@dataclass
class Level:
    """A level per series, as discounted sums: events, weighted exposure, variance of the events, exposure times age."""

    events: Array
    exposure: Array
    variance: Array
    aged: Array

    @classmethod
    def nothing(cls, series: int) -> "Level":
        """Levels before the first day."""
        return cls(*(np.zeros(series) for _ in range(4)))

    @property
    def age(self) -> Array:
        """Mean age in days of what the level rests on."""
        age: Array = self.aged / np.maximum(self.exposure, 1e-9)
        return age

    def decay(self, factor: Array) -> None:
        """Discount the sums, which are a day older now."""
        self.aged = (self.aged + self.exposure) * factor
        self.events *= factor
        self.exposure *= factor
        self.variance *= factor**2

    def take(self, other: "Level", where: Mask) -> None:
        """Replace the level of some series by another one."""
        for name in ("events", "exposure", "variance", "aged"):
            getattr(self, name)[where] = getattr(other, name)[where]

    def add(self, where: Mask, events: Array, exposure: Array, variance: Array) -> None:
        """Add a day to some series."""
        self.events += np.where(where, events, 0.0)
        self.exposure += np.where(where, exposure, 0.0)
        self.variance += np.where(where, variance, 0.0)

    def clear(self, where: Mask) -> None:
        """Forget the level of some series."""
        for values in (self.events, self.exposure, self.variance, self.aged):
            values[where] = 0.0


@dataclass
class Recursion:
    """The state of all series between two days, and what moves it to the next one."""

    panel: Panel
    level: Level = field(init=False)
    slow: Level = field(init=False)
    held: Level = field(init=False)
    former: Level = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing known."""
        series = self.panel.counts.shape[1]
        self.series = series
        self.fleets = int(self.panel.fleet.max(initial=-1)) + 1
        self.level, self.slow, self.held, self.former = (Level.nothing(series) for _ in range(4))
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
        self.former_age = np.full(series, RECOVERY_DAYS + 1)
        self.nights_in_rhythm = np.zeros(series, dtype=np.int64)
        self.cusum = np.zeros((2, series))
        self.since_cusum = (Level.nothing(series), Level.nothing(series))

    @property
    def windows(self) -> dict[int, float]:
        """Nights of each window, and the share of the alarm probability that it may spend."""
        return WINDOW_SHARES[self.panel.kind]

    def forecast(self, level: Level) -> tuple[Array, Array]:
        """The rate of tonight by a level, and the relative variance of its error: of a volume the level with its slope.

        The level that remembers longer is older, so the ratio of both levels tells the slope of a series between their
        ages. It is carried on to tonight in part (a damped trend; Gardner and McKenzie, 1985).
        """
        rate, error = self.rate(level), self.error(level)
        if self.panel.kind == "rate":
            return rate, error
        apart = self.slow.age - self.level.age
        # Levels that rest on the same days, such as after a restart, tell no slope.
        is_known = apart > 1.0
        slope = np.log(self.rate(self.level) / self.rate(self.slow)) / np.where(is_known, apart, 1.0)
        slope = np.where(is_known, np.clip(slope, -_STEEPEST_SLOPE, _STEEPEST_SLOPE), 0.0)
        ahead = _SLOPE_DAMPING * level.age
        slope_error = np.where(is_known, self.error(self.slow) * (ahead / np.where(is_known, apart, 1.0)) ** 2, 0.0)
        return rate * np.exp(slope * ahead), error + slope_error + (_SLOPE_DOUBT * slope * ahead) ** 2

    def rate(self, level: Level) -> Array:
        """Events per unit of exposure; half an event is added, so that a series without events does not forecast 0."""
        trial = 1.0 if self.panel.kind == "rate" else 0.0
        rate: Array = (level.events + 0.5) / np.maximum(level.exposure + trial, 1e-9)
        return np.minimum(rate, LARGEST_RATE) if self.panel.kind == "rate" else rate

    def error(self, level: Level) -> Array:
        """Relative variance of the error of `rate`."""
        return level.variance / (level.events + 0.5) ** 2

    def factors(self) -> tuple[Array, Array]:
        """Weekday factors (7, series), shrunk to the fleet's, and the relative variance of their error."""
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
        """Estimate each series' dispersion; the fewer its days, the closer to the median of its fleet."""
        own = np.divide(self.moment, self.moment_weight, out=np.zeros(self.series), where=self.moment_weight > 0)
        own = np.clip(own, _SMALLEST_DISPERSION, _LARGEST_DISPERSION)
        for fleet in range(self.fleets):
            members = self.panel.fleet == fleet
            known = members & (self.information >= 3)
            centre = np.median(own[known]) if known.any() else _FIRST_DISPERSION[self.panel.kind]
            information = self.information[members]
            self.dispersion[members] = (information * own[members] + DISPERSION_DAYS * centre) / (
                information + DISPERSION_DAYS
            )

    def weigh(self, day: Day) -> tuple[Array, Array]:
        """The variance of a day's counts, and the weight that makes it equal to what chance alone gives."""
        chance = day.expected * day.complement
        variance = chance + day.expected**2 * self.dispersion
        return variance, chance / np.maximum(variance, 1e-12)

    def add_to(self, level: Level, where: Mask, day: Day, count: Array) -> None:
        """Add counts of a day to a level of some series."""
        variance, weight = self.weigh(day)
        level.add(where, weight * count, weight * day.exposure * day.factor, weight**2 * variance)

    def learn(self, where: Mask, day: Day) -> None:
        """Add a day without alarm to level, weekday factors and dispersion."""
        variance, weight = self.weigh(day)
        total = variance + day.expected**2 * day.error
        # Mild anomalies raise no alarm, so they are bounded here, or they would pull the forecast towards them.
        reach = np.where(self.days >= WARM_UP_DAYS, _BOUND * np.sqrt(total), np.inf)
        count = np.clip(day.count, day.expected - reach, day.expected + reach)
        for level in (self.level, self.slow):
            self.add_to(level, where, day, count)
        settled = where & (self.days >= 7)
        base = np.where(settled, weight, 0.0)
        self.weekday_events[day.weekday] += base * count
        self.weekday_expected[day.weekday] += base * day.expected / day.factor
        squared = np.minimum((day.count - day.expected) ** 2, WINSOR * total) / WINSOR_MEAN
        own = np.maximum(self.dispersion, _SMALLEST_DISPERSION)
        # Until the weekdays of a volume are known, their pattern would be taken for dispersion.
        is_telling = settled & (self.days >= WARM_UP_DAYS) if self.panel.kind == "volume" else settled
        share = (
            np.where(is_telling, own / (day.complement / np.maximum(day.expected, 1e-9) + own + day.error), 0.0) ** 2
        )
        relevance = share / own**2
        excess = (squared - day.expected * day.complement) / np.maximum(day.expected, 1e-9) ** 2 - day.error
        self.moment += relevance * excess
        self.moment_weight += relevance
        self.information += share
        self.days += where

    def decay(self) -> None:
        """Let one calendar day pass. The level of a series that has stopped is kept until it goes on."""
        daily = np.where(self.has_stopped, 1.0, 0.5 ** (1 / LEVEL_HALF_LIFE_DAYS))
        slow = 0.5 ** (1 / WEEKDAY_HALF_LIFE_DAYS)
        self.level.decay(daily)
        self.slow.decay(np.where(self.has_stopped, 1.0, 0.5 ** (1 / SLOW_HALF_LIFE_DAYS)))
        self.former.decay(daily)
        self.weekday_events *= slow
        self.weekday_expected *= slow
        self.moment *= slow
        self.moment_weight *= slow
        self.information *= slow
        for sums, weights in self.inflation.values():
            sums *= slow
            weights *= slow

    @property
    def has_stopped(self) -> Mask:
        """Series whose run of alarms holds no event: nothing comes any more."""
        stopped: Mask = (self.run > 0) & (self.held.events == 0)
        return stopped

    def restart(self, where: Mask) -> None:
        """Make the days that were held back the new level, and remember the former one."""
        self.former.take(self.level, where)
        self.former_age[where] = 0
        self._set(self.held, where)
        self.since_restart[where] = 0

    def adopt(self, side: int, where: Mask) -> None:
        """Make the days since a CUSUM left zero the new level."""
        self._set(self.since_cusum[side], where)
        self.since_restart[where] = 0

    def recover(self, where: Mask) -> None:
        """Return to the former level."""
        self._set(self.former, where)
        self.former_age[where] = RECOVERY_DAYS + 1
        self.since_restart[where] = 0

    def _set(self, level: Level, where: Mask) -> None:
        self.level.take(level, where)
        self.slow.take(level, where)
