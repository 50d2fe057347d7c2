"""Publishing: one snapshot of the marts, the same tables as Parquet files, and a manifest with the hash of each table.

Readers never see a half-written file. All files are written under temporary names and synced, and renamed at the end; a
manifest stands only beside the files that it names. What the marts hold is decided elsewhere.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from pipeline.common.errors import DriptuneError
from pipeline.common.files import sync
from pipeline.common.quoting import literal
from pipeline.published.manifest import DamagedManifestError, Manifest, mart_names
from pipeline.published.views import add_views_and_comments
from pipeline.settings import MANIFEST_NAME

SNAPSHOT_NAME = "email_warehouse.duckdb"
# No client of DuckDB 1.x can open the default storage of DuckDB 2.0, and BI tools are slow to move on.
STORAGE_VERSION = "v1.0.0"
PARQUET = "parquet"
# Files of 95 MB were measured to be as small with the first level as with DuckDB's third, at half of the CPU seconds.
PARQUET_OPTIONS = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
READ_ONLY = 0o444
# A finished temporary file, and the name it is to take.
Staged = tuple[Path, Path]


class PublishError(DriptuneError):
    """The marts could not be published; the last publication is untouched."""


def damages(published_dir: Path, manifest: Manifest) -> dict[str, str | None]:
    """What is wrong with each published file, to follow its path; none if it is as it was published."""
    found = {name: _damage(published_dir / name, manifest.files.get(name)) for name in _files(manifest)}
    found[SNAPSHOT_NAME] = found[SNAPSHOT_NAME] or _contradiction(published_dir / SNAPSHOT_NAME, manifest)
    return found


def kept_manifest(snapshot: Path) -> Manifest | None:
    """The manifest of a kept snapshot; none if the snapshot is not as it was published."""
    night = snapshot.stem.partition("_")[0]
    try:
        manifest = Manifest.load(snapshot.with_suffix(".json"))
        if manifest is None:  # Releases before this one kept the snapshot alone.
            return _held(snapshot, f"restored-{snapshot.stem}", date.fromisoformat(night))
    except (DamagedManifestError, ValueError):
        return None
    return None if _damage(snapshot, manifest.files.get(SNAPSHOT_NAME)) else manifest


def is_sound(published_dir: Path, manifest: Manifest) -> bool:
    """Whether every file of the standing publication is as it was published."""
    return not any(damages(published_dir, manifest).values())


def _files(manifest: Manifest) -> list[str]:
    """The paths of the files that the manifest is of, within the publication."""
    return [SNAPSHOT_NAME, *(_parquet(table.name) for table in manifest.tables)]


def _parquet(table: str) -> str:
    return f"{PARQUET}/{table}.parquet"


def _unchanged_parquet(
    connection: duckdb.DuckDBPyConnection, published_dir: Path, standing: Manifest | None, manifest: Manifest
) -> dict[str, str]:
    """The sound Parquet files of the standing publication whose tables are the same today, each with its hash."""
    if standing is None:
        return {}
    held = {table.name: _parquet(table.name) for table in manifest.tables if table in standing.tables}
    sound = {table: path for table, path in held.items() if not _damage(published_dir / path, standing.files.get(path))}
    return {
        path: standing.files[path]
        for table, path in sound.items()
        if path in standing.files and _has_columns_of(connection, table, published_dir / path)
    }


def _has_columns_of(connection: duckdb.DuckDBPyConnection, table: str, parquet: Path) -> bool:
    """Whether a file has the mart's columns, in order and type: a hash of content does not tell."""
    written, mart = (connection.sql(f"FROM {source}") for source in (literal(str(parquet)), f"marts.{table}"))
    return (written.columns, written.types) == (mart.columns, mart.types)


def _damage(path: Path, sha256: str | None) -> str | None:
    """What is wrong with a file. Without a hash, because an older release published it, only whether it is there."""
    try:
        held = _sha256(path)
    except FileNotFoundError:
        return "is missing"
    except OSError:
        return "cannot be read"
    return None if held == sha256 or sha256 is None else "differs from the manifest"


