"""Assets of core facts and reductions: every SQL model of `sql/` is one, built window by window in a single step.

What a model computes stands in its file; which days are due is the engine's business.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline.common.time import day_number
from pipeline.engine import Engine, Model, Window, column_lineage, models
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import FRESHNESS, OWNERS, PREVIEW_ROWS, describe, preview
from pipeline.orchestration.partitions import DAYS, day_range
from pipeline.orchestration.resources.warehouse import Warehouse
from pipeline.schemas.base import identity
from pipeline.settings import SQL_DIR, Settings

GROUPS = {"core": "facts", "reductions": "reductions"}


def _spec(model: Model) -> dg.AssetSpec:
    lineage = {
        column: [dg.TableColumnDep(asset_key=_key(source.table), column_name=source.column) for source in sources]
        for column, sources in column_lineage(model).items()
    }
    return dg.AssetSpec(
        _key(model.name),
        deps=[_key(name) for name in model.depends_on],
        description=model.description,
        group_name=GROUPS[identity(model.schema).schema],
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        freshness_policy=FRESHNESS,
        partitions_def=DAYS,
        metadata={
            **describe(model.schema),
            "partition_expr": "day",
            "dagster/column_lineage": dg.TableColumnLineage(lineage),
            "query": dg.MetadataValue.md(f"```sql\n{model.sql}\n```"),
        },
    )


def _key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("."))


def sql_assets() -> dg.AssetsDefinition:
    """The one step that builds every SQL model whose days are due."""

    @dg.multi_asset(
        name="build_facts_and_reductions",
        specs=[_spec(model) for model in models(SQL_DIR)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def build(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        lake: dg.ResourceParam[Lake],
        settings: dg.ResourceParam[Settings],
    ) -> Iterator[dg.MaterializeResult]:
        """Recompute the days that new files, changed definitions or the run's partitions make due."""
        parameters: dict[str, int | str] = {
            "currency": settings.currency,
            "shared_ip_recipients": settings.shared_ip_recipients,
            "default_grace_hours": settings.default_grace_hours,
        }
        engine = Engine(warehouse.connection, SQL_DIR, lake.root, parameters)
        first, last = day_range(context.run.tags, settings)
        engine.touch(Window(day_number(first), day_number(last)))
        for name in engine.models:
            if _key(name) not in context.selected_asset_keys:
                continue
            built = engine.build(name)
            yield dg.MaterializeResult(
                asset_key=_key(name),
                metadata={
                    "dagster/row_count": warehouse.rows(name),
                    "rows": preview(warehouse.connection.sql(f"SELECT * FROM {name} LIMIT {PREVIEW_ROWS}").pl()),
                    "rows_deleted": built.rows_deleted,
                    "rows_inserted": built.rows_inserted,
                    "windows": len(built.windows),
                    "seconds": round(built.seconds, 3),
                },
            )

    return build
