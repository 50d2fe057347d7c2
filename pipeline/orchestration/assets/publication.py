"""The last assets of the night: tables about the run itself, and the publication after every check has passed."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import dagster as dg
import polars as pl

from pipeline.common.time import to_date
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import FRESHNESS, OWNERS, Latest, Night, asset, asset_key
from pipeline.orchestration.assets.run_history import RUNS_KEPT, run_history
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.partitions import tonight
from pipeline.orchestration.resources.warehouse import Warehouse
from pipeline.published.dictionary import data_dictionary
from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import publish
from pipeline.reports.pages import PAGES_PATH
from pipeline.schemas import lake as tables
from pipeline.schemas import monitoring
from pipeline.schemas import performance as marts
from pipeline.schemas.base import polars_schema, tables_of
from pipeline.settings import Settings

MARTS = [asset_key(model) for model in tables_of("marts")]
LAST = {asset_key(marts.Runs), asset_key(monitoring.AnalysisFailures)}
LAKE = [asset_key(model) for model in tables_of("lake") if model is not tables.Addresses]


@asset(marts.QuarantinedRows, group="publication")
def quarantined_rows(rows: Latest[tables.Quarantine]) -> pl.DataFrame:
    """Rows that broke their contract."""
    return rows.with_columns(to_date("as_of_day"))


@asset(marts.DataDictionary, group="publication")
def dictionary() -> pl.DataFrame:
    """Every column of every table that is published."""
    return data_dictionary(tables_of("marts"))


@asset(monitoring.AnalysisFailures, group="publication", after=set(MARTS) - LAST)
def analysis_failures(warehouse: Warehouse, night: Night) -> pl.DataFrame:
    """The tables that stay as they were, because an analysis failed."""
    known = dict(warehouse.read(monitoring.AnalysisFailures).select("table_name", "rows_of_day").iter_rows())
    before = warehouse.read(marts.Runs)["as_of_day"].max()
    rows = [
        {"as_of_day": night.as_of, "table_name": name, "error": error, "rows_of_day": known.get(name, before)}
        for name, error in sorted(warehouse.failures.items())
    ]
    return pl.DataFrame(rows, schema=polars_schema(monitoring.AnalysisFailures))


# Comes after everything else, so that all rows of this night are counted.
@asset(marts.Runs, group="publication", after={*LAKE, *MARTS} - {asset_key(marts.Runs)})
def runs(context: dg.AssetExecutionContext, lake: Lake, night: Night) -> pl.DataFrame:
    """The nights that ran, as Dagster recorded them."""
    records = context.instance.get_run_records(dg.RunsFilter(job_name=nightly.name), limit=RUNS_KEPT)
    return run_history(records, context.run_id, lake, night.settings, version("driptune"), datetime.now(UTC))


@dg.asset(
    key=["published", "email_warehouse"],
    deps=MARTS,
    group_name="publication",
    kinds={"duckdb", "parquet"},
    description="The atomic snapshot that BI tools read, the same as Parquet, and the manifest, written last.",
    owners=OWNERS,
    freshness_policy=FRESHNESS,
)
def published(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse], settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """Publish the marts, unless the same content is published already."""
    manifest = Manifest.of(warehouse.connection, context.run_id, tonight(context.run.tags, settings))
    is_new = publish(warehouse.connection, settings.published_dir, manifest, keep=settings.snapshots_kept)
    return dg.MaterializeResult(metadata={"is_new": is_new, **_manifest_summary(manifest)})


def _manifest_summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": manifest.version,
        "as_of_day": manifest.as_of,
        "tables": len(manifest.tables),
        "total_rows": sum(table.rows for table in manifest.tables),
        "pages": dg.MetadataValue.url(f"{PAGES_PATH}/index.html"),
    }