def _contradiction(snapshot: Path, manifest: Manifest) -> str | None:
    """What the tables of a snapshot hold besides what the manifest says of them."""
    held = _held(snapshot, manifest.run_id, date.fromisoformat(manifest.as_of))
    if held is None:
        return "cannot be read"
    if manifest.files:
        return None if replace(held, files=manifest.files) == manifest else "differs from the manifest"
    # The hashes of an older release say nothing of ours.
    rows, announced = ({(table.name, table.rows) for table in one.tables} for one in (held, manifest))
    return None if rows == announced else "differs from the manifest"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _held(snapshot: Path, run_id: str, night: date) -> Manifest | None:
    """The manifest of what a snapshot holds; none if it cannot be read to its last row."""
    try:
        with duckdb.connect(str(snapshot), read_only=True) as connection:
            return Manifest.of(connection, run_id, night)
    except (duckdb.Error, OSError):
        return None


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
        (published_dir / PARQUET).mkdir(parents=True, exist_ok=True)
        _remove_leftovers(published_dir)
        unchanged = _unchanged_parquet(connection, published_dir, standing, manifest)
        staged = [
            _stage_snapshot(connection, published_dir, manifest),
            *_stage_parquet(connection, published_dir, manifest, without=unchanged),
        ]
        _keep_standing(published_dir, standing, keep)
        _swap(staged, published_dir, manifest, unchanged)
    except (OSError, duckdb.IOException) as error:
        raise _refused(published_dir, error) from error
    return True


def renew(published_dir: Path, tables: Mapping[str, pl.DataFrame]) -> bool:
    """Put newer rows into some tables of the standing publication; all other tables stay as they are.

    Args:
        published_dir: where readers look.
        tables: the newer rows by name of the table.

    Returns:
        Whether anything was written: False if these rows stand there already, or the publication is none or damaged.

    Raises:
        PublishError: if the disk refuses; the publication stays as it is.
    """
    standing = _readable(published_dir)
    if standing is None or not is_sound(published_dir, standing):
        return False
    try:
        _remove_leftovers(published_dir)
        copy = published_dir / f".{SNAPSHOT_NAME}.building"
        shutil.copyfile(published_dir / SNAPSHOT_NAME, copy)
        with duckdb.connect(str(copy)) as connection:
            _replace_rows(connection, tables)
            manifest = Manifest.of(connection, standing.run_id, date.fromisoformat(standing.as_of))
            if manifest.version == standing.version:
                copy.unlink()
                return False
            unchanged = _unchanged_parquet(connection, published_dir, standing, manifest)
            staged = _stage_parquet(connection, published_dir, manifest, without=unchanged)
        _swap([_staged(copy, published_dir / SNAPSHOT_NAME), *staged], published_dir, manifest, unchanged)
    except (OSError, duckdb.IOException) as error:
        raise _refused(published_dir, error) from error
    return True


def restore(published_dir: Path) -> date | None:
    """Put a sound snapshot, with its Parquet files and manifest, in place of a damaged publication.

    The standing snapshot is taken if it alone is sound, else the newest of the kept ones that is.

    Returns:
        The night that is published now; none if no snapshot is sound.
    """
    sound, manifest = published_dir / SNAPSHOT_NAME, _readable(published_dir)
    if manifest is None or damages(published_dir, manifest)[SNAPSHOT_NAME] is not None:
        kept = ((one, kept_manifest(one)) for one in reversed(snapshots(published_dir)))
        sound, manifest = next(((one, held) for one, held in kept if held), (sound, None))
    if manifest is None:
        return None
    (published_dir / PARQUET).mkdir(parents=True, exist_ok=True)
    _remove_leftovers(published_dir)
    staged = [_stage_copy(sound, published_dir / SNAPSHOT_NAME)]
    with duckdb.connect(str(sound), read_only=True) as connection:
        staged += _stage_parquet(connection, published_dir, manifest, without=())
    _swap(staged, published_dir, manifest, unchanged={})
    return date.fromisoformat(manifest.as_of)


