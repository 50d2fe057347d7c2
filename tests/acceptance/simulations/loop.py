"""Whole cycles of a change: a test finds a winner, its shrunk lift is promised, and the hold-out shows the real one.

The worlds draw people and their outcomes as counts by day, so a cell of thousands of changes is judged in one call of
the product's functions. Who is exposed is tested in `tests/optimizations/test_realised.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from scipy.stats import norm

from pipeline.analysis.experiments.plan import ExperimentPlan
from pipeline.analysis.experiments.results import experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.optimizations.measurement.looks import lift_looks
from pipeline.optimizations.measurement.sizing import APPLIED, HELD_OUT, Baseline, needed_people, sized, watch_share
from pipeline.optimizations.realised import comparison, judged, said
from pipeline.optimizations.record import LiftPlan, Record
from tests.acceptance.simulations import Check
from tests.acceptance.simulations.experiments import copies, draw, make_plan, moments_of
from tests.worlds.applied import APPLIED_DAY, WINDOW_DAYS, record

CYCLES = 1_000
CHANGES = 1_000
BASE, SPREAD = 0.05, 0.1
SAMPLE = 24_000
TESTS_A_WINNER = 12
WATCHED_NIGHTS = 90
FIRST_DAY = APPLIED_DAY + timedelta(days=1)
_WATCHED_STRATA = 100_000


def promises(rng: np.random.Generator, cycles: int) -> tuple[np.ndarray, np.ndarray]:
    """Promised and true lifts of the first winners of a workspace of tests."""
    tests = TESTS_A_WINNER * cycles
    truth = rng.normal(0, SPREAD, tests)
    rates = BASE * np.stack([np.ones(tests), 1 + truth], axis=1)[:, None, :]
    plan = make_plan((0.5, 0.5), SAMPLE, lift=0.15)
    plans = copies(plan, tests)
    counts = moments_of(*draw(rng, tests, rates, (0.5, 0.5), SAMPLE))
    results = experiment_results(counts, plans, as_of_day=plan.end_day)
    verdicts = experiment_verdicts(results, plans, as_of_day=plan.end_day).sort("experiment_id")
    won = np.flatnonzero(verdicts["verdict"] == "winner")[:cycles]
    return verdicts["shrunk_lift"].to_numpy()[won], truth[won]


@dataclass(frozen=True)
class Traffic:
    """How many people come by on a day for the first time, and how many of them convert without the change."""

    per_day: int
    rate: float

    @property
    def baseline(self) -> Baseline:
        """What eight weeks of it tell."""
        return Baseline(28 * self.per_day, 56 * self.per_day, self.rate)


def drawn(
    rng: np.random.Generator, traffic: Traffic, plans: Sequence[ExperimentPlan], truth: np.ndarray, days: np.ndarray
) -> pl.DataFrame:
    """Moments of changes by their plan's shares, each for its number of days from the first one on."""
    change = np.repeat(np.arange(len(plans)), days)
    day = np.concatenate([np.arange(count) for count in days])
    share = np.array([dict(plan.shares)[HELD_OUT] for plan in plans])[change]
    everyone = rng.poisson(traffic.per_day, len(change))
    out = rng.binomial(everyone, share)
    people = {HELD_OUT: out, APPLIED: everyone - out}
    rates = {HELD_OUT: np.full(len(change), traffic.rate), APPLIED: traffic.rate * (1 + truth[change])}
    names = pl.Series([plan.experiment_id for plan in plans]).gather(change)
    return pl.concat(_arm(names, day, arm, people[arm], rng.binomial(people[arm], rates[arm])) for arm in people)


def _arm(names: pl.Series, day: np.ndarray, arm: str, people: np.ndarray, total: np.ndarray) -> pl.DataFrame:
    exposed = pl.Series(np.datetime64(FIRST_DAY) + day).cast(pl.Date)
    return pl.DataFrame(
        {
            "experiment_id": names,
            "metric": "conversion",
            "arm": arm,
            "exposed_day": exposed,
            "stratum": day // 7 * 2,
            "exposures": people,
            "value_sum": total.astype(float),
            "value_squares": total.astype(float),
            "second_sum": 0.0,
            "second_squares": 0.0,
            "cross_sum": 0.0,
        }
    )


