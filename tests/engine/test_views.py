"""The views through which SQL reads the lake."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline.engine.views import create_view, list_files, read_footers
from pipeline.lake.store import Lake
from pipeline.schemas.base import empty
from pipeline.schemas.lake import Members

NIGHT = date(2026, 6, 1)


def member(key: int) -> pl.DataFrame:
    values = {"subscriber_key": key, "audience_id": "list", "status": "subscribed", "contact_key": key}
    row = empty(Members).drop("as_of_day").clear(1)
    return row.with_columns(
        pl.lit(values.get(name, 0 if dtype.is_numeric() else ""), dtype=dtype).alias(name)
        for name, dtype in row.schema.items()
    )


@pytest.mark.parametrize("newer_nights", [0, 1])
def test_files_of_an_older_release_lack_a_column_and_are_read(tmp_path: Path, newer_nights: int) -> None:
    lake = Lake(tmp_path / "lake")
    for late in range(1 + newer_nights):
        lake.append(Members, member(late), NIGHT + timedelta(days=late))
    oldest = min(lake.files(Members), key=lambda file: file.parent.name)
    pl.read_parquet(oldest).drop("contact_key").write_parquet(oldest)
    with duckdb.connect() as connection:
        files = read_footers(connection, list_files(lake.root, ["members"]))
        create_view(connection, "lake", "members", files)
        keys = connection.execute("SELECT subscriber_key, contact_key FROM lake.members ORDER BY ALL").fetchall()
    assert keys == [(0, None), (1, 1)][: 1 + newer_nights]
