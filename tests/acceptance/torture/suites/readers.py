"""R4: readers at work while publications follow each other."""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb

from pipeline.orchestration.resources.warehouse import session
from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import SNAPSHOT_NAME, publish
from tests.acceptance.torture import Row

AS_OF = date(2026, 6, 29)
READERS = 4
ROWS = 20_000
TABLES = ("funnel", "steps", "step_metrics")


def measure(quick: bool) -> Iterator[Row]:
    """Publish again and again under the eyes of readers in processes of their own."""
    publications = 15 if quick else 100
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name:
        reads, faults = read_while_publishing(Path(name), publications)
    yield Row(
        "R4",
        f"{publications} publications under {READERS} readers, {reads:,} reads",
        f"{faults} errors or mixed versions",
        "0",
        faults == 0 and reads > publications,
    )


def read_while_publishing(folder: Path, publications: int) -> tuple[int, int]:
    """Number of reads, and of those that failed or met two versions at once."""
    context = multiprocessing.get_context("spawn")
    done, results = context.Event(), context.Queue()
    published = folder / "published"
    with session(folder / "working.duckdb") as connection:
        publish(connection, published, _marts(connection, 0), keep=2)
        readers = [context.Process(target=_read, args=(published, done, results)) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        for _ in readers:
            results.get(timeout=60)
        for value in range(1, publications + 1):
            publish(connection, published, _marts(connection, value), keep=2)
    done.set()
    counts = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    return sum(reads for reads, _ in counts), sum(faults for _, faults in counts)


def _marts(connection: duckdb.DuckDBPyConnection, value: int) -> Manifest:
    """Marts that all carry the same value, so that a mixture would show."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS marts")
    for name in TABLES:
        connection.execute(f"CREATE OR REPLACE TABLE marts.{name} AS SELECT {value} AS value FROM range({ROWS})")
    return Manifest.of(connection, f"run-{value}", AS_OF)


def _read(published: Path, done, results) -> None:  # type: ignore[no-untyped-def]
    """Read as a BI tool does, a new connection each time, until told to stop; versions never go back."""
    reads = faults = newest = 0
    query = " UNION ALL ".join(f"SELECT value, count(*) AS n FROM marts.{name} GROUP BY value" for name in TABLES)
    results.put("ready")
    while not done.is_set():
        reads += 1
        try:
            with duckdb.connect(str(published / SNAPSHOT_NAME), read_only=True) as connection:
                found = connection.execute(query).fetchall()
        except duckdb.Error:
            faults += 1
            continue
        values = {value for value, _ in found}
        whole = len(values) == 1 and [n for _, n in found] == [ROWS] * len(TABLES)
        faults += not (whole and max(values) >= newest)
        newest = max(values)
        time.sleep(0.001)
    results.put((reads, faults))