def watched(
    rng: np.random.Generator, moments: pl.DataFrame, looks: pl.DataFrame, plans: Sequence[ExperimentPlan]
) -> pl.DataFrame:
    """The moments once the hold-out is smaller from the day after the answer on.

    Those who are let in no longer count, and neither does anybody whose window was open on that day.
    """
    rows = [
        (plan.experiment_id, dict(plan.shares)[HELD_OUT], watch_share(dict(plan.shares)[HELD_OUT])) for plan in plans
    ]
    shares = pl.DataFrame(rows, schema=["experiment_id", "share", "watch"], orient="row")
    answers = looks.select("experiment_id", "answered_day").drop_nulls().unique()
    since = moments.join(answers, on="experiment_id", how="left").join(shares, on="experiment_id")
    is_before = (pl.col("exposed_day") <= pl.col("answered_day") - timedelta(days=WINDOW_DAYS)).fill_null(True)
    later = since.filter(pl.col("exposed_day") > pl.col("answered_day"))
    kept = pl.when(pl.col("arm") == HELD_OUT).then(pl.col("watch") / pl.col("share")).otherwise(1.0)
    counts = later.with_columns(kept=kept)
    converted = rng.binomial(counts["value_sum"].to_numpy().astype(int), counts["kept"].to_numpy())
    others = rng.binomial((counts["exposures"] - counts["value_sum"]).to_numpy().astype(int), counts["kept"].to_numpy())
    thinned = counts.with_columns(
        exposures=pl.Series(converted + others),
        value_sum=pl.Series(converted.astype(float)),
        value_squares=pl.Series(converted.astype(float)),
        stratum=pl.col("stratum") + _WATCHED_STRATA,
    )
    return pl.concat([since.filter(is_before).select(moments.columns), thinned.select(moments.columns)])


def measured(rng: np.random.Generator, traffic: Traffic, records: Sequence[Record], truth: np.ndarray) -> pl.DataFrame:
    """Every night of every change until its plan has ended and some nights after it, as `realised_lift` tells them."""
    plans = [comparison(one, None, pl.Series([], dtype=pl.Float64)) for one in records]
    days = np.array([(plan.end_day - FIRST_DAY).days + WATCHED_NIGHTS for plan in plans])
    night = FIRST_DAY + timedelta(days=int(days.max()) + WINDOW_DAYS)
    moments = drawn(rng, traffic, plans, truth, days)
    first = lift_looks(moments, plans, as_of_day=night)
    looks = lift_looks(watched(rng, moments, first, plans), plans, as_of_day=night)
    last = pl.DataFrame(
        {
            "experiment_id": [plan.experiment_id for plan in plans],
            "last_night": [FIRST_DAY + timedelta(days=int(count) + WINDOW_DAYS - 1) for count in days],
            "truth": truth,
        }
    )
    rows = judged(looks, said(records, {})).filter(pl.col("role") == "primary")
    return rows.join(last, left_on="optimization_id", right_on="experiment_id").filter(
        pl.col("as_of_day") <= pl.col("last_night")
    )


def changes(promised: np.ndarray, traffic: Traffic, share: float | None = None) -> list[Record]:
    """Records that promise these lifts, sized as an approval sizes them, or with a given share kept out."""
    made = []
    for number, promise in enumerate(promised.tolist()):
        if share is None:
            kept_out, plan = sized(traffic.baseline, promise, window_days=WINDOW_DAYS, least_share=0.1)
        else:
            people = needed_people(traffic.baseline, promise, share)
            kept_out, plan = share, LiftPlan(people=people, days=traffic.baseline.days_until(people))
        made.append(record(number, promised=promise, holdout_share=kept_out, plan=plan))
    return made


def fixed_sample(rate: float, lift: float, share: float) -> float:
    """People at whom one look finds the lift with power .80."""
    treated = rate * (1 + lift)
    variance = rate * (1 - rate) / share + treated * (1 - treated) / (1 - share)
    return float(variance * ((norm.ppf(0.975) + norm.ppf(0.8)) / (treated - rate)) ** 2)


