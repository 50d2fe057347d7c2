"""The working file: tables are replaced whole or not at all, and one process writes at a time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandera.errors
import polars as pl
import pytest

from pipeline.common.lock import WarehouseBusyError, exclusive
from pipeline.orchestration.resources.warehouse import Warehouse, open_warehouse
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreTrackedSteps, CoreZoneOffsets
from pipeline.schemas.performance import WorkflowMetrics

OFFSETS = pl.DataFrame({"zone": ["UTC", "Asia/Tokyo"], "from_us": [0, 0], "to_us": [9, 9], "offset_us": [0, 5]})

TRACKED = pl.DataFrame({"step_key": [1], "event_type": ["entry"], "day": [7]})


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with open_warehouse(tmp_path / "working.duckdb") as opened:
        yield opened


def test_an_invalid_frame_leaves_the_old_table(warehouse: Warehouse) -> None:
    warehouse.replace(CoreZoneOffsets, OFFSETS)
    with pytest.raises(pandera.errors.SchemaErrors):
        warehouse.replace(CoreZoneOffsets, OFFSETS.with_columns(zone=pl.lit(None, pl.String)))
    assert warehouse.read(CoreZoneOffsets).height == OFFSETS.height


def test_tables_of_blocks_are_replaced_together_or_not_at_all(warehouse: Warehouse) -> None:
    warehouse.replace(CoreZoneOffsets, OFFSETS)
    with warehouse.replacing(CoreZoneOffsets, CoreTrackedSteps) as add:
        for block in OFFSETS.head(1), OFFSETS.clear(), OFFSETS.tail(1), OFFSETS.with_columns(from_us=pl.lit(1)):
            add(CoreZoneOffsets, block)
        add(CoreTrackedSteps, TRACKED)
    assert (warehouse.read(CoreZoneOffsets).height, warehouse.read(CoreTrackedSteps).height) == (4, 1)
    broken = OFFSETS.with_columns(zone=pl.lit(None, pl.String))
    with pytest.raises(pandera.errors.SchemaErrors), warehouse.replacing(CoreZoneOffsets, CoreTrackedSteps) as add:
        [add(model, rows) for model, rows in ((CoreTrackedSteps, TRACKED), (CoreZoneOffsets, broken))]
    assert (warehouse.read(CoreZoneOffsets).height, warehouse.read(CoreTrackedSteps).height) == (4, 1)


def test_a_scan_gives_the_rows_that_a_read_gives(warehouse: Warehouse) -> None:
    """Comparisons, which DuckDB answers, and other conditions; one table twice in a query; one never written."""
    assert warehouse.scan(CoreZoneOffsets).collect().equals(empty(CoreZoneOffsets))
    warehouse.replace(CoreZoneOffsets, OFFSETS)
    rows = warehouse.scan(CoreZoneOffsets)
    assert rows.sort("zone").collect().equals(warehouse.read(CoreZoneOffsets).sort("zone"))
    assert rows.filter(pl.col("offset_us") > 0).select("zone").collect().item() == "Asia/Tokyo"
    assert rows.filter(pl.col("zone").is_in(["UTC"]) & (pl.col("to_us") == 9)).collect().height == 1
    for engine in ("in-memory", "streaming"):
        joined = rows.join(rows.filter(pl.col("offset_us") == 0), on="from_us").collect(engine=engine)
        assert sorted(joined["zone"]) == ["Asia/Tokyo", "UTC"]


def test_a_column_may_be_named_by_a_word_of_sql(warehouse: Warehouse) -> None:
    warehouse.replace(WorkflowMetrics, empty(WorkflowMetrics))
    assert warehouse.scan(WorkflowMetrics).select("window").collect().columns == ["window"]


def test_an_empty_frame_keeps_its_columns(warehouse: Warehouse) -> None:
    warehouse.replace(CoreZoneOffsets, empty(CoreZoneOffsets))
    assert warehouse.read(CoreZoneOffsets).schema == empty(CoreZoneOffsets).schema


def test_a_table_never_written_reads_as_empty(warehouse: Warehouse) -> None:
    assert warehouse.read(CoreZoneOffsets).equals(empty(CoreZoneOffsets))


def test_a_file_is_opened_again_after_its_run(tmp_path: Path) -> None:
    for height in (0, OFFSETS.height):
        with open_warehouse(tmp_path / "working.duckdb") as warehouse:
            assert warehouse.read(CoreZoneOffsets).height == height
            warehouse.replace(CoreZoneOffsets, OFFSETS)


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
    with exclusive(lock, 60):
        assert time.monotonic() - started < 10
