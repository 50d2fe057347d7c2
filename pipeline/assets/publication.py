"""The publication asset: the last of the night, only after every blocking check has passed."""

import dagster as dg

from pipeline.assets.describing import FRESHNESS, OWNERS
from pipeline.assets.performance import performance_assets
from pipeline.partitions import tonight
from pipeline.resources.publish import Manifest, publish
from pipeline.resources.warehouse import Warehouse
from pipeline.settings import Settings


@dg.asset(
    key=["published", "email_warehouse"],
    deps=[key for asset in performance_assets for key in asset.keys],
    group_name="publication",
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
        }
    )
