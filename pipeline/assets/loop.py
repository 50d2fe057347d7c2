"""Assets of the loop: the ledger as it stands tonight, as tables that BI tools read."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from pipeline.assets.describing import FRESHNESS, OWNERS, asset_key, describe, preview
from pipeline.checks import check_results, check_specs
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.published import optimization_events, optimizations
from pipeline.optimizations.record import IN_EFFECT, Status
from pipeline.schemas import loop as marts

GROUP = "loop"
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


loop_assets = [ledger_tables]
