"""The asset decorator: it makes the assets of a function, and gives the function what its annotations ask for.

What all assets have in common is said here and nowhere else: owners, freshness, description, metadata, preview and
checks, and how tables are read and kept. No asset is defined here.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import dagster as dg
import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis import FAULTS
from pipeline.common.words import markdown_text
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.ledger import Ledger
from pipeline.orchestration.checks import check_results, check_specs
from pipeline.orchestration.partitions import tonight
from pipeline.orchestration.resources.warehouse import Warehouse
from pipeline.reports.pages import CHARTS_FOLDER, INBOX_PATH, PAGES_PATH
from pipeline.reports.pages.charts import CHARTED
from pipeline.schemas.base import Model, Table, describe_columns, identity
from pipeline.settings import Settings

Group = Literal[
    "lake",
    "dimensions",
    "facts",
    "reductions",
    "performance",
    "cohorts",
    "timing",
    "experiments",
    "decisions",
    "monitoring",
    "loop",
    "publication",
]
"""The groups of the graph, in the order in which data flows through them."""

ANALYSES: frozenset[Group] = frozenset({"performance", "cohorts", "timing", "experiments", "decisions", "monitoring"})
"""The groups in which a step that fails costs its own tables alone."""

Metadata: TypeAlias = Mapping[str, Any]
Summary: TypeAlias = Callable[[Any], Metadata]

OWNERS = ["team:lifecycle-data"]
# A table is only late in the morning after one failed nightly. After two, a person is needed.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
RESOURCES: dict[Any, str] = {
    Lake: "lake",
    Ledger: "ledger",
    MailchimpClient: "mailchimp",
    SubscriberKeys: "keys",
    Warehouse: "warehouse",
}
PREVIEW_ROWS = 8
PREVIEW_LETTERS = 40
PERSONAL_COLUMNS = ("subscriber_key", "merge_fields", "tags", "url")


class Latest(DataFrame[Model]):
    """Annotates a parameter that takes a table of the lake: the latest version of each row."""


class Scan(LazyFrame[Model]):
    """Annotates a parameter that takes a table of the lake lazily: all versions of all rows, too many to hold."""


@dataclass(frozen=True)
class Night:
    """The night that a run is for, and the settings."""

    as_of: date
    settings: Settings


def asset(
    *models: type[Table],
    group: Group,
    name: str | None = None,
    kinds: tuple[str, ...] = ("polars",),
    after: Iterable[dg.AssetKey] = (),
    summary: Summary | tuple[Summary, ...] = lambda rows: {},
    retry_policy: dg.RetryPolicy | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Turn a function that returns the rows of the tables `models` into the assets that hold these tables.

    The function is given what its parameters are annotated with:

    - `DataFrame[model]`, `LazyFrame[model]`, `Latest[model]` or `Scan[model]`: a table, which becomes a dependency of
      the assets. The first two are tables of the warehouse, the others are tables of the lake. A table that grows with
      people or messages is taken lazily, so that only the rows and columns are read that the function asks for.
    - A dataclass whose fields are annotated so, and hence several tables.
    - `Night`, a resource (`Lake`, `Ledger`, `MailchimpClient`, `SubscriberKeys`, `Warehouse`), or Dagster's context.

    The function returns a frame, or for several models a frame for each in their order. A table of the warehouse is
    replaced by the frame. To a table of the lake the frame is appended, without the rows that the table holds already.
    A function that writes its tables itself returns metadata in place of frames. One that has put a table of the
    warehouse together from blocks of rows (`Warehouse.replacing`) returns the table's `Warehouse.scan`.

    Args:
        models: the tables that one call of the function makes.
        group: the assets' group in the graph.
        name: the name of the step. By default it is named like the table, or for several tables like the function.
        kinds: the marks that the assets have in the UI.
        after: assets that must be made before, although the function takes none of their rows.
        summary: tells three to six numbers about the rows to show beside the run, and perhaps a chart. For several
            models it is a tuple of such functions in their order. It gets what the function returned for the table.
        retry_policy: when and how often a failing step is tried again.

    Raises:
        TypeError: if a parameter is annotated with anything else.
    """
    keys = [asset_key(model) for model in models]
    summaries = summary if isinstance(summary, tuple) else (summary,) * len(models)

    def make(function: Callable[..., Any]) -> dg.AssetsDefinition:
        hints = {taken: hint for taken, hint in get_type_hints(function).items() if taken != "return"}
        needed = {asset_key(model) for hint in hints.values() for model in _tables(hint)}.union(after)
        resources = {RESOURCES[hint] for hint in hints.values() if hint in RESOURCES}

        @dg.multi_asset(
            name=name or ("__".join(keys[0].path) if len(keys) == 1 else function.__name__),
            specs=[spec(model, group, kinds=set(kinds), deps=needed.difference(keys)) for model in models],
            check_specs=[check for model in models for check in check_specs(model, asset_key(model))],
            required_resource_keys={"settings", "lake", "warehouse", *resources},
            retry_policy=retry_policy,
        )
        def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
            given = {taken: _given(hint, context) for taken, hint in hints.items()}
            try:
                results = function(**given)
            except FAULTS as error:
                if group not in ANALYSES:
                    raise
                yield from _standing(models, error, context)
                return
            each = [results] if isinstance(results, (pl.DataFrame, pl.LazyFrame, Mapping)) else results
            for model, result, summarise in zip(models, each, summaries, strict=True):
                yield _kept(model, result, summarise, context)

        return made

    return make


