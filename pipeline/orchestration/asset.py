"""What the UI shows of a table, taken from its model: columns with units, description, owners, freshness.

Also the decorators by which a pure function over tables becomes an asset, or several. No asset is defined here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any

import dagster as dg
import polars as pl

from pipeline.orchestration.checks import check_results, check_specs
from pipeline.orchestration.partitions import tonight
from pipeline.reports.pages import PAGES_PATH
from pipeline.schemas.base import Table, describe_columns, identity
from pipeline.settings import Settings

OWNERS = ["team:lifecycle-data"]
# A nightly that failed once is late in the morning; one that failed twice needs a person.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
PREVIEW_ROWS = 8
PERSONAL_COLUMNS = ("subscriber_key", "merge_fields", "tags", "url")


def asset_key(model: type[Table]) -> dg.AssetKey:
    """The key of the asset that makes the model's table."""
    place = identity(model)
    return dg.AssetKey([place.schema, place.name])


def describe(model: type[Table]) -> dict[str, Any]:
    """Metadata of a table: qualified name, columns with type, meaning and unit, and its place in the dictionary."""
    columns = [
        dg.TableColumn(name=name, type=dtype, description=f"{meaning} [{unit}]" if unit else meaning)
        for name, dtype, unit, meaning in describe_columns(model)
    ]
    place = identity(model)
    described: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": place.qualified_name,
    }
    if place.schema == "marts":
        described["meaning"] = dg.MetadataValue.url(f"{PAGES_PATH}/dictionary.html#{place.name}")
    return described


def spec(model: type[Table], group: str, **more: Any) -> dg.AssetSpec:
    """The specification of an asset that holds the model's table."""
    return dg.AssetSpec(
        asset_key(model),
        description=model.__doc__,
        group_name=group,
        metadata=describe(model),
        owners=OWNERS,
        freshness_policy=FRESHNESS,
        **more,
    )