def cells(rng: np.random.Generator, replications: int) -> list[Check]:
    """Power, error and coverage of plans, where the promise is true and where nothing is."""
    worlds = [
        (Traffic(150, 0.05), 0.2, 0.5),
        (Traffic(400, 0.05), 0.2, 0.1),
        (Traffic(300, 0.02), 0.3, 0.2),
        (Traffic(1_500, 0.1), 0.08, 0.3),
        (Traffic(60, 0.2), 0.25, 0.1),
    ]
    checks = []
    for traffic, lift, share in worlds:
        name = f"{lift:+.0%} on {traffic.rate:.0%}, {share:.0%} kept out"
        records = changes(np.full(replications, lift), traffic, share)
        rows = measured(rng, traffic, records, np.full(replications, lift))
        fixed = fixed_sample(traffic.rate, lift, share)
        sample = pl.col("exposures") + pl.col("held_out_exposures")
        answers = rows.filter(pl.col("as_of_day") == pl.col("answered_day"))
        is_in_time = pl.col("is_significant") & (pl.col("realised_lift") > 0) & (sample <= 1.4 * fixed)
        nulls = measured(rng, traffic, records, np.zeros(replications))
        claims = nulls.group_by("optimization_id").agg(pl.col("is_significant").any())["is_significant"]
        power = answers.select(is_in_time).to_series()
        label = f"power within 1.4 x the fixed sample of {fixed:,.0f}, {name}"
        checks.append(_share(label, power, replications, 0.8, ">="))
        checks.append(_share(f"type I error of plan and watch, {name}", claims, replications, 0.055, "<="))
        for truth, found in ((lift, rows), (0.0, nulls)):
            label = f"all-night coverage, true lift {truth:+.0%}, {name}"
            checks.append(_share(label, _always(found), replications, 0.93, ">="))
    return checks


def _always(rows: pl.DataFrame) -> pl.Series:
    """Per change: whether the intervals of all nights hold the truth."""
    holds = (pl.col("realised_lift_low") <= pl.col("truth")) & (pl.col("realised_lift_high") >= pl.col("truth"))
    return rows.group_by("optimization_id").agg(holds.fill_null(True).all().alias("holds"))["holds"]


def _share(measure: str, flags: pl.Series, of: int, target: float, direction: str) -> Check:
    share = float(flags.sum()) / of
    return Check(measure, share, target, direction, float(np.sqrt(max(share * (1 - share), 1 / of) / of)))


def cycles(rng: np.random.Generator, count: int) -> list[Check]:
    """Promised and realised lifts of winners, and how many find an answer."""
    traffic = Traffic(400, BASE)
    promised, truth = promises(rng, count)
    rows = measured(rng, traffic, changes(promised, traffic), truth)
    of = len(promised)
    answered = rows.filter(pl.col("as_of_day") == pl.col("answered_day"))
    latest = rows.filter(pl.col("as_of_day") == pl.col("last_night"))
    means = f"promised {promised.mean():+.1%}, true {truth.mean():+.1%}"
    checks = []
    for found, when in ((answered, "on the night of the answer"), (latest, f"{WATCHED_NIGHTS} nights after the plan")):
        gap = (found["realised_lift"] - found["promised_lift"]).to_numpy()
        error = gap.std() / np.sqrt(len(gap)) / promised.mean()
        label = f"|realised - promised| / promised {when}, {len(gap)} cycles ({means})"
        checks.append(Check(label, float(abs(gap.mean()) / promised.mean()), 0.1, "<=", float(error)))
    return [
        *checks,
        _share("realised intervals of all nights cover the truth", _always(rows), of, 0.93, ">="),
        _share("winners taken for harmful", latest["outcome"] == "harm", of, 0.05, "<="),
    ]


def run(scale: float = 1.0, seed: int = 20260901) -> list[Check]:
    """Judge cycles, and cells of changes with a known effect; at `scale` 1 of 1,000 cycles and 1,000 changes a cell."""
    rng = np.random.default_rng(seed)
    return [*cycles(rng, max(20, round(CYCLES * scale))), *cells(rng, max(50, round(CHANGES * scale)))]
