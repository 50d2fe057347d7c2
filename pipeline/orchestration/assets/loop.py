"""Assets of the loop: the ledger as it stands tonight, as tables that BI tools read."""

from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.experiments import learnings
from pipeline.analysis.experiments.exposures import Facts
from pipeline.charts.figures import realised_chart
from pipeline.optimizations.account.released import released
from pipeline.optimizations.account.written import deliveries, written_values
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.measurement.baselines import outcome_baselines, places_of
from pipeline.optimizations.proposals.delays import DELAY_OUTCOME_DAYS
from pipeline.optimizations.proposals.evidence import OUTCOME_DAYS
from pipeline.optimizations.published import optimization_events, optimizations
from pipeline.optimizations.realised import in_a_word, realised_lift
from pipeline.optimizations.record import IN_EFFECT
from pipeline.orchestration.asset import Night, asset, preview
from pipeline.orchestration.picture import image
from pipeline.schemas import core, decisions, experiments, performance, timing
from pipeline.schemas import loop as marts
from pipeline.schemas.vocabulary import RecordStatus as Status

WORDS = ["optimization_id", "outcome", "promised_lift", "realised_lift", "realised_lift_low", "realised_lift_high"]


def _record_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "records": rows.height,
        "waiting": rows.filter(pl.col("status") == Status.PENDING).height,
        "in_effect": rows.filter(pl.col("status").is_in(IN_EFFECT)).height,
    }


@asset(
    *(marts.Optimizations, marts.OptimizationEvents),
    group="loop",
    summary=(_record_summary, lambda rows: {"events": rows.height}),
)
def ledger_tables(ledger: Ledger) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was proposed, decided and applied until tonight."""
    return optimizations(ledger.records()), optimization_events(ledger.events())


def _realised_summary(rows: pl.DataFrame) -> dict[str, Any]:
    tonights = in_a_word(rows)
    return {
        "rows": preview(tonights.select(WORDS)),
        **dict(tonights.group_by("outcome").len().sort("outcome").iter_rows()),
        **image(realised_chart(rows)),
    }


@asset(
    *(core.CoreWrittenValues, marts.Deliveries),
    group="loop",
    summary=(
        lambda rows: {"values": rows.height, "standing": rows["until_us"].null_count()},
        lambda rows: dict(rows.group_by("outcome").agg(pl.col("subscribers").sum()).sort("outcome").iter_rows()),
    ),
)
def journal_tables(ledger: Ledger) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was written to members until tonight, and for how long it stood."""
    settled, records = ledger.journal.settled(), ledger.records()
    return written_values(settled, records), deliveries(settled, records)


@asset(
    marts.Releases,
    group="loop",
    summary=lambda rows: dict(rows.group_by("outcome").agg(pl.col("subscribers").sum()).sort("outcome").iter_rows()),
)
def releases(
    plan: DataFrame[marts.ReleasePlan],
    messages: LazyFrame[core.CoreMessages],
    steps: DataFrame[core.CoreSteps],
    ledger: Ledger,
) -> pl.DataFrame:
    """Who was let into flows until tonight, and who waits."""
    return released(ledger.records(), ledger.journal.noted, plan, messages, steps)


@asset(marts.RealisedLift, group="loop", summary=_realised_summary)
def realised(facts: Facts, written: DataFrame[core.CoreWrittenValues], ledger: Ledger, night: Night) -> pl.DataFrame:
    """What applied changes brought until tonight."""
    return realised_lift(ledger.records(), facts, written, as_of_day=night.as_of)


@asset(
    marts.OutcomeBaselines,
    group="loop",
    summary=lambda rows: {"places": rows.select("workflow_id", "step_ids").n_unique()},
)
def baselines(
    facts: Facts,
    tests: DataFrame[experiments.Experiments],
    points: DataFrame[decisions.DecisionPoints],
    delays: DataFrame[timing.DelayRecommendations],
    night: Night,
) -> pl.DataFrame:
    """How many people come by where a change could be measured, and what they do."""
    windows = (OUTCOME_DAYS, DELAY_OUTCOME_DAYS)
    return outcome_baselines(places_of(tests, points, delays, windows=windows), facts, as_of_day=night.as_of)


def _learnt_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {"learnings": rows.height, **dict(rows.group_by("outcome").len().sort("outcome").iter_rows())}


@asset(marts.Learnings, group="loop", summary=_learnt_summary)
def learnt(
    tests: DataFrame[experiments.Experiments],
    verdicts: DataFrame[experiments.ExperimentVerdicts],
    records: DataFrame[marts.Optimizations],
    realised: DataFrame[marts.RealisedLift],
    steps: DataFrame[performance.Steps],
    workflows: DataFrame[performance.Workflows],
    night: Night,
) -> pl.DataFrame:
    """What tests and changes taught, and where else it could be tried."""
    tonights = in_a_word(realised)
    return learnings.learnings(tests, verdicts, records, tonights, steps, workflows, as_of=night.as_of)
