"""Every night of every frozen test and tonight's verdicts, from assigned arms and core tables.

Here: the order in which exposures, moments, results, the sample ratio and verdicts follow each other.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from pipeline.analysis.experiments.exposures import Facts, daily_shares, exposures, moments_of, no_moments, of_test
from pipeline.analysis.experiments.registry import Experiment, stated_verdicts
from pipeline.analysis.experiments.results import experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.analysis.statistics.sample_ratio import sample_ratio_mismatch
from pipeline.schemas.vocabulary import Assigner


def looks(
    experiments: Sequence[Experiment], assigned: pl.DataFrame, facts: Facts, written: pl.DataFrame, *, as_of_day: date
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results of all nights, and one verdict for each test.

    Args:
        experiments: tonight's tests.
        assigned: rows of `experiment_assignments`.
        facts: core tables.
        written: rows of `core.written_values`.
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
    counted = [daily_shares(plan, rows) for plan, rows in pairs if rows.height]
    mismatches = sample_ratio_mismatch(pl.concat(counted)) if counted else None
    verdicts = experiment_verdicts(results, plans, as_of_day=as_of_day, mismatches=mismatches)
    return results, stated_verdicts(verdicts, experiments, as_of_day=as_of_day)


def _written(one: Experiment, written: pl.DataFrame) -> pl.DataFrame | None:
    is_drawn = one.draft.assigned_by is Assigner.DRIPTUNE
    return of_test(written, one.draft.experiment_id) if is_drawn else None
