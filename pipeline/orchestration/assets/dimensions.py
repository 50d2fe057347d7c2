"""Assets of the dimensions: workflows, steps and transitions from the user's map, subscribers, zones."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from pipeline.config.flow_map import load_flow_map
from pipeline.dimensions.flows import dimensions
from pipeline.dimensions.subscribers import subscribers
from pipeline.dimensions.zones import zone_offsets
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import asset_key, preview, spec
from pipeline.orchestration.partitions import tonight
from pipeline.orchestration.resources.warehouse import Warehouse, read_table, write_table
from pipeline.schemas import core
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table
from pipeline.settings import Settings

GROUP = "dimensions"
# Offsets reach past tonight to a year's end, so that they change, and facts are rebuilt for it, once a year.
OLDEST_OFFSET_DAY = date(2012, 1, 1)


def _written(warehouse: Warehouse, model: type[Table], frame: pl.DataFrame) -> dg.MaterializeResult:
    """Replace the table, unless it already holds these rows: then what depends on it need not be recomputed."""
    standing = read_table(warehouse.connection, model)
    is_changed = not standing.sort(standing.columns).equals(frame.sort(frame.columns))
    if is_changed:
        write_table(warehouse.connection, model, frame)
    metadata: dict[str, Any] = {"dagster/row_count": frame.height, "is_changed": is_changed, "rows": preview(frame)}
    return dg.MaterializeResult(asset_key=asset_key(model), metadata=metadata)


@dg.multi_asset(
    name="read_flow_map",
    specs=[
        spec(
            model,
            GROUP,
            kinds={"yaml", "polars"},
            deps=[asset_key(source) for source in (tables.Automations, tables.AutomationEmails, tables.Campaigns)],
        )
        for model in (core.CoreWorkflows, core.CoreSteps, core.CoreEdges)
    ],
)
def flow_map(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.MaterializeResult]:
    """Workflows, steps and planned transitions, from flows.yaml, classic automations and campaigns."""
    made = dimensions(
        load_flow_map(settings.definitions),
        lake.latest(tables.Automations).collect(),
        lake.latest(tables.AutomationEmails).collect(),
        lake.latest(tables.Campaigns).collect(),
        settings,
    )
    yield _written(warehouse, core.CoreWorkflows, made.workflows)
    yield _written(warehouse, core.CoreSteps, made.steps)
    yield _written(warehouse, core.CoreEdges, made.edges)


@dg.multi_asset(
    name="know_subscribers",
    specs=[
        spec(
            model,
            GROUP,
            kinds={"polars"},
            deps=[asset_key(source) for source in (tables.Members, tables.Orders, tables.Events)],
        )
        for model in (core.CoreSubscribers, core.CoreZoneOffsets)
    ],
)
def people(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.MaterializeResult]:
    """Subscribers as last known, and the offsets of every zone they live in."""
    as_of = tonight(context.run.tags, settings)
    known = subscribers(
        lake.latest(tables.Members).collect(), lake.scan(tables.Orders), lake.scan(tables.Events), settings
    )
    zones = [settings.timezone, *known["zone"].unique()]
    yield _written(warehouse, core.CoreSubscribers, known)
    yield _written(
        warehouse, core.CoreZoneOffsets, zone_offsets(zones, OLDEST_OFFSET_DAY, date(as_of.year + 1, 12, 31))
    )


core_assets = [flow_map, people]
