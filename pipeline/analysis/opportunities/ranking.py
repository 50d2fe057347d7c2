"""One list of what could be won, over all analyses, in one unit: additional conversions in four weeks.

Here: the list and its ranking. Every figure comes from the rows that `evidence` names. What a conversion is, and what
one event is worth in conversions, stands in `unit`.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.analysis.opportunities.found import from_bottlenecks, from_cohorts, from_delays
from pipeline.analysis.opportunities.promised import from_policies, from_send_times, from_winners
from pipeline.analysis.opportunities.standing import from_anomalies, from_decays
from pipeline.analysis.opportunities.unit import recent_days, worth_of_events
from pipeline.schemas import cohorts, experiments, loop, monitoring, performance, timing
from pipeline.schemas.base import conform, empty
from pipeline.schemas.monitoring import Opportunities

UNIT = "conversions"


@dataclass(frozen=True)
class Findings:
    """What the analyses found tonight, with the counts and hold-outs that turn it into conversions."""

    daily: DataFrame[performance.StepMetricsDaily]
    bottlenecks: DataFrame[performance.Bottlenecks]
    baselines: DataFrame[monitoring.AnomalyBaselines]
    anomalies: DataFrame[monitoring.Anomalies]
    comparison: DataFrame[cohorts.CohortComparison]
    delays: DataFrame[timing.DelayRecommendations]
    hours: DataFrame[timing.SendTimeLift]
    verdicts: DataFrame[experiments.ExperimentVerdicts]
    results: DataFrame[experiments.ExperimentResults]
    holdouts: DataFrame[experiments.Holdouts]
    records: DataFrame[loop.Optimizations]


def opportunities(
    findings: Findings, policies: pl.DataFrame, cells: pl.DataFrame, *, as_of_day: date, funnel_days: int
) -> pl.DataFrame:
    """The opportunities of all analyses, ranked by the conversions that they would add in four weeks.

    Args:
        findings: tonight's tables.
        policies: rows of `policy_values` that surely gain, one per decision point, with `workflow_id` and `step_id`.
        cells: entrants by cohort, as `cohort_triangles` reads them. A cohort that nobody joins any more has no gain.
        as_of_day: tonight.
        funnel_days: days of entry on which `bottlenecks` rests.

    Returns:
        One row per opportunity, in the columns of `opportunities`: the avoidable loss of bottlenecks; what the forecast
        promises beyond what happens, for steps that are harmed, as long as the cause goes on and is not muted; what
        decayed rates would bring at their former level; the distance to the others, for cohorts surely below them; the
        improvement of delays that should be changed, not only tested; and what winners, better policies and better
        hours promise. Intervals are those of the evidence; the conversions per click or message are taken as known.
        Several gains may count the same conversions, so they do not add up.
    """
    daily, holdouts = findings.daily, findings.holdouts
    recent = recent_days(daily, as_of_day)
    worth = worth_of_events(daily, holdouts)
    first = as_of_day - timedelta(days=funnel_days - 1)
    parts = [
        from_bottlenecks(findings.bottlenecks, daily, recent, holdouts, first),
        from_anomalies(findings.anomalies, recent, worth),
        from_decays(findings.anomalies, findings.baselines, recent, worth),
        from_cohorts(findings.comparison, recent_days(cells, as_of_day)),
        from_delays(findings.delays, recent),
        from_winners(findings.verdicts, findings.results, findings.records, recent, worth),
        from_policies(policies, recent),
        from_send_times(findings.hours, recent, worth),
    ]
    found = pl.concat(parts, how="diagonal_relaxed")
    if found.is_empty():
        return empty(Opportunities)
    unit = pl.col("gain_unit").fill_null(UNIT)
    ranked = found.with_columns(unit, pl.col("status").fill_null("ok")).sort(
        pl.col("gain_unit") != UNIT,
        "expected_gain",
        "opportunity_id",
        descending=[False, True, False],
        nulls_last=True,
    )
    return conform(
        ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), as_of_day=pl.lit(as_of_day)),
        Opportunities,
    )
