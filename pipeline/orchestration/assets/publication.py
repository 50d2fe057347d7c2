"""The last of the night: tables about the run itself, and the publication after every blocking check has passed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.metadata import version

import dagster as dg
import polars as pl

from pipeline.common.time import to_date
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import FRESHNESS, OWNERS, asset_key, describe, table_asset
from pipeline.orchestration.assets.cohorts import cohort_assets
from pipeline.orchestration.assets.coordination import coordination_assets
from pipeline.orchestration.assets.decisions import decision_assets
from pipeline.orchestration.assets.experiments import experiment_assets
from pipeline.orchestration.assets.loop import loop_assets
from pipeline.orchestration.assets.monitoring import monitoring_assets
from pipeline.orchestration.assets.performance import performance_assets
from pipeline.orchestration.assets.run_history import RUNS_KEPT, run_history
from pipeline.orchestration.assets.timing import timing_assets
from pipeline.orchestration.checks import check_results, check_specs
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.partitions import tonight
from pipeline.orchestration.resources.warehouse import Warehouse
from pipeline.published.dictionary import data_dictionary
from pipeline.published.snapshot import Manifest, publish
from pipeline.reports.pages import PAGES_PATH
from pipeline.schemas import lake as tables
from pipeline.schemas import performance as marts
from pipeline.schemas.base import Table, tables_of
from pipeline.settings import Settings

GROUP = "publication"
ANALYSES = (
    *performance_assets,
    *cohort_assets,
    *timing_assets,
    *coordination_assets,
    *decision_assets,
    *experiment_assets,
    *monitoring_assets,
    *loop_assets,
)


@table_asset(marts.QuarantinedRows, group=GROUP, reads={}, reads_lake={"rows": tables.Quarantine})
def quarantine(as_of: date, settings: Settings, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that broke their contract."""
    return rows.with_columns(to_date("as_of_day"))


@table_asset(marts.DataDictionary, group=GROUP, reads={})
def dictionary(as_of: date, settings: Settings) -> pl.DataFrame:
    """Every column of every table that is published."""
    return data_dictionary(published_marts())


@dg.asset(
    key=asset_key(marts.Runs),
    # After everything else, so that this night's rows are counted.
    deps=[key for asset in ANALYSES for key in asset.keys],
    group_name=GROUP,
    kinds={"polars"},
    owners=OWNERS,
    freshness_policy=FRESHNESS,
    description=marts.Runs.__doc__,
    metadata=describe(marts.Runs),
    check_specs=check_specs(marts.Runs, asset_key(marts.Runs)),
)
def runs(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[Settings]
) -> Iterator[dg.Output | dg.AssetCheckResult]:
    """The nights that ran, as Dagster recorded them."""
    filters = dg.RunsFilter(job_name=nightly.name)
    records = context.instance.get_run_records(filters, limit=RUNS_KEPT)
    history = run_history(records, context.run_id, lake, settings, version("driptune"), datetime.now(UTC))
    yield dg.Output(history)
    yield from check_results(marts.Runs, history)


def published_marts() -> list[type[Table]]:
    """The marts that are published, in the order of their declaration."""
    keys = {key for asset in (*ANALYSES, quarantine, dictionary, runs) for key in asset.keys}
    return [model for model in tables_of("marts") if asset_key(model) in keys]


@dg.asset(
    key=["published", "email_warehouse"],
    deps=[asset_key(model) for model in published_marts()],
    group_name=GROUP,
    kinds={"duckdb", "parquet"},
    owners=OWNERS,
    freshness_policy=FRESHNESS,
    description="The atomic snapshot that BI tools read, the same as Parquet, and the manifest, written last.",
)
def published(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Publish the marts, unless the same content is published already."""
    manifest = Manifest.of(warehouse.connection, context.run_id, tonight(context.run.tags, settings))
    is_new = publish(warehouse.connection, settings.published_dir, manifest, keep=settings.snapshots_kept)
    return dg.MaterializeResult(
        metadata={
            "version": manifest.version,
            "as_of_day": manifest.as_of,
            "tables": len(manifest.tables),
            "total_rows": sum(table.rows for table in manifest.tables),
            "is_new": is_new,
            "pages": dg.MetadataValue.url(f"{PAGES_PATH}/index.html"),
        }
    )


publication_assets = [quarantine, dictionary, runs, published]
