"""Nulls never decide a type: every SQL model on empty tables, on one row, and with every nullable column null."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipeline.lake.store import Lake
from pipeline.schemas.base import Table, conform, empty, find, tables_of
from tests.engine.world import Night, build_all, connect, dimensions, engine, random_nights

SUBSCRIBERS, ROWS = 4, 400
Change = Callable[[pl.DataFrame, type[Table]], pl.DataFrame]
# Steps that events name.
OF_NULLABLE = {"core.tracked_steps"}
# A purchase without a revenue in the workspace's currency does not come into the lake.
OF_MONEY = {"revenue_cents", "currency"}


def one_row(frame: pl.DataFrame, model: type[Table]) -> pl.DataFrame:
    return frame.head(1)


def no_row(frame: pl.DataFrame, model: type[Table]) -> pl.DataFrame:
    return empty(model)


def all_null(frame: pl.DataFrame, model: type[Table]) -> pl.DataFrame:
    """Every column null that may be, or left out."""
    columns = model.to_schema().columns.items()
    return frame.drop([name for name, spec in columns if spec.nullable and name not in OF_MONEY], strict=False)


@pytest.fixture(scope="module")
def night() -> Night:
    """One night with rows of every table that the models read."""
    [told] = random_nights(seed=7, nights=1, rows=ROWS, subscribers=SUBSCRIBERS)
    return told


@pytest.mark.parametrize("change", [one_row, no_row, all_null])
@pytest.mark.parametrize("is_known", [True, False], ids=["known dimensions", "no dimensions"])
def test_every_model_keeps_its_contract(change: Change, is_known: bool, night: Night, tmp_path: Path) -> None:
    lake, made = Lake(tmp_path), dimensions(SUBSCRIBERS)
    for model, rows in night.rows.items():
        lake.append(model, change(pl.DataFrame(rows, infer_schema_length=None), model), night.as_of)
    with connect({model: frame if is_known else empty(model) for model, frame in made.items()}) as connection:
        built = build_all(engine(connection, tmp_path))
        for one in built:
            conform(connection.sql(f"SELECT * FROM {one.model}").pl(), find(*one.model.split(".")))
        if change is all_null and is_known:
            assert {one.model for one in built if not one.rows_inserted} == OF_NULLABLE


@pytest.mark.parametrize("dimension", [model for model in tables_of("core") if model in dimensions(1)])
def test_a_dimension_whose_optional_columns_are_null(dimension: type[Table], night: Night, tmp_path: Path) -> None:
    night.write(Lake(tmp_path))
    made = dimensions(SUBSCRIBERS)
    nullable = [name for name, spec in dimension.to_schema().columns.items() if spec.nullable]
    frame = made[dimension].with_columns(
        pl.lit(None, dtype=made[dimension].schema[name]).alias(name) for name in nullable
    )
    with connect({**made, dimension: conform(frame, dimension)}) as connection:
        for one in build_all(engine(connection, tmp_path)):
            conform(connection.sql(f"SELECT * FROM {one.model}").pl(), find(*one.model.split(".")))
