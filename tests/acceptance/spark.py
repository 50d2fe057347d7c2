"""`python -m tests.acceptance.spark --events 1000000`: a year of an account on DuckDB and on Spark, by rows.

It builds everything, and then three nights of which the last tells a late day, on both engines from the same files. The
server runs on this machine, so that the seconds say what Spark costs beside DuckDB, and not what a cluster brings.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pipeline.engine import Engine
from pipeline.engine.spark import open_cluster
from pipeline.orchestration.resources.warehouse import MEMORY_BYTES
from pipeline.settings import SQL_DIR
from tests.acceptance.bench import tasks
from tests.acceptance.bench.account import LAST_DAY, Scale, write_lake
from tests.acceptance.bench.nights import HeldBack
from tests.acceptance.bench.rows import LATE_DAY, NIGHTS, differing_rows
from tests.acceptance.spark_server import missing, spark_server


def main() -> None:
    """Print seconds and differing rows of the full build and of each night."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    if reason := missing():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "lake").mkdir()
        write_lake(Scale(events), folder / "lake")
        for build in compare(events, folder / "lake", folder / "spark"):
            print(
                f"{events:,} events, {build.what}: DuckDB {build.duckdb_seconds:.0f} s, Spark "
                f"{build.spark_seconds:.0f} s, {build.differing} rows differ",
                flush=True,
            )


@dataclass(frozen=True)
class Build:
    """One build on both engines, and how many rows only one of them has."""

    what: str
    duckdb_seconds: float
    spark_seconds: float
    differing: int


def compare(events: int, lake: Path, folder: Path) -> Iterator[Build]:
    """The account on both engines: everything, and then the nights held back. The lake is whole again afterwards."""
    (folder / "server").mkdir(parents=True)
    held = HeldBack(lake, folder / "held")
    days = held.hold(LAST_DAY - timedelta(days=NIGHTS - 1))
    held.delay(LATE_DAY, told=days[-1])
    on_duckdb, on_spark = folder / "duckdb.duckdb", folder / "spark.duckdb"
    for file in (on_duckdb, on_spark):
        tasks.prepare(events, str(file))

    def both(what: str) -> Build:
        by_duckdb = _seconds(lambda: tasks.build(str(on_duckdb), str(lake)))
        by_spark = _seconds(lambda: build_on_spark(address, on_spark, lake))
        return Build(what, by_duckdb, by_spark, differing_rows(on_duckdb, on_spark))

    with spark_server(folder / "server") as address:
        yield both("full build")
        for day in days:
            held.release(day)
            if day == days[-1]:
                held.release_late()
            yield both(f"night of {day}")


def build_on_spark(address: str, file: Path, lake: Path) -> None:
    """Everything that is due, on the cluster."""
    with tasks.open_file(file) as connection, open_cluster(address, file.parent / "exchange") as cluster:
        engine = Engine(connection, SQL_DIR, lake, tasks.PARAMETERS, MEMORY_BYTES, cluster)
        for name in engine.models:
            engine.build(name)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
