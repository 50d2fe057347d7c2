"""Assets of the loop: the ledger as it stands tonight, as tables that BI tools read."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from pipeline.analysis.experiments.exposures import Facts
from pipeline.charts.figures import realised_chart
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.published import optimization_events, optimizations
from pipeline.optimizations.realised import in_a_word, realised_lift
from pipeline.optimizations.record import IN_EFFECT, Status
from pipeline.orchestration.asset import FRESHNESS, OWNERS, asset_key, describe, preview
from pipeline.orchestration.assets.experiments import FACTS
from pipeline.orchestration.checks import check_results, check_specs
from pipeline.orchestration.partitions import tonight
from pipeline.orchestration.picture import image
from pipeline.schemas import loop as marts
from pipeline.settings import Settings

GROUP = "loop"
WORDS = ["optimization_id", "outcome", "promised_lift", "realised_lift", "realised_lift_low", "realised_lift_high"]
TABLES = (marts.Optimizations, marts.OptimizationEvents)


@dg.multi_asset(
    name="ledger_tables",
    outs={
        model.__name__: dg.AssetOut(
            key=asset_key(model),
            group_name=GROUP,
            kinds={"polars"},
            description=model.__doc__,
            metadata=describe(model),
            owners=OWNERS,
            freshness_policy=FRESHNESS,
        )
        for model in TABLES
    },
    check_specs=[check for model in TABLES for check in check_specs(model, asset_key(model))],
)
def ledger_tables(ledger: dg.ResourceParam[Ledger]) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    """What was proposed, decided and applied until tonight."""
    records, events = ledger.records(), ledger.events()
    numbers = {
        "records": len(records),
        "waiting": sum(record.status is Status.PENDING for record in records),
        "in_effect": sum(record.status in IN_EFFECT for record in records),
    }
    found = {
        marts.Optimizations: (optimizations(records), numbers),
        marts.OptimizationEvents: (optimization_events(events), {"events": len(events)}),
    }
    for model, (rows, summary) in found.items():
        yield dg.Output(rows, output_name=model.__name__, metadata={"rows": preview(rows), **summary})
        yield from check_results(model, rows)


@dg.asset(
    key=asset_key(marts.RealisedLift),
    group_name=GROUP,
    kinds={"polars"},
    description=marts.RealisedLift.__doc__,
    metadata=describe(marts.RealisedLift),
    owners=OWNERS,
    freshness_policy=FRESHNESS,
    ins={name: dg.AssetIn(key=asset_key(source)) for name, source in FACTS.items()},
    required_resource_keys={"settings", "ledger"},
    check_specs=check_specs(marts.RealisedLift, asset_key(marts.RealisedLift)),
)
def realised(
    context: dg.AssetExecutionContext, **facts: pl.DataFrame
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    """What applied changes brought until tonight."""
    settings: Settings = context.resources.settings
    as_of = tonight(context.run.tags, settings)
    rows = realised_lift(context.resources.ledger.records(), Facts(**facts), as_of_day=as_of)
    tonights = in_a_word(rows)
    metadata = {
        "as_of_day": as_of.isoformat(),
        "rows": preview(tonights.select(WORDS)),
        **dict(tonights.group_by("outcome").len().sort("outcome").iter_rows()),
        **image(realised_chart(rows)),
    }
    yield dg.Output(rows, metadata=metadata)
    yield from check_results(marts.RealisedLift, rows)


loop_assets = [ledger_tables, realised]
