"""Anomalies: fleets of steps with weekday patterns, drifting levels, overdispersed days, and planted incidents."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analysis.anomalies.baseline import replay
from pipeline.analysis.anomalies.incidents import anomalies
from pipeline.analysis.anomalies.nights import anomaly_baselines
from pipeline.analysis.anomalies.state import Panel
from pipeline.analysis.anomalies.tails import beta_binomial_score, negative_binomial_score
from pipeline.common.rates import Rate
from pipeline.optimizations.proposals.anomalies import GRAVE
from tests.acceptance.simulations import Check

FIRST_SCORED_DAY = 45
THREE_SIGMA = 3.29
STOPS = {(300, 3): 0.95, (100, 7): 0.95, (30, 14): 0.57, (30, 28): 0.93}
"""Sends a day, and nights after which so large a share of click stops is to be found."""
GRAVE_DECAYS = {(300, 21, 42): 0.8, (1_000, 60, 70): 0.8}
"""Sends a day, days in which clicks fall by half, and nights after which that is to be called grave, in which share."""
FIRST_DAY = date(2026, 1, 1)
UNCHANGED_DAYS = 80
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A fleet with its truth; matrices are (days, series)."""

    panel: Panel
    true_mean: Floats
    dispersion: Floats
    anomalous: NDArray[np.bool_]


def _levels(random: np.random.Generator, days: int, series: int, weekday_spread: float) -> Floats:
    common = random.normal(0, weekday_spread, (7, 1))
    own = random.normal(0, weekday_spread / 2, (7, series))
    walk = np.cumsum(random.normal(0, 0.008, (days, series)), axis=0)
    pattern = np.exp(common + own)
    return np.exp(walk) * (pattern / pattern.mean(axis=0))[np.arange(days) % 7]


def _day_noise(random: np.random.Generator, dispersion: Floats, days: int, heavy: bool) -> Floats:
    """Multiplicative noise of mean one: log-normal, or gamma (what a beta-binomial has at small rates)."""
    shape = (days, dispersion.size)
    if heavy:
        sigma = np.sqrt(np.log1p(dispersion))
        return np.exp(random.normal(-(sigma**2) / 2, sigma, shape))
    return random.gamma(1 / dispersion, dispersion, shape)


def _incidents(
    random: np.random.Generator,
    days: int,
    series: int,
    per_day: float,
    dip: tuple[float, float] = (0.3, 0.7),
    spike: tuple[float, float] = (1.5, 2.5),
) -> Floats:
    """Multipliers of planted incidents of 1-4 days: dips, spikes, stops, and plateaus."""
    effect = np.ones((days, series))
    for step in range(series):
        day = FIRST_SCORED_DAY + int(random.exponential(1 / per_day)) if per_day else days
        while day < days:
            kind = random.choice(4, p=[0.35, 0.25, 0.25, 0.15])
            length = int(random.integers(1, 4))
            if kind == 3:
                effect[day : day + 4, step] = random.choice([np.mean(dip), np.mean(spike)])
            else:
                size = (random.uniform(*dip), random.uniform(*spike), 0.0)[kind]
                effect[day : day + length, step] = size
            day += length + 7 + int(random.exponential(1 / per_day))
    return effect


def rate_world(
    random: np.random.Generator, *, days: int = 200, series: int = 120, per_day: float = 0.01, heavy: bool = True
) -> World:
    """Click rates around 3%, volumes 20-8,000 a day with a weekday pattern of their own."""
    volume = np.exp(random.normal(np.log(500), 1.1, series)).clip(20, 8000)
    exposure = random.poisson(volume * _levels(random, days, series, 0.3)).astype(float)
    rate = 0.03 * np.exp(random.normal(0, 0.6, series)) * _levels(random, days, series, 0.12)
    dispersion = 0.015 * np.exp(random.normal(0, 0.6, series))
    effect = _incidents(random, days, series, per_day)
    true_rate = np.minimum(rate * effect * _day_noise(random, dispersion, days, heavy), 0.95)
    counts = random.binomial(exposure.astype(int), true_rate).astype(float)
    panel = Panel(counts, exposure, exposure > 0, np.arange(days) % 7, np.zeros(series, dtype=np.int64), kind="rate")
    return World(panel, exposure * rate, dispersion, effect != 1)