def asset_key(model: type[Table]) -> dg.AssetKey:
    """The key of the asset that holds the model's table."""
    place = identity(model)
    return dg.AssetKey([place.schema, place.name])


def spec(model: type[Table], group: Group, **more: Any) -> dg.AssetSpec:
    """The specification of an asset that holds the model's table. `more` adds to what it says, or replaces it."""
    told = {"description": described(model), "metadata": describe(model)} | more
    if "partitions_def" not in told:
        # Dagster otherwise lists every day since the first one for each table that reads the facts.
        told["deps"] = [dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping()) for key in told.get("deps", ())]
    return dg.AssetSpec(asset_key(model), group_name=group, owners=OWNERS, freshness_policy=FRESHNESS, **told)


def described(model: type[Table]) -> str:
    """What a table holds, with its chart and first rows as last published: Dagster shows these without a click."""
    name = identity(model).name
    if identity(model).schema != "marts" or name not in CHARTED:
        return str(model.__doc__)
    there = f"{PAGES_PATH}/{CHARTS_FOLDER}/{name}.svg"
    pages = f"[The morning's pages]({PAGES_PATH}/index.html) · [the inbox]({INBOX_PATH}/)"
    chart = f"![Its chart and first rows stand here under driptune up, once something is published.]({there})"
    # Dagster cuts a long description, so the links stand before the chart.
    return f"{model.__doc__}\n\n{pages}\n\n{chart}"


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


def preview(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows as a small table, without personal columns: Dagster keeps it longer than a person may be kept."""
    shape = pl.Config(tbl_rows=PREVIEW_ROWS, tbl_cols=12, fmt_str_lengths=2 * PREVIEW_LETTERS, tbl_width_chars=800)
    markdown = pl.Config(tbl_formatting="MARKDOWN", tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True)
    with shape, markdown:
        shown = frame.drop(PERSONAL_COLUMNS, strict=False).head(PREVIEW_ROWS)
        # Names come from the account: as Markdown they could make the reader's browser fetch a foreign address.
        short = pl.col(pl.String).str.head(PREVIEW_LETTERS)
        texts = short.map_elements(markdown_text, return_dtype=pl.String)
        return dg.MetadataValue.md(str(shown.with_columns(texts)))


def _tables(hint: Any) -> set[type[Table]]:
    """The models of the tables that an annotation asks for.

    Raises:
        TypeError: if it asks for something that assets are not given.
    """
    if hint in (Night, dg.AssetExecutionContext, *RESOURCES):
        return set()
    if is_dataclass(hint):
        return {model for field in get_type_hints(hint).values() for model in _tables(field)}
    for model in get_args(hint):
        if get_origin(hint) in ((Latest, Scan) if identity(model).schema == "lake" else (DataFrame, LazyFrame)):
            return {model}
    raise TypeError(f"{hint} is nothing that an asset is given. The docstring of `asset` says what is.")


def _given(hint: Any, context: dg.AssetExecutionContext) -> Any:
    """What an annotation asks for, in this run."""
    resources = context.resources
    if hint is dg.AssetExecutionContext:
        return context
    if hint is Night:
        return Night(tonight(context.run.tags, resources.settings), resources.settings)
    if hint in RESOURCES:
        return getattr(resources, RESOURCES[hint])
    if isinstance(hint, type) and is_dataclass(hint):
        return hint(**{name: _given(field, context) for name, field in get_type_hints(hint).items()})
    form, [model] = get_origin(hint), get_args(hint)
    if form is Scan:
        return resources.lake.scan(model)
    if form is Latest:
        return resources.lake.latest(model).collect()
    return resources.warehouse.scan(model) if form is LazyFrame else resources.warehouse.read(model)


def _standing(
    models: Iterable[type[Table]], error: Exception, context: dg.AssetExecutionContext
) -> Iterator[dg.MaterializeResult[Any]]:
    """The tables of an analysis that failed, as they were before."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    # The error's own text may hold what people wrote.
    fault = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    for model in models:
        rows, key = context.resources.warehouse.keep(model, error), asset_key(model)
        yield dg.MaterializeResult(key, metadata={"failed": fault}, check_results=list(check_results(model, key, rows)))
    context.log.error("An analysis failed: %s. Its tables stay as they were.", fault)


def _kept(
    model: type[Table],
    result: pl.DataFrame | pl.LazyFrame | Metadata,
    summarise: Summary,
    context: dg.AssetExecutionContext,
) -> dg.MaterializeResult[Any]:
    """Keep the rows where the model's table is, and tell what the UI shows of them."""
    key, as_of, resources = asset_key(model), _given(Night, context).as_of, context.resources
    if isinstance(result, Mapping):
        return dg.MaterializeResult(key, metadata=result)
    rows = result.lazy()
    if isinstance(result, pl.LazyFrame):
        count = rows.select(pl.len()).collect().item()
    elif identity(model).schema == "lake":
        return dg.MaterializeResult(key, metadata={"new_rows": resources.lake.append(model, result, as_of)})
    else:
        count = resources.warehouse.replace(model, result)
    metadata = {
        "as_of_day": as_of.isoformat(),
        "dagster/row_count": count,
        "rows": preview(rows.head(PREVIEW_ROWS).collect()),
        **summarise(result),
    }
    return dg.MaterializeResult(key, metadata=metadata, check_results=list(check_results(model, key, rows)))