def preview(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows as a small table, of nobody in particular: Dagster keeps it longer than a person may be kept."""
    shape = pl.Config(tbl_rows=PREVIEW_ROWS, tbl_cols=12, fmt_str_lengths=40, tbl_width_chars=400)
    markdown = pl.Config(tbl_formatting="MARKDOWN", tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True)
    with shape, markdown:
        return dg.MetadataValue.md(str(frame.drop(PERSONAL_COLUMNS, strict=False).head(PREVIEW_ROWS)))


def table_asset(
    model: type[Table],
    *,
    group: str,
    reads: Mapping[str, type[Table]],
    reads_lake: Mapping[str, type[Table]] = MappingProxyType({}),
    scans_lake: Mapping[str, type[Table]] = MappingProxyType({}),
    summary: Callable[[pl.DataFrame], Mapping[str, Any]] = lambda frame: {},
) -> Callable[[Callable[..., pl.DataFrame]], dg.AssetsDefinition]:
    """Make an asset of `function(as_of, settings, **frames)`, which returns the model's rows for tonight.

    Args:
        model: the table the asset holds.
        group: the asset's group in the graph.
        reads: for each frame the function takes, the model of the table it comes from.
        reads_lake: the same for tables of the lake, of which the function gets the latest version of each row.
        scans_lake: the same, but lazily and with all versions of each row: for tables too large to hold.
        summary: three to six numbers worth showing beside the run.
    """

    def make(function: Callable[..., pl.DataFrame]) -> dg.AssetsDefinition:
        @dg.asset(
            key=asset_key(model),
            group_name=group,
            kinds={"polars"},
            description=model.__doc__,
            metadata=describe(model),
            owners=OWNERS,
            freshness_policy=FRESHNESS,
            ins={name: dg.AssetIn(key=asset_key(source)) for name, source in reads.items()},
            deps=[asset_key(source) for source in {*reads_lake.values(), *scans_lake.values()}],
            required_resource_keys={"settings", "warehouse", "lake"},
            check_specs=check_specs(model, asset_key(model)),
        )
        def asset(
            context: dg.AssetExecutionContext, **frames: pl.DataFrame
        ) -> Iterator[dg.Output | dg.AssetCheckResult]:
            settings: Settings = context.resources.settings
            as_of: date = tonight(context.run.tags, settings)
            latest = {name: context.resources.lake.latest(source).collect() for name, source in reads_lake.items()}
            scans = {name: context.resources.lake.scan(source) for name, source in scans_lake.items()}
            result = function(as_of=as_of, settings=settings, **frames, **latest, **scans)
            metadata = {"as_of_day": as_of.isoformat(), "rows": preview(result), **summary(result)}
            yield dg.Output(result, metadata=metadata)
            yield from check_results(model, result)

        return asset

    return make


def log_asset(
    model: type[Table],
    *,
    group: str,
    reads: Mapping[str, type[Table]],
    reads_lake: Mapping[str, type[Table]] = MappingProxyType({}),
) -> Callable[[Callable[..., pl.DataFrame]], dg.AssetsDefinition]:
    """Make an asset of `function(as_of, settings, **frames)`, whose rows are appended to a log of the lake.

    Args:
        model: the lake's table; rows it holds already are not written again.
        group: the asset's group in the graph.
        reads: as in `table_asset`.
        reads_lake: as in `table_asset`; the log itself may be among them, as it stands before tonight's rows.
    """

    def make(function: Callable[..., pl.DataFrame]) -> dg.AssetsDefinition:
        @dg.asset(
            key=asset_key(model),
            group_name=group,
            kinds={"polars", "parquet"},
            description=model.__doc__,
            metadata=describe(model),
            owners=OWNERS,
            freshness_policy=FRESHNESS,
            ins={name: dg.AssetIn(key=asset_key(source)) for name, source in reads.items()},
            deps=[asset_key(source) for source in reads_lake.values() if source is not model],
            required_resource_keys={"settings", "lake"},
        )
        def log(context: dg.AssetExecutionContext, **frames: pl.DataFrame) -> dg.MaterializeResult:
            settings: Settings = context.resources.settings
            as_of: date = tonight(context.run.tags, settings)
            lake = context.resources.lake
            latest = {name: lake.latest(source).collect() for name, source in reads_lake.items()}
            rows = function(as_of=as_of, settings=settings, **frames, **latest)
            return dg.MaterializeResult(metadata={"new_rows": lake.append(model, rows, as_of)})

        return log

    return make


def tables_asset(
    models: Sequence[type[Table]],
    *,
    group: str,
    reads: Mapping[str, type[Table]],
    reads_lake: Mapping[str, type[Table]] = MappingProxyType({}),
    summaries: Mapping[type[Table], Callable[[pl.DataFrame], Mapping[str, Any]]] = MappingProxyType({}),
) -> Callable[[Callable[..., Sequence[pl.DataFrame]]], dg.AssetsDefinition]:
    """Make assets of one `function(as_of, settings, **frames)`, which returns the rows of each model in their order.

    Args:
        models: the tables the assets hold, which one computation makes together.
        group: the assets' group in the graph.
        reads: as in `table_asset`.
        reads_lake: as in `table_asset`.
        summaries: for a model, three to six numbers worth showing beside the run, and perhaps a chart.
    """

    def make(function: Callable[..., Sequence[pl.DataFrame]]) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=function.__name__,
            outs={
                identity(model).name: dg.AssetOut(
                    key=asset_key(model),
                    group_name=group,
                    kinds={"polars"},
                    description=model.__doc__,
                    metadata=describe(model),
                    owners=OWNERS,
                    freshness_policy=FRESHNESS,
                )
                for model in models
            },
            ins={name: dg.AssetIn(key=asset_key(source)) for name, source in reads.items()},
            deps=[asset_key(source) for source in reads_lake.values()],
            required_resource_keys={"settings", "warehouse", "lake"},
            check_specs=[check for model in models for check in check_specs(model, asset_key(model))],
        )
        def assets(
            context: dg.AssetExecutionContext, **frames: pl.DataFrame
        ) -> Iterator[dg.Output | dg.AssetCheckResult]:
            settings: Settings = context.resources.settings
            as_of: date = tonight(context.run.tags, settings)
            latest = {name: context.resources.lake.latest(source).collect() for name, source in reads_lake.items()}
            results = function(as_of=as_of, settings=settings, **frames, **latest)
            for model, rows in zip(models, results, strict=True):
                summary = summaries[model](rows) if model in summaries else {}
                metadata = {"as_of_day": as_of.isoformat(), "rows": preview(rows), **summary}
                yield dg.Output(rows, output_name=identity(model).name, metadata=metadata)
                yield from check_results(model, rows)

        return assets

    return make