def volume_world(
    random: np.random.Generator,
    *,
    days: int = 200,
    series: int = 120,
    per_day: float = 0.01,
    heavy: bool = True,
    course: Floats | float = 1.0,
) -> World:
    """Sends a day, 30-5,000, with strong weekday patterns; intake collapses, multiplies or falls silent.

    `course` multiplies the mean, in days or in days and series.
    """
    level = np.exp(random.normal(np.log(200), 1.2, series)).clip(30, 5000)
    mean = level * _levels(random, days, series, 0.35) * course
    dispersion = 0.02 * np.exp(random.normal(0, 0.6, series))
    effect = _incidents(random, days, series, per_day, dip=(0.1, 0.4), spike=(2.5, 4.0))
    counts = random.poisson(mean * effect * _day_noise(random, dispersion, days, heavy)).astype(float)
    panel = Panel(
        counts,
        np.ones_like(counts),
        np.ones(counts.shape, dtype=bool),
        np.arange(days) % 7,
        np.zeros(series, dtype=np.int64),
        kind="volume",
    )
    return World(panel, mean, dispersion, effect != 1)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Consecutive flagged days of each series: (series, first day, last day)."""
    padded = np.zeros((flags.shape[0] + 2, flags.shape[1]), dtype=np.int8)
    padded[1:-1] = flags
    moves = np.diff(padded, axis=0)
    step, first = np.nonzero((moves == 1).T)
    _, last = np.nonzero((moves == -1).T)
    return list(zip(step.tolist(), first.tolist(), (last - 1).tolist(), strict=True))


def _match(flags: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Incidents found, incidents there, and alarms that touch none (a day of aftermath is forgiven)."""
    scored = slice(FIRST_SCORED_DAY, None)
    planted, alarms = _runs(truth[scored]), _runs(flags[scored])
    found = sum(flags[scored][first : last + 1, step].any() for step, first, last in planted)
    aftermath = truth[scored].copy()
    aftermath[1:] |= truth[scored][:-1]
    false = sum(not aftermath[first : last + 1, step].any() for step, first, last in alarms)
    return found, len(planted), false


def _f1(found: int, planted: int, false: int) -> float:
    return 2 * found / max(2 * found + false + planted - found, 1)


