"""Every night of every frozen test and tonight's verdicts, from assigned arms and core tables.

Here: the order in which exposures, moments, results, the sample ratio and verdicts follow each other.
"""

from collections.abc import Collection, Sequence
from datetime import date

import polars as pl

from pipeline.analysis.experiments.exposures import Facts, daily_shares, exposures, moments_of, no_moments, of_test
from pipeline.analysis.experiments.plan import ExperimentPlan
from pipeline.analysis.experiments.registry import Experiment, stated_verdicts
from pipeline.analysis.experiments.results import experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.analysis.statistics.sample_ratio import sample_ratio_mismatch
from pipeline.schemas.vocabulary import Assigner

HOURS_OF_DAY = 24


def looks(
    experiments: Sequence[Experiment],
    assigned: pl.DataFrame,
    facts: Facts,
    written: pl.DataFrame,
    *,
    wait_fields: Collection[str],
    as_of_day: date,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results of all nights, and one verdict for each test.

    Args:
        experiments: tonight's tests.
        assigned: rows of `experiment_assignments`.
        facts: core tables.
        written: rows of `core.written_values`.
        wait_fields: merge fields that hold how many hours people wait before a flow. The arms of a test of such a field
            are hours.
        as_of_day: tonight.

    Returns:
        Rows of `experiment_results` and of `experiment_verdicts`.
    """
    pairs = [
        (one.plan, exposures(one.plan, assigned, facts, _written(one, written), as_of_day=as_of_day))
        for one in experiments
        if one.is_frozen and one.plan
    ]
    plans = [plan for plan, _ in pairs]
    moments = pl.concat([no_moments(), *(moments_of(plan, rows) for plan, rows in pairs)])
    results = experiment_results(moments, plans, as_of_day=as_of_day)
    waits = {one.draft.experiment_id for one in experiments if one.draft.arm_field in wait_fields}
    counted = [
        daily_shares(plan, _once_all_have_waited(plan, rows, as_of_day) if plan.experiment_id in waits else rows)
        for plan, rows in pairs
        if rows.height
    ]
    mismatches = sample_ratio_mismatch(pl.concat(counted)) if counted else None
    verdicts = experiment_verdicts(results, plans, as_of_day=as_of_day, mismatches=mismatches)
    return results, stated_verdicts(verdicts, experiments, as_of_day=as_of_day)


def _once_all_have_waited(plan: ExperimentPlan, exposed: pl.DataFrame, as_of_day: date) -> pl.DataFrame:
    """The exposures of a test of waits, each on the day on which it would have come after the longest wait.

    People of a longer wait get their message later. Until then they seem to be missing: such a test was called invalid
    on its fifth night.
    """
    hours = {arm: int(arm) for arm, _ in plan.shares if arm.isdecimal()}
    longest = max(hours.values(), default=0)
    later = pl.col("arm").replace_strict(hours, default=longest, return_dtype=pl.Int64)
    day = pl.col("exposed_day") + pl.duration(days=(longest - later) // HOURS_OF_DAY)
    return exposed.with_columns(exposed_day=day).filter(pl.col("exposed_day") <= as_of_day)


def _written(one: Experiment, written: pl.DataFrame) -> pl.DataFrame | None:
    is_drawn = one.draft.assigned_by is Assigner.DRIPTUNE
    return of_test(written, one.draft.experiment_id) if is_drawn else None
