"""Publishing: one snapshot of the marts, the same tables as Parquet files, and a manifest with the hash of each table.

Readers never see a half-written file. All files are written under temporary names and synced, and renamed at the end; a
manifest stands only beside the files that it names. What the marts hold is decided elsewhere.
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from pipeline.common.errors import DriptuneError
from pipeline.common.files import sync
from pipeline.schemas.base import identity, tables_of

SNAPSHOT_NAME = "email_warehouse.duckdb"
# No client of DuckDB 1.x can open the default storage of DuckDB 2.0, and BI tools are slow to move on.
STORAGE_VERSION = "v1.0.0"
READ_ONLY = 0o444
# A finished temporary file, and the name it is to take.
Staged = tuple[Path, Path]
# These tables describe the run itself, so they differ although the results are the same.
RUN_TABLES = frozenset({"runs"})
# These tables hold what people and driptune decided. Evidence that rests on the data must not change with them.
LEDGER_TABLES = frozenset({"optimizations", "optimization_events", "realised_lift"})


class PublishError(DriptuneError):
    """The marts could not be published; the last publication is untouched."""


class DamagedManifestError(DriptuneError):
    """The manifest of the standing publication cannot be read."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of a publication; `sha256` is the hash of its sorted content, whichever engine wrote it."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a publication consists of; `version` is a hash of the content of all tables but `RUN_TABLES`."""

    run_id: str
    as_of: str
    version: str
    tables: tuple[PublishedTable, ...]

    @classmethod
    def read(cls, published_dir: Path) -> "Manifest | None":
        """The manifest of the standing publication, or none.

        Raises:
            DamagedManifestError: if there is one that is not as it was written.
        """
        path = published_dir / "manifest.json"
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["tables"] = tuple(PublishedTable(**table) for table in content["tables"])
            date.fromisoformat(content["as_of"])
            return cls(**content)
        except (ValueError, TypeError, KeyError):
            raise DamagedManifestError("manifest.json is damaged. Run driptune restore.") from None

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, run_id: str, as_of: date) -> "Manifest":
        """The manifest of the marts as they stand in the working file."""
        tables = []
        for name in mart_names(connection):
            frame = connection.sql(f"SELECT * FROM marts.{name}").pl()
            tables.append(PublishedTable(name, frame.height, content_hash(frame)))
        version = _version(as_of.isoformat(), tables, without=RUN_TABLES)
        return cls(run_id, as_of.isoformat(), version, tuple(tables))

    @property
    def data_version(self) -> str:
        """A version that decisions do not change: the hash of the tables that follow from the data alone."""
        return _version(self.as_of, self.tables, without=RUN_TABLES | LEDGER_TABLES)

    def as_text(self) -> str:
        """The manifest as it stands in its file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def _version(as_of: str, tables: Iterable[PublishedTable], without: frozenset[str]) -> str:
    content = [table.sha256 for table in tables if table.name not in without]
    return hashlib.sha256("".join([as_of, *content]).encode()).hexdigest()[:16]


def mart_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the declared marts that stand in the working file, sorted."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'"
    present = {name for (name,) in connection.execute(query).fetchall()}
    return sorted(present & {identity(model).name for model in tables_of("marts")})


def content_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame's sorted rows as CSV, so that equal content has an equal hash."""
    ordered = frame.select(sorted(frame.columns))
    text = ordered.sort(ordered.columns).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6f")
    return hashlib.sha256(text.encode()).hexdigest()


def snapshot_damage(path: Path, manifest: Manifest) -> str | None:
    """What is wrong with a snapshot that the manifest is of, to follow its name; none if it is as it was published."""
    held = _held(path, manifest.run_id, date.fromisoformat(manifest.as_of))
    if held is None:
        return "cannot be read" if path.exists() else "is missing"
    return None if held == manifest else "differs from the manifest"


def kept_manifest(snapshot: Path) -> Manifest | None:
    """The manifest of a kept snapshot; none if the snapshot does not hold what its name says."""
    night, _, version = snapshot.stem.partition("_")
    try:
        held = _held(snapshot, f"restored-{version}", date.fromisoformat(night))
    except ValueError:
        return None
    return held if held is not None and held.version == version else None


