"""Publishing: equal content is published once, readers never see a mixture, damage is found, old snapshots return."""

import hashlib
import json
import os
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline.orchestration.resources.warehouse import session
from pipeline.published.manifest import DamagedManifestError, Manifest
from pipeline.published.snapshot import (
    SNAPSHOT_NAME,
    PublishError,
    damages,
    is_sound,
    kept_manifest,
    publish,
    renew,
    restore,
    snapshots,
)

AS_OF = date(2026, 6, 29)
READERS = 3
PUBLICATIONS = 12


def marts(connection: duckdb.DuckDBPyConnection, value: int) -> Manifest:
    """Two marts that always carry the same value, so that a mixture would show."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS marts")
    for name in ("funnel", "steps"):
        connection.execute(f"CREATE OR REPLACE TABLE marts.{name} AS SELECT {value} AS value FROM range(1000)")
    return Manifest.of(connection, f"run-{value}", AS_OF)


def published_value(folder: Path) -> int:
    with duckdb.connect(str(folder / SNAPSHOT_NAME), read_only=True) as connection:
        values = connection.execute(
            "SELECT DISTINCT value FROM (FROM marts.funnel UNION ALL FROM marts.steps)"
        ).fetchall()
    assert len(values) == 1
    return values[0][0]


@pytest.fixture
def working(tmp_path: Path):
    with session(tmp_path / "working.duckdb") as connection:
        yield connection


def test_the_snapshot_its_parquet_and_the_manifest_agree(working, tmp_path: Path) -> None:
    manifest = marts(working, 1)
    assert publish(working, tmp_path / "published", manifest, keep=3)
    folder = tmp_path / "published"
    published = Manifest.read(folder)
    assert published is not None
    assert replace(published, files={}) == manifest
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in published.files} == (
        published.files
    )
    for table in manifest.tables:
        parquet = folder / "parquet" / f"{table.name}.parquet"
        assert pl.read_parquet(parquet).equals(working.sql(f"FROM marts.{table.name}").pl())
        assert oct(parquet.stat().st_mode & 0o777) == "0o444"
    assert published_value(folder) == 1
    assert not list((tmp_path / "published").rglob(".*"))


def test_any_bit_of_a_manifest_that_flips_is_found(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    written = (folder / "manifest.json").read_bytes()
    damaged = tmp_path / "manifest.json"
    for bit in range(8 * len(written)):
        damaged.write_bytes(bytes(byte ^ (bit // 8 == at) << bit % 8 for at, byte in enumerate(written)))
        with pytest.raises(DamagedManifestError):
            Manifest.load(damaged)


def test_equal_content_is_not_published_again(working, tmp_path: Path) -> None:
    publish(working, tmp_path / "published", marts(working, 1), keep=3)
    before = (tmp_path / "published" / SNAPSHOT_NAME).stat().st_mtime_ns
    assert not publish(working, tmp_path / "published", marts(working, 1), keep=3)
    assert (tmp_path / "published" / SNAPSHOT_NAME).stat().st_mtime_ns == before


def test_newer_rows_of_one_table_leave_all_others_as_they_are(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    before = Manifest.read(folder)
    newer = pl.DataFrame({"value": [7, 8]}, schema={"value": pl.Int32})
    assert renew(folder, {"funnel": newer})
    after = Manifest.read(folder)
    assert before is not None
    assert after is not None
    assert after.version != before.version
    assert (after.run_id, after.as_of) == (before.run_id, before.as_of)
    assert is_sound(folder, after)
    changed = {name for name in after.files if after.files[name] != before.files[name]}
    assert changed == {SNAPSHOT_NAME, "parquet/funnel.parquet"}
    assert pl.read_parquet(folder / "parquet" / "funnel.parquet").equals(newer)
    assert not list(folder.rglob(".*"))
    assert snapshots(folder) == []
    assert not renew(folder, {"funnel": newer.reverse()})
    assert Manifest.read(folder) == after


def test_newer_rows_keep_what_is_said_of_their_table(working, tmp_path: Path) -> None:
    folder, query = tmp_path / "published", "SELECT comment FROM duckdb_tables() WHERE table_name = 'funnel'"
    publish(working, folder, marts(working, 1), keep=3)
    with duckdb.connect(str(folder / SNAPSHOT_NAME), read_only=True) as connection:
        before = connection.execute(query).fetchall()
    renew(folder, {"funnel": pl.DataFrame({"value": [7]}, schema={"value": pl.Int32})})
    with duckdb.connect(str(folder / SNAPSHOT_NAME), read_only=True) as connection:
        assert connection.execute(query).fetchall() == before
    assert before[0][0]


def test_a_table_of_an_older_release_waits_for_the_next_night(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    before = Manifest.read(folder)
    newer = pl.DataFrame({"value": [7], "what_is_new": [1]})
    assert not renew(folder, {"funnel": newer, "optimizations": newer})
    assert Manifest.read(folder) == before


def test_a_damaged_publication_is_not_renewed(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    assert not renew(folder, {"funnel": pl.DataFrame({"value": [7]})})
    publish(working, folder, marts(working, 1), keep=3)
    (folder / "parquet" / "steps.parquet").unlink()
    before = Manifest.read(folder)
    assert not renew(folder, {"funnel": pl.DataFrame({"value": [7]})})
    assert Manifest.read(folder) == before


@pytest.mark.parametrize(
    ("rows", "is_equal"),
    [
        ("SELECT * FROM (VALUES ('x', 1), (NULL, 2)) AS t(b, a)", True),
        ("SELECT * FROM (VALUES (1, 'x'), (2, '')) AS t(a, b)", False),
        ("SELECT * FROM (VALUES (1, NULL), (2, 'x')) AS t(a, b)", False),
        ("SELECT * FROM (VALUES (2, NULL), (1, 'x'), (1, 'x')) AS t(a, b)", False),
        ("SELECT * FROM (VALUES (2, NULL), (1, 'x')) AS t(a, c)", False),
    ],
)
def test_equal_rows_have_an_equal_hash_whatever_their_order(working, rows: str, is_equal: bool) -> None:
    working.execute("CREATE SCHEMA marts")
    working.execute("CREATE TABLE marts.funnel AS SELECT * FROM (VALUES (2, NULL), (1, 'x')) AS t(a, b)")
    first = Manifest.of(working, "run", AS_OF)
    working.execute(f"CREATE OR REPLACE TABLE marts.funnel AS {rows}")
    assert (Manifest.of(working, "run", AS_OF).tables == first.tables) is is_equal


def test_what_an_older_release_published_can_be_read_checked_and_restored(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    for value in (0, 1):
        publish(working, folder, marts(working, value), keep=3)
    written = json.loads((folder / "manifest.json").read_text())
    tables = [{"name": table["name"], "rows": table["rows"], "sha256": "0" * 64} for table in written["tables"]]
    former = {"run_id": "run-1", "as_of": written["as_of"], "version": "0" * 16, "tables": tables}
    damage(folder / "manifest.json", json.dumps(former).encode())
    [kept] = snapshots(folder)
    kept.with_suffix(".json").unlink()
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert is_sound(folder, manifest)
    assert kept_manifest(kept) is not None
    damage(folder / SNAPSHOT_NAME)
    assert not is_sound(folder, manifest)
    assert restore(folder) == AS_OF
    assert published_value(folder) == 0


def test_only_the_newest_old_snapshots_are_kept_and_the_newest_restores(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    for value in range(6):
        publish(working, folder, marts(working, value), keep=3)
    assert len(snapshots(folder)) == 3
    assert len(list((folder / "snapshots").iterdir())) == 6  # each beside its manifest
    (folder / SNAPSHOT_NAME).unlink()
    (folder / SNAPSHOT_NAME).write_bytes(b"damaged")
    assert restore(folder) is not None
    assert published_value(folder) == 4
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.tables == marts(working, 4).tables


def damage(file: Path, content: bytes = b"damaged") -> None:
    file.unlink()
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["manifest.json", SNAPSHOT_NAME, "parquet/funnel.parquet", "parquet/steps.parquet"])
def test_equal_content_is_published_again_where_the_standing_one_is_damaged(working, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "published"
    manifest = marts(working, 1)
    for content in (b"damaged", None):
        publish(working, folder, manifest, keep=3)
        (folder / name).unlink() if content is None else damage(folder / name, content)
        assert publish(working, folder, manifest, keep=3)
        standing = Manifest.read(folder)
        assert standing is not None
        assert is_sound(folder, standing)


def test_the_parquet_file_of_a_table_that_holds_the_same_stays_unless_it_is_damaged(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    funnel = folder / "parquet" / "funnel.parquet"

    def publish_steps(value: int) -> tuple[int, int]:
        working.execute(f"CREATE OR REPLACE TABLE marts.steps AS SELECT {value} AS value")
        publish(working, folder, Manifest.of(working, "run", AS_OF), keep=3)
        standing = Manifest.read(folder)
        assert standing is not None
        assert is_sound(folder, standing)
        held = [pl.read_parquet(folder / "parquet" / f"{name}.parquet")["value"] for name in ("steps", "funnel")]
        assert (held[0].to_list(), held[1].unique().to_list()) == ([value], [1])
        return funnel.stat().st_ino, (folder / "parquet" / "steps.parquet").stat().st_ino

    marts(working, 1)
    before, after = publish_steps(2), publish_steps(3)
    assert before[0] == after[0]
    assert before[1] != after[1]
    damage(funnel)
    publish_steps(4)
    working.execute("ALTER TABLE marts.funnel ALTER value TYPE BIGINT")
    publish_steps(5)
    assert pl.read_parquet_schema(funnel) == {"value": pl.Int64}


def test_a_database_without_tables_is_no_sound_snapshot(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    damage(folder / SNAPSHOT_NAME, (tmp_path / "empty.duckdb").read_bytes())
    standing = Manifest.read(folder)
    assert standing is not None
    assert damages(folder, standing)[SNAPSHOT_NAME] is not None
    assert publish(working, folder, marts(working, 1), keep=3)


def test_a_restore_passes_over_what_is_damaged_too(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    for value in range(4):
        publish(working, folder, marts(working, value), keep=3)
    oldest, *newer = snapshots(folder)
    whole = oldest.read_bytes()
    damage(folder / SNAPSHOT_NAME)
    damage(newer[-1])
    damage(newer[-2], whole)  # a sound snapshot of another night
    assert restore(folder) == AS_OF
    assert published_value(folder) == 0
    damage(folder / SNAPSHOT_NAME)
    damage(oldest)
    assert restore(folder) is None


def test_tonights_snapshot_is_restored_where_it_alone_is_sound(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 0), keep=3)
    manifest = marts(working, 1)
    publish(working, folder, manifest, keep=3)
    damage(folder / "parquet" / "steps.parquet")
    (folder / "parquet" / "funnel.parquet").unlink()
    assert restore(folder) == AS_OF
    assert published_value(folder) == 1
    standing = Manifest.read(folder)
    assert standing is not None
    assert replace(standing, files={}) == manifest
    assert is_sound(folder, standing)


def test_what_is_no_database_is_not_kept_as_an_old_snapshot(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 0), keep=1)
    publish(working, folder, marts(working, 1), keep=1)
    damage(folder / SNAPSHOT_NAME)
    publish(working, folder, marts(working, 2), keep=1)
    damage(folder / SNAPSHOT_NAME)
    assert restore(folder) is not None
    assert published_value(folder) == 0


def test_readers_see_one_version_while_publishing_goes_on(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 0), keep=2)
    done = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        while not done.is_set():
            try:
                published_value(folder)
            except BaseException as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for value in range(1, PUBLICATIONS):
        publish(working, folder, marts(working, value), keep=2)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert published_value(folder) == PUBLICATIONS - 1


def test_a_folder_that_cannot_be_written_is_named_and_the_old_publication_stays(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    (folder / f".{marts(working, 2).version}.building").mkdir()
    with pytest.raises(PublishError, match="last publication is untouched"):
        publish(working, folder, marts(working, 2), keep=3)
    assert published_value(folder) == 1
    assert Manifest.read(folder) is not None


def test_a_leftover_of_a_killed_run_does_not_stop_the_next(working, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    (folder / f".{marts(working, 2).version}.building").write_bytes(b"half a file")
    assert publish(working, folder, marts(working, 2), keep=3)
    assert published_value(folder) == 2


def test_a_run_killed_among_the_renames_leaves_no_manifest_and_the_next_publishes_anew(
    working, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "published"
    publish(working, folder, marts(working, 1), keep=3)
    first = Manifest.read(folder)
    second = marts(working, 2)
    replace, calls = os.replace, iter([None, KeyboardInterrupt])

    def killed(source: Path, target: Path) -> None:
        if error := next(calls):
            raise error
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(working, folder, second, keep=3)
    assert published_value(folder) == 2
    assert Manifest.read(folder) is None
    assert publish(working, folder, marts(working, 1), keep=3)
    assert published_value(folder) == 1
    assert Manifest.read(folder) == first


def test_decisions_change_the_version_but_not_that_of_the_data(working) -> None:
    before = marts(working, 1)
    working.execute("CREATE TABLE marts.optimizations AS SELECT 1 AS value")
    decided = Manifest.of(working, "run", AS_OF)
    assert decided.version != before.version
    assert decided.data_version == before.data_version == before.version
    assert marts(working, 2).data_version != before.data_version
