"""Assets of core facts and reductions: every SQL model of `sql/` is one, built window by window in a single step.

What a model computes is said in its file. Which days are due is decided in `pipeline/engine`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import dagster as dg

from pipeline.common.time import day_number
from pipeline.engine import Engine, Model, RunResult, Window, column_lineage, models
from pipeline.engine.spark import Cluster, open_cluster
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import PREVIEW_ROWS, Group, asset_key, describe, preview, spec
from pipeline.orchestration.partitions import EVERY_DAY, day_range
from pipeline.orchestration.resources.warehouse import MEMORY_BYTES, Warehouse
from pipeline.schemas.base import identity
from pipeline.settings import SQL_DIR, Settings

GROUPS: dict[str, Group] = {"core": "facts", "reductions": "reductions"}


def _key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("."))


def _spec(model: Model) -> dg.AssetSpec:
    lineage = {
        column: [dg.TableColumnDep(asset_key=_key(source.table), column_name=source.column) for source in sources]
        for column, sources in column_lineage(model).items()
    }
    return spec(
        model.schema,
        GROUPS[identity(model.schema).schema],
        deps=[_key(name) for name in model.depends_on],
        description=model.description,
        kinds={"sql", "duckdb"},
        partitions_def=EVERY_DAY,
        metadata={
            **describe(model.schema),
            "partition_expr": "day",
            "dagster/column_lineage": dg.TableColumnLineage(lineage),
            "query": dg.MetadataValue.md(f"```sql\n{model.sql}\n```"),
        },
    )


@dg.multi_asset(
    specs=[_spec(model) for model in models(SQL_DIR)],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def build_facts_and_reductions(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.MaterializeResult[Any]]:
    """Recompute the days that new files, changed definitions or the run's partitions make due."""
    first, last = day_range(context.run.tags, settings)
    with _cluster(settings) as cluster:
        engine = Engine(warehouse.connection, SQL_DIR, lake.root, _parameters(settings), MEMORY_BYTES, cluster)
        engine.touch(Window(day_number(first), day_number(last)))
        for name, model in engine.models.items():
            if asset_key(model.schema) in context.selected_asset_keys:
                metadata = _build_summary(engine.build(name), warehouse)
                yield dg.MaterializeResult(asset_key(model.schema), metadata=metadata)


def _cluster(settings: Settings) -> AbstractContextManager[Cluster | None]:
    if settings.cluster_address is None:
        return nullcontext()
    return open_cluster(settings.cluster_address, settings.exchange_dir)


def _parameters(settings: Settings) -> dict[str, int | str]:
    return {
        "currency": settings.currency,
        "shared_ip_recipients": settings.shared_ip_recipients,
        "default_grace_hours": settings.default_grace_hours,
    }


def _build_summary(built: RunResult, warehouse: Warehouse) -> dict[str, Any]:
    [(rows,)] = warehouse.connection.execute(f"SELECT count(*) FROM {built.model}").fetchall()
    first_rows = warehouse.connection.sql(f"SELECT * FROM {built.model} LIMIT {PREVIEW_ROWS}").pl()
    return {
        "dagster/row_count": rows,
        "rows": preview(first_rows),
        "rows_deleted": built.rows_deleted,
        "rows_inserted": built.rows_inserted,
        "windows": len(built.windows),
        "seconds": round(built.seconds, 3),
    }
