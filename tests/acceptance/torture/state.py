"""What must be true of an installation's files at any moment, also just after a kill."""

import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import duckdb
import polars as pl

from pipeline.lake.store import Lake
from pipeline.operations.health import verification
from pipeline.optimizations.ledger import Ledger
from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import SNAPSHOT_NAME
from pipeline.schemas.base import tables_of
from pipeline.settings import Settings


def unopenable(settings: Settings) -> list[str]:
    """Files that cannot be read as a whole: working file, publications, lake, ledger, Dagster's databases."""
    found = unopenable_publication(settings)
    if settings.working_file.exists() and not _copy_opens(settings.working_file):
        found.append(settings.working_file.name)
    found += [path.name for path in settings.lake_dir.rglob("*.parquet") if not _reads(path)]
    for path in settings.lake_dir.rglob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            found.append(path.name)
    for model in tables_of("lake"):
        Lake(settings.lake_dir).scan(model).collect()
    found += [path.name for path in settings.dagster_home.rglob("*.db") if not _is_sound(path)]
    return found + ledger_problems(settings)


def unopenable_publication(settings: Settings) -> list[str]:
    """Published files, old snapshots included, that cannot be read as a whole."""
    databases = [settings.published_dir / SNAPSHOT_NAME, *settings.published_dir.glob("snapshots/*.duckdb")]
    found = [path.name for path in databases if path.exists() and not _opens(path)]
    return found + [path.name for path in settings.published_dir.glob("parquet/*.parquet") if not _reads(path)]


def half_published(settings: Settings) -> list[str]:
    """Files that differ from a standing manifest."""
    if Manifest.read(settings.published_dir) is None:
        return []
    return [text for is_good, text in verification(settings) if not is_good and "unexplained" not in text]


def ledger_problems(settings: Settings) -> list[str]:
    """What is wrong with the ledger, if there is one."""
    if not list((settings.data_dir / "ledger").glob("*.sqlite")):
        return []
    ledger = Ledger.open(settings.ledger_address)
    try:
        return ledger.verify()
    finally:
        ledger.close()


def _reads(path: Path) -> bool:
    try:
        pl.read_parquet(path, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError):
        return False
    return True


def _opens(path: Path) -> bool:
    """Whether every table can be read to its last row."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            query = "SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
            for place in connection.execute(query).fetchall():
                connection.sql("FROM " + ".".join(f'"{part}"' for part in place)).pl()
    except duckdb.Error:
        return False
    return True


def _copy_opens(working_file: Path) -> bool:
    """The same of a copy with its write-ahead log, so that looking heals nothing."""
    with tempfile.TemporaryDirectory() as folder:
        for path in working_file.parent.glob(f"{working_file.name}*"):
            shutil.copy(path, folder)
        copy = Path(folder) / working_file.name
        try:
            duckdb.connect(str(copy)).close()
        except duckdb.Error:
            return False
        return _opens(copy)


def _is_sound(path: Path) -> bool:
    try:
        with sqlite3.connect(path) as connection:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        return False
