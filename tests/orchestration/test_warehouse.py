"""The warehouse through Dagster: tables are replaced whole or not at all, and one process writes at a time."""

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import duckdb
import pandera.errors
import polars as pl
import pytest

from pipeline.common.lock import WarehouseBusyError, exclusive
from pipeline.orchestration.resources.warehouse import Warehouse, WarehouseIOManager, read_table, session, write_table
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreZoneOffsets

OFFSETS = pl.DataFrame({"zone": ["UTC", "Asia/Tokyo"], "from_us": [0, 0], "to_us": [9, 9], "offset_us": [0, 5]})


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "working.duckdb")


def test_a_frame_comes_back_as_it_was_eager_or_lazy_and_in_any_column_order(path: str) -> None:
    seen = []

    @dg.asset(key=["core", "zone_offsets"])
    def offsets() -> pl.LazyFrame:
        return OFFSETS.select(reversed(OFFSETS.columns)).lazy()

    @dg.asset(ins={"table": dg.AssetIn(key=["core", "zone_offsets"])})
    def reader(context: dg.AssetExecutionContext, table: pl.LazyFrame) -> None:
        seen.append(table.collect())

    resources = {"warehouse": Warehouse(path=path), "io_manager": WarehouseIOManager(database=path)}
    result = dg.materialize([offsets, reader], resources=resources)
    metadata = result.asset_materializations_for_node("core__zone_offsets")[0].metadata
    assert seen[0].sort("zone").equals(OFFSETS.sort("zone"))
    assert metadata["dagster/row_count"].value == OFFSETS.height


def test_an_invalid_frame_leaves_the_old_table(path: str) -> None:
    with session(path) as connection:
        write_table(connection, CoreZoneOffsets, OFFSETS)
        with pytest.raises(pandera.errors.SchemaErrors):
            write_table(connection, CoreZoneOffsets, OFFSETS.with_columns(zone=pl.lit(None, pl.String)))
        assert read_table(connection, CoreZoneOffsets).height == OFFSETS.height


def test_an_empty_frame_keeps_its_columns(path: str) -> None:
    with session(path) as connection:
        write_table(connection, CoreZoneOffsets, empty(CoreZoneOffsets))
        assert read_table(connection, CoreZoneOffsets).schema == empty(CoreZoneOffsets).schema


def test_a_table_never_written_reads_as_empty(path: str) -> None:
    with session(path) as connection:
        assert read_table(connection, CoreZoneOffsets).equals(empty(CoreZoneOffsets))


def test_nested_users_share_one_connection(path: str) -> None:
    with session(path) as outer:
        with session(path) as inner:
            assert inner is outer
        assert outer.execute("SELECT 1").fetchall() == [(1,)]
    with duckdb.connect(path) as reopened:
        assert reopened.execute("SELECT 1").fetchall() == [(1,)]


def test_a_second_process_is_refused_with_words_until_the_holder_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "working.lock"
    code = (
        "import sys, time; from pathlib import Path; from pipeline.common.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 1):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(WarehouseBusyError, match="Another run has held"), exclusive(lock, 0.2):
        pass
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with exclusive(lock, 1):
        assert time.monotonic() - started < 1
