"""`python -m tests.acceptance.spark --events 1000000`: a year of an account on DuckDB and on Spark, by rows.

It builds everything, and then three nights of which the last tells a late day, on both engines from the same files. The
server runs on this machine, so that the seconds say what Spark costs beside DuckDB, and not what a cluster brings.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pipeline.engine import Engine
from pipeline.engine.spark import open_cluster
from pipeline.settings import SQL_DIR
from tests.acceptance.bench import tasks
from tests.acceptance.bench.account import DAYS, FIRST_DAY, Scale, write_lake
from tests.acceptance.bench.nights import HeldBack
from tests.acceptance.bench.rows import differing_rows
from tests.acceptance.spark_server import missing, spark_server

NIGHTS = 3


def main() -> None:
    """Print seconds and differing rows of the full build and of each night."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    scale = Scale(parser.parse_args().events)
    if reason := missing():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "lake").mkdir()
        (folder / "server").mkdir()
        with spark_server(folder / "server") as address:
            compare(scale, folder, address)


def compare(scale: Scale, folder: Path, address: str) -> None:
    """The account on both engines: everything, and then the nights that were held back."""
    lake = folder / "lake"
    write_lake(scale, lake)
    last_day = FIRST_DAY + timedelta(days=DAYS - 1)
    held = HeldBack(lake, folder / "held")
    days = held.hold(last_day - timedelta(days=NIGHTS - 1))
    held.delay(last_day - timedelta(days=20), told=days[-1])
    on_duckdb, on_spark = folder / "duckdb.duckdb", folder / "spark.duckdb"
    for file in (on_duckdb, on_spark):
        tasks.prepare(scale.events, str(file))

    def both(what: str) -> None:
        seconds = [
            _seconds(lambda: tasks.build(scale.events, str(on_duckdb), str(lake))),
            _seconds(lambda: build_on_spark(address, on_spark, lake)),
        ]
        differing = differing_rows(on_duckdb, on_spark)
        print(f"{what}: DuckDB {seconds[0]:.0f} s, Spark {seconds[1]:.0f} s, {differing} rows differ", flush=True)

    both(f"{scale.events:,} events, full build")
    for day in days:
        held.release(day)
        if day == days[-1]:
            held.release_late()
        both(f"night of {day}")


def build_on_spark(address: str, file: Path, lake: Path) -> None:
    """Everything that is due, on the cluster."""
    with tasks.open_file(file) as connection, open_cluster(address, file.parent / "exchange") as cluster:
        engine = Engine(connection, SQL_DIR, lake, tasks.PARAMETERS, tasks.MEMORY_BYTES, cluster)
        for name in engine.models:
            engine.build(name)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