def _held(snapshot: Path, run_id: str, night: date) -> Manifest | None:
    """The manifest of what a snapshot holds; none if it cannot be read to its last row."""
    try:
        with duckdb.connect(str(snapshot), read_only=True) as connection:
            return Manifest.of(connection, run_id, night)
    except (duckdb.Error, pl.exceptions.PolarsError, OSError):
        return None


def parquet_damage(published_dir: Path, table: PublishedTable) -> str | None:
    """What is wrong with a table's Parquet file, to follow its name; none if it is as it was published."""
    path = published_dir / "parquet" / f"{table.name}.parquet"
    if not path.exists():
        return "is missing"
    try:
        # Polars ends the whole process on some damaged files, so DuckDB reads first. Polars reads parts of a file that
        # DuckDB does not, and these can be damaged, too. DuckDB takes every path for a pattern.
        with duckdb.connect() as connection:
            rows = connection.sql("SELECT * FROM read_parquet($file)", params={"file": glob.escape(str(path))}).pl()
        hashes = {content_hash(rows), content_hash(pl.read_parquet(path, glob=False))}
    except Exception:  # Readers raise errors of every kind on damaged bytes.
        return "cannot be read"
    return None if hashes == {table.sha256} else "differs from the manifest"


def is_sound(published_dir: Path, manifest: Manifest) -> bool:
    """Whether every file of the standing publication is as it was published."""
    if snapshot_damage(published_dir / SNAPSHOT_NAME, manifest) is not None:
        return False
    return all(parquet_damage(published_dir, table) is None for table in manifest.tables)


def publish(connection: duckdb.DuckDBPyConnection, published_dir: Path, manifest: Manifest, *, keep: int) -> bool:
    """Publish the marts of the working file as snapshot, Parquet and manifest.

    Args:
        connection: the working file, with schema `marts`.
        published_dir: where readers look.
        manifest: what is to be published.
        keep: how many older snapshots stay in `published_dir/snapshots`.

    Returns:
        Whether anything was written: False if the standing publication holds the same content.

    Raises:
        PublishError: if the disk refuses; the last publication stays readable.
    """
    standing = _readable(published_dir)
    if standing is not None and standing.version == manifest.version and is_sound(published_dir, standing):
        return False
    try:
        (published_dir / "parquet").mkdir(parents=True, exist_ok=True)
        _remove_leftovers(published_dir)
        staged = [
            _stage_snapshot(connection, published_dir, manifest),
            *_stage_parquet(connection, published_dir, manifest),
        ]
        _keep_standing(published_dir, standing, keep)
        _swap(staged, published_dir, manifest)
    except (OSError, duckdb.IOException) as error:
        with suppress(OSError):
            _remove_leftovers(published_dir)  # half a publication would go on filling the disk
        raise PublishError(
            f"The publication could not be written to '{published_dir.name}': {_plain(error)}. "
            "The last publication is untouched. Free space or make the folder writable, then run again."
        ) from error
    return True


def restore(published_dir: Path) -> date | None:
    """Put a sound snapshot, with its Parquet files and manifest, in place of a damaged publication.

    The standing snapshot is taken if it alone is sound, else the newest of the kept ones that is.

    Returns:
        The night that is published now; none if no snapshot is sound.
    """
    sound, manifest = published_dir / SNAPSHOT_NAME, _readable(published_dir)
    if manifest is None or snapshot_damage(sound, manifest) is not None:
        kept = ((one, kept_manifest(one)) for one in reversed(snapshots(published_dir)))
        sound, manifest = next(((one, held) for one, held in kept if held), (sound, None))
    if manifest is None:
        return None
    (published_dir / "parquet").mkdir(parents=True, exist_ok=True)
    _remove_leftovers(published_dir)
    staged = [_stage_copy(sound, published_dir / SNAPSHOT_NAME)]
    with duckdb.connect(str(sound), read_only=True) as connection:
        staged += _stage_parquet(connection, published_dir, manifest)
    _swap(staged, published_dir, manifest)
    return date.fromisoformat(manifest.as_of)