def z_score_flags(panel: Panel, window: int = 28, limit: float = 3.0) -> NDArray[np.bool_]:
    """The usual detector, for comparison: mean and standard deviation of the last days' raw rates."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(panel.exposure > 0, panel.counts / panel.exposure, np.nan)
        flags = np.zeros(value.shape, dtype=bool)
        for day in range(window, len(value)):
            past = value[day - window : day]
            flags[day] = np.abs((value[day] - np.nanmean(past, axis=0)) / np.nanstd(past, axis=0)) > limit
    return flags


def _recall(score: Floats, truth: NDArray[np.bool_], per: float = 1e-3) -> float:
    """Share of anomalous days above the threshold that lets `per` of the normal days pass."""
    scored = slice(FIRST_SCORED_DAY, None)
    threshold = np.quantile(np.abs(score[scored])[~truth[scored]], 1 - per)
    return float((np.abs(score[scored])[truth[scored]] > threshold).mean())


def _changed_clicks(
    random: np.random.Generator, series: int, sends: int, effect: Floats, rate: float = 0.025
) -> Floats:
    """Clicks a day of series whose rate is multiplied by `effect`, (days,), from day 80 on: (days, series)."""
    days = UNCHANGED_DAYS + effect.size
    dispersion = np.full(series, 0.02)
    true_rate = rate * _levels(random, days, series, 0.1) * _day_noise(random, dispersion, days, True)
    true_rate[UNCHANGED_DAYS:] *= effect[:, None]
    return random.binomial(sends, np.minimum(true_rate, 0.9)).astype(float)


def _alarms(counts: Floats, sends: int) -> NDArray[np.bool_]:
    """Alarms of these clicks from day 80 on: (those days, series)."""
    days, series = counts.shape
    exposure = np.full(counts.shape, float(sends))
    panel = Panel(counts, exposure, exposure > 0, np.arange(days) % 7, np.zeros(series, dtype=np.int64), kind="rate")
    found = replay(panel)
    alarms: NDArray[np.bool_] = (found.flagged | (found.drift != 0))[UNCHANGED_DAYS:]
    return alarms


def click_stop_share(random: np.random.Generator, series: int, sends: int, nights: int) -> float:
    """Share of series whose clicks stop that are flagged by that night."""
    return float(_alarms(_changed_clicks(random, series, sends, np.zeros(nights)), sends).any(axis=0).mean())


def decay_share(random: np.random.Generator, series: int) -> float:
    """Share of series found by night 28 whose clicks fall by 45% over 21 days, at 300 sends a day."""
    effect = np.interp(np.arange(1, 29), [0, 21], [1.0, 0.55])
    return float(_alarms(_changed_clicks(random, series, 300, effect), 300).any(axis=0).mean())


def grave_share(random: np.random.Generator, series: int, sends: int, fall_days: int, nights: int) -> float:
    """Share of series that are called grave by that night whose clicks fall by half over some days."""
    effect = np.interp(np.arange(1, nights + 1), [0, fall_days], [1.0, 0.5])
    counts = _changed_clicks(random, series, sends, effect)
    last = FIRST_DAY + timedelta(days=len(counts) - 1)
    steps = [f"s{step}" for step in range(series)]
    daily = pl.DataFrame(
        {
            "day": np.repeat(pl.date_range(FIRST_DAY, last, eager=True).to_numpy(), series),
            "workflow_id": steps * len(counts),
            "step_id": steps * len(counts),
            "sent": sends,
            "clicks": counts.ravel().astype(np.int64),
        }
    )
    baselines = anomaly_baselines(daily, as_of_day=last, rates=[Rate("click_rate", "clicks", "sent")], volumes=[])
    fallen = anomalies(baselines).filter(
        (pl.col("day") >= FIRST_DAY + timedelta(days=UNCHANGED_DAYS)) & (pl.col("direction") == "down")
    )
    return fallen.filter(pl.col("severity").is_in(GRAVE))["step_id"].n_unique() / series


def stop_forgotten_share(random: np.random.Generator, series: int) -> float:
    """Share of series whose clicks stopped and that are no alarm on the 30th night."""
    return float((~_alarms(_changed_clicks(random, series, 300, np.zeros(30)), 300)[-1]).mean())


def silence_share(random: np.random.Generator, series: int) -> float:
    """Share of silent steps with at least 20 sends a day that are flagged the first night."""
    world = volume_world(random, days=90, series=series, per_day=0)
    world.panel.counts[80:] = 0.0
    eligible = world.true_mean[80] >= 20
    return float(replay(world.panel).flagged[80][eligible].mean())


def ordinary_courses(random: np.random.Generator, days: int, series: int) -> dict[str, Floats]:
    """Courses of volumes that are no anomaly: growth, a season of the year, mail on every second or every weekday."""
    day = np.arange(days)[:, None]
    first = random.integers(0, 14, series)
    return {
        "growth": np.broadcast_to(1.09 ** (day / 30), (days, series)),
        "season": 1 + 0.4 * np.sin(2 * np.pi * (day / 365 + random.random(series))),
        "fortnight": 7.0 * (day % 14 == first),
        "one weekday": 5.0 * (day % 7 == first % 7),
        "workdays": np.broadcast_to(day % 7 < 5, (days, series)).astype(float),
    }


def volume_alarms(panel: Panel) -> NDArray[np.bool_]:
    """Nights of each volume on which people are told something."""
    found = replay(panel)
    alarms: NDArray[np.bool_] = found.flagged | (found.drift != 0)
    return alarms


def _mean(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def run(scale: float = 1.0, seed: int = 4_000) -> list[Check]:
    """Half of the fleets have log-normal days, half gamma ones.

    Recall ranks days as users see them, by tail probability over all windows; the oracle sees one night and knows its
    true rate and dispersion.
    """
    fleets = max(2, round(12 * scale))
    series = 120 if scale >= 0.5 else 60
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for fleet in range(fleets):
        random = np.random.default_rng((seed, fleet))
        heavy = fleet % 2 == 0
        null = rate_world(random, series=series, per_day=0, heavy=heavy)
        result = replay(null.panel)
        scored = slice(FIRST_SCORED_DAY, None)
        note("null", float((np.abs(result.score[scored]) > THREE_SIGMA).mean()))
        _, _, false = _match(result.flagged, null.anomalous)
        note("false null", 1000 * false / result.flagged[scored].size)
        note("drift null", 1000 * float((result.drift[scored] != 0).mean()))

        world = rate_world(random, series=series, heavy=heavy)
        result = replay(world.panel)
        matched = _match(result.flagged, world.anomalous)
        note("f1", _f1(*matched))
        peer = _f1(*_match(z_score_flags(world.panel), world.anomalous))
        note("against z", _f1(*matched) / peer)
        note("false", 1000 * matched[2] / result.flagged[scored].size)
        safe = np.maximum(world.panel.exposure, 1.0)
        oracle = beta_binomial_score(
            world.panel.counts.ravel(),
            safe.ravel(),
            np.clip(world.true_mean / safe, 1e-6, 0.95).ravel(),
            np.broadcast_to(world.dispersion, safe.shape).ravel(),
        ).reshape(safe.shape)
        evidence = -np.log(np.maximum(result.probability, 1e-300))
        note("against oracle", _recall(evidence, world.anomalous) / _recall(oracle, world.anomalous))

        volumes = volume_world(random, series=series, heavy=heavy)
        result = replay(volumes.panel)
        evidence = -np.log(np.maximum(result.probability, 1e-300))
        note("volume recall", _recall(evidence, volumes.anomalous))
        flat = negative_binomial_score(
            volumes.panel.counts.ravel(),
            volumes.true_mean.ravel(),
            np.broadcast_to(volumes.dispersion, volumes.true_mean.shape).ravel(),
        ).reshape(volumes.true_mean.shape)
        note("volume oracle", _recall(evidence, volumes.anomalous) / _recall(flat, volumes.anomalous))
        note("volume false", 1000 * _match(result.flagged, volumes.anomalous)[2] / result.flagged[scored].size)
        for name, course in ordinary_courses(random, 180, series).items():
            ordinary = volume_world(random, days=180, series=series, per_day=0, heavy=heavy, course=course)
            alarms = volume_alarms(ordinary.panel)[FIRST_SCORED_DAY:]
            note(f"course {name}", 1000 * len(_runs(alarms)) / alarms.size)
            ordinary.panel.counts[140:] = 0.0
            note(f"stop {name}", float(volume_alarms(ordinary.panel)[-1].mean()))
        for sends, nights in STOPS:
            note(f"stop {sends} {nights}", click_stop_share(random, series, sends, nights))
        note("decay", decay_share(random, series))
        for sends, fall_days, nights in GRAVE_DECAYS:
            note(f"grave {sends}", grave_share(random, series, sends, fall_days, nights))
        note("forgotten", stop_forgotten_share(random, series))
        note("silent", silence_share(random, series))

    targets = [
        ("f1", "F1 of rate incidents", 0.60, ">="),
        ("against z", "F1 / F1 of the z-score", 1.35, ">="),
        ("false", "false rate incidents per 1,000 step-days", 2.1, "<="),
        ("false null", "false rate incidents per 1,000 step-days, nothing planted", 2.1, "<="),
        ("against oracle", "recall at 1 per 1,000 / that of the oracle", 0.95, ">="),
        ("null", "share of null |u| > 3.29", 0.003, "<="),
        ("drift null", "false drift alarms per 1,000 step-days", 2.1, "<="),
        ("volume recall", "recall of volume anomalies at 1 per 1,000", 0.85, ">="),
        ("volume oracle", "the same / that of the oracle", 0.95, ">="),
        ("volume false", "false volume incidents per 1,000 step-days", 2.1, "<="),
        ("course growth", "false volume incidents per 1,000 step-days, +9% a month", 3.0, "<="),
        ("course season", "the same, +-40% over the year", 5.0, "<="),
        ("course fortnight", "the same, mail every second week", 5.0, "<="),
        ("course one weekday", "the same, mail on one weekday", 5.0, "<="),
        ("course workdays", "the same, mail from Monday to Friday", 5.0, "<="),
        ("stop fortnight", "stop of mail every second week is an alarm 40 nights later", 0.95, ">="),
        ("stop one weekday", "stop of mail on one weekday is an alarm 40 nights later", 0.95, ">="),
        ("stop growth", "stop of a volume that grew is an alarm 40 nights later", 0.95, ">="),
        *(
            (f"stop {sends} {nights}", f"click stop at {sends} sends a day found by night {nights}", share, ">=")
            for (sends, nights), share in STOPS.items()
        ),
        ("decay", "decay of 45% over 21 days at 300 sends a day found by night 28", 0.8, ">="),
        *(
            (
                f"grave {sends}",
                f"clicks halved over {fall} days at {sends} sends a day are grave by night {nights}",
                share,
                ">=",
            )
            for (sends, fall, nights), share in GRAVE_DECAYS.items()
        ),
        ("forgotten", "click stops that are no alarm on night 30", 0.05, "<="),
        ("silent", "silent step (20 sends a day and more) found the first night", 0.95, ">="),
    ]
    return [
        Check(measure, *_mean(figures[name])[:1], target, direction, _mean(figures[name])[1])
        for name, measure, target, direction in targets
    ]
