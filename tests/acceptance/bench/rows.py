"""Rows of the performance table on engine and publishing: how each is measured and what it must hold."""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from pipeline.engine import models
from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import publish
from pipeline.settings import SQL_DIR
from tests.acceptance.bench.account import LAST_DAY, Scale, write_lake
from tests.acceptance.bench.nights import HeldBack
from tests.acceptance.bench.process import Process, run_process

LATE_DAY = LAST_DAY - timedelta(days=20)
NIGHTS = 3
MILLION = 1_000_000


@dataclass(frozen=True)
class Row:
    """One line of the table; `holds` is none where this run cannot tell: too small, or not made."""

    number: str
    measure: str
    measured: str
    hold_to: str
    holds: bool | None


@dataclass(frozen=True)
class Measured:
    """What a task took, and what its whole process took, imports included."""

    seconds: float
    peak_gb: float
    figures: dict
    process: Process


@dataclass(frozen=True)
class Account:
    """A synthetic account on disk."""

    events: int
    folder: Path

    @property
    def lake(self) -> Path:
        """Its lake."""
        return self.folder / "lake"

    @property
    def label(self) -> str:
        """Its size as people say it."""
        return f"{self.events // MILLION}M" if self.events >= MILLION else f"{self.events:,}"

    def write(self) -> None:
        """Draw it."""
        self.lake.mkdir(parents=True)
        write_lake(Scale(self.events), self.lake)

    def new_file(self, name: str) -> Path:
        """A working file with nothing but dimensions."""
        path = self.folder / f"{name}.duckdb"
        path.unlink(missing_ok=True)
        run("prepare", events=self.events, file=str(path))
        return path

    def build(self, file: Path) -> Measured:
        """Build all that is due in a working file."""
        return run("build", file=str(file), lake=str(self.lake))


def run(task: str, **arguments: object) -> Measured:
    """Run a task in a process of its own."""
    command = [sys.executable, "-m", "tests.acceptance.bench.tasks", task, json.dumps(arguments)]
    done = run_process(command)
    return Measured(**json.loads(done.printed.splitlines()[-1]), process=done)


def full_rebuild(account: Account) -> tuple[list[Row], Measured, Path]:
    """P1 and P7: a full rebuild, against the same SQL as a bare script, and its memory."""
    file = account.new_file("full")
    ours = account.build(file)
    script = account.new_file("bare")
    peer = run("bare", file=str(script), lake=str(account.lake))
    script.unlink()
    ratio = ours.seconds / peer.seconds
    is_large = account.events >= 100 * MILLION
    return [
        Row("P1", f"full rebuild at {account.label} ({ours.seconds:.1f} s; whole process {ours.process}) / "
            f"the same SQL as a bare DuckDB script ({peer.seconds:.1f} s; {peer.process})",
            f"{ratio:.2f}", "<= 1.15", ratio <= 1.15),
        Row("P7", f"peak memory of the full rebuild at {account.label}", f"{ours.peak_gb:.2f} GB",
            "<= 2.5 GB at 100M", ours.peak_gb <= 2.5 if is_large else None),
    ], ours, file  # fmt: skip


def increments(account: Account) -> list[Row]:
    """P5 and P6: nights one by one, with a late day, against the full rebuild. The lake is whole again afterwards."""
    held = HeldBack(account.lake, account.folder / "held")
    days = held.hold(LAST_DAY - timedelta(days=NIGHTS - 1))
    held.delay(LATE_DAY, told=days[-1])
    nightly = account.new_file("nightly")
    account.build(nightly)
    nights = []
    for day in days:
        held.release(day)
        if day == days[-1]:
            held.release_late()
        nights.append(account.build(nightly))
    full_file = account.new_file("full")
    full = account.build(full_file)
    usual = min(night.seconds for night in nights[:-1])
    ratio = full.seconds / usual
    hold = 30 if account.events >= 100 * MILLION else 15
    differing = differing_rows(full_file, nightly)
    return [
        Row("P5", f"full rebuild / nightly increment at {account.label} ({usual:.2f} s; with a late day "
            f"{nights[-1].seconds:.2f} s)", f"{ratio:.0f}", f">= {hold} at 10M, 30 at 100M",
            ratio >= hold if account.events >= 10 * MILLION else None),
        Row("P6", f"{NIGHTS} nights, one with a late day, against the full rebuild at {account.label}",
            f"{differing} rows differ", "0 rows", differing == 0),
    ]  # fmt: skip


def differing_rows(left: Path, right: Path) -> int:
    """Rows of all models that only one of two working files holds."""
    with duckdb.connect(config={"memory_limit": "3GiB"}) as connection:
        connection.execute(f"ATTACH '{left}' AS one (READ_ONLY); ATTACH '{right}' AS other (READ_ONLY)")
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM (SELECT * FROM {a}.{name} EXCEPT ALL SELECT * FROM {b}.{name})")
            .fetchall()[0][0]
            for name in (model.name for model in models(SQL_DIR))
            for a, b in (("one", "other"), ("other", "one"))
        ]  # fmt: skip
    return sum(counts)


def growth(small: Account, small_run: Measured, large: Account, large_run: Measured) -> Row:
    """P8: how time grows with size."""
    ratio = large_run.seconds / small_run.seconds
    per_ten = ratio ** (1 / max(1e-9, _tens(large.events / small.events)))
    measure = f"time({large.label}) / time({small.label})"
    return Row("P8", measure, f"{per_ten:.1f}", "<= 11.5", per_ten <= 11.5)


def _tens(factor: float) -> float:
    from math import log10

    return log10(factor)


def join_order(account: Account, file: Path) -> Row:
    """P12: memory of the local hours of all messages."""
    spent = run("hours_of_week", file=str(file), lake=str(account.lake))
    measure = f"peak memory of the hour-of-week reduction at {account.label}"
    return Row("P12", measure, f"{spent.peak_gb:.2f} GB", "<= 1 GB at 10M", spent.peak_gb <= 1)


def publishing(account: Account, file: Path) -> Row:
    """P11: hashing and publishing a snapshot and its Parquet twin, against copying the same bytes durably."""
    target = account.folder / "published"
    target.mkdir()
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE SCHEMA marts; CREATE TABLE marts.steps AS SELECT * FROM core.step_entries")
        started = time.perf_counter()
        publish(connection, target, Manifest.of(connection, "bench", date.today()), keep=1)
        ours = time.perf_counter() - started
    files = [path for path in target.rglob("*") if path.is_file()]
    started = time.perf_counter()
    for path in files:
        _copy_synced(path, account.folder / f"copy_of_{path.name}")
    copying = time.perf_counter() - started
    size = sum(path.stat().st_size for path in files) / 1024**2
    ratio = ours / copying
    return Row("P11", f"publish {size:.0f} MB ({ours:.2f} s) / copy + fsync of the same bytes", f"{ratio:.1f}", "<= 2",
               ratio <= 2)  # fmt: skip


def _copy_synced(source: Path, target: Path) -> None:
    import os

    shutil.copyfile(source, target)
    with target.open("rb") as handle:
        os.fsync(handle.fileno())