def _stage_snapshot(connection: duckdb.DuckDBPyConnection, published_dir: Path, manifest: Manifest) -> Staged:
    temporary = published_dir / f".{manifest.version}.building"
    quoted = str(temporary).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS publication (STORAGE_VERSION '{STORAGE_VERSION}')")
    try:
        connection.execute("CREATE SCHEMA publication.marts")
        for table in manifest.tables:
            connection.execute(f"CREATE TABLE publication.marts.{table.name} AS SELECT * FROM marts.{table.name}")
        connection.execute("CHECKPOINT publication")
    finally:
        connection.execute("DETACH publication")
    if temporary.with_name(temporary.name + ".wal").exists():
        raise PublishError("The snapshot was not fully checkpointed. Run again; the last publication is untouched.")
    return _staged(temporary, published_dir / SNAPSHOT_NAME)


def _stage_parquet(connection: duckdb.DuckDBPyConnection, published_dir: Path, manifest: Manifest) -> list[Staged]:
    folder, staged = published_dir / "parquet", []
    for table in manifest.tables:
        temporary = folder / f".{table.name}.building"
        connection.sql(f"SELECT * FROM marts.{table.name}").pl().write_parquet(temporary)
        staged.append(_staged(temporary, folder / f"{table.name}.parquet"))
    return staged


def _stage_copy(source: Path, target: Path) -> Staged:
    temporary = target.with_name(f".{target.name}.building")
    shutil.copyfile(source, temporary)
    return _staged(temporary, target)


def _staged(temporary: Path, target: Path) -> Staged:
    """Make a finished temporary file durable."""
    temporary.chmod(READ_ONLY)
    sync(temporary)
    return temporary, target


def _swap(staged: Sequence[Staged], published_dir: Path, manifest: Manifest) -> None:
    """Give the staged files their names. The manifest goes first, so that it never stands beside files of another one.

    Everything that needs space on the disk has happened before. A run that is killed in here leaves no manifest, so the
    next run publishes anew.
    """
    place, folder = published_dir / "manifest.json", published_dir / "parquet"
    temporary = published_dir / ".manifest.building"
    temporary.write_text(manifest.as_text())
    finished = _staged(temporary, place)
    place.unlink(missing_ok=True)
    sync(published_dir)
    for source, target in staged:
        os.replace(source, target)
    published = {target for _, target in staged}
    for stale in set(folder.glob("*.parquet")) - published:
        stale.unlink()
    sync(folder)
    sync(published_dir)
    os.replace(*finished)
    sync(published_dir)


def _keep_standing(published_dir: Path, standing: Manifest | None, keep: int) -> None:
    snapshot = published_dir / SNAPSHOT_NAME
    if standing is not None and _opens(snapshot):
        folder = published_dir / "snapshots"
        folder.mkdir(exist_ok=True)
        target = folder / f"{standing.as_of}_{standing.version}.duckdb"
        if not target.exists():
            os.link(snapshot, target)
    for old in snapshots(published_dir)[:-keep]:
        old.unlink()


def _opens(snapshot: Path) -> bool:
    """Whether a snapshot is there and a database. A closer look would take as long as publishing."""
    try:
        with duckdb.connect(str(snapshot), read_only=True) as connection:
            return bool(mart_names(connection))
    except duckdb.Error:
        return False


def _readable(published_dir: Path) -> Manifest | None:
    """The standing manifest; none if there is none, or a damaged one."""
    with suppress(DamagedManifestError):
        return Manifest.read(published_dir)
    return None


def snapshots(published_dir: Path) -> list[Path]:
    """The kept snapshots, the oldest first. Each is named by its night and its version."""
    return sorted((published_dir / "snapshots").glob("*.duckdb"), key=lambda path: path.stat().st_mtime_ns)


def _remove_leftovers(published_dir: Path) -> None:
    for leftover in [*published_dir.glob(".*.building*"), *(published_dir / "parquet").glob(".*.building")]:
        leftover.unlink()


def _plain(error: Exception) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "the database file could not be written"