def _stage_snapshot(connection: duckdb.DuckDBPyConnection, published_dir: Path, manifest: Manifest) -> Staged:
    temporary = published_dir / f".{manifest.version}.building"
    connection.execute(f"ATTACH {literal(str(temporary))} AS publication (STORAGE_VERSION '{STORAGE_VERSION}')")
    try:
        connection.execute("CREATE SCHEMA publication.marts")
        for table in manifest.tables:
            connection.execute(f"CREATE TABLE publication.marts.{table.name} AS SELECT * FROM marts.{table.name}")
        add_views_and_comments(connection, "publication", [table.name for table in manifest.tables])
        connection.execute("CHECKPOINT publication")
    finally:
        connection.execute("DETACH publication")
    if temporary.with_name(temporary.name + ".wal").exists():
        raise PublishError("The snapshot was not fully checkpointed. Run again; the last publication is untouched.")
    return _staged(temporary, published_dir / SNAPSHOT_NAME)


def _replace_rows(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pl.DataFrame]) -> None:
    """Replace the rows of tables, which keep their comments and the views upon them.

    A table that an older release published without today's columns stays until the next night.
    """
    present = mart_names(connection)
    for name, rows in tables.items():
        if name not in present or set(connection.table(f"marts.{name}").columns) != set(rows.columns):
            continue
        connection.register("newer", rows)
        connection.execute(f"BEGIN; DELETE FROM marts.{name}; INSERT INTO marts.{name} BY NAME FROM newer; COMMIT")
        connection.unregister("newer")
    connection.execute("CHECKPOINT")


def _stage_parquet(
    connection: duckdb.DuckDBPyConnection, published_dir: Path, manifest: Manifest, without: Collection[str]
) -> list[Staged]:
    staged = []
    for name in (table.name for table in manifest.tables if _parquet(table.name) not in without):
        temporary = published_dir / PARQUET / f".{name}.building"
        connection.execute(f"COPY marts.{name} TO {literal(str(temporary))} ({PARQUET_OPTIONS})")
        staged.append(_staged(temporary, published_dir / _parquet(name)))
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


def _swap(staged: Sequence[Staged], published_dir: Path, manifest: Manifest, unchanged: dict[str, str]) -> None:
    """Give the staged files their names. The manifest goes first, so that it never stands beside files of another one.

    `unchanged` has the files that stay as they are, with their hashes.

    Everything that needs space on the disk has happened before. A run that is killed in here leaves no manifest, so the
    next run publishes anew.
    """
    place, folder = published_dir / MANIFEST_NAME, published_dir / PARQUET
    temporary = published_dir / ".manifest.building"
    written = {target.relative_to(published_dir).as_posix(): _sha256(source) for source, target in staged}
    hashes = unchanged | written
    temporary.write_text(replace(manifest, files={name: hashes[name] for name in sorted(hashes)}).as_text())
    finished = _staged(temporary, place)
    place.unlink(missing_ok=True)
    sync(published_dir)
    for source, target in staged:
        os.replace(source, target)
    for stale in set(folder.glob("*.parquet")) - {published_dir / name for name in hashes}:
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
            target.with_suffix(".json").write_text(standing.as_text())
            os.link(snapshot, target)
    for old in snapshots(published_dir)[:-keep]:
        old.unlink()
        old.with_suffix(".json").unlink(missing_ok=True)


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
    for leftover in [*published_dir.glob(".*.building*"), *(published_dir / PARQUET).glob(".*.building")]:
        leftover.unlink()


def _refused(published_dir: Path, error: Exception) -> PublishError:
    """What to say when the disk refuses; half a publication, which would go on filling it, is removed."""
    with suppress(OSError):
        _remove_leftovers(published_dir)
    return PublishError(
        f"The publication could not be written to '{published_dir.name}': {_plain(error)}. "
        "The last publication is untouched. Free space or make the folder writable, then run again."
    )


def _plain(error: Exception) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "the database file could not be written"
