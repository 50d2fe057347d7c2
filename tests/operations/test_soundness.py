"""Damage is found before a night uses what is damaged, and the advice that is printed works when it is followed.

All of it in a folder whose name is a pattern, with quotes, spaces and letters beyond ASCII.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipeline.cli.nightly import run_night
from pipeline.common.errors import DriptuneError, NightlyError
from pipeline.lake.store import Lake
from pipeline.operations.health import verification
from pipeline.operations.soundness import note_ledger, published_night, repair, restore, sound_keys, sound_lake
from pipeline.optimizations.ledger import open_ledger
from pipeline.orchestration.resources import warehouse
from pipeline.published.manifest import RUN_TABLES, Manifest
from pipeline.published.snapshot import SNAPSHOT_NAME
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, tables_of
from pipeline.settings import Settings
from tests.acceptance.torture.victims import account, settings_of, short_night
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve
from tests.optimizations.conftest import POLICY, proposal

FOLDER = "d[a]t* 'single' \"double\" ünï"
NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
# What is made anew where the lake is as it was.
FROM_THE_LAKE = ("dimensions", "facts", "reductions")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(account().answer) as address:
        yield address


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    """The folder of an installation after its first night."""
    folder = tmp_path_factory.mktemp("installation") / FOLDER
    settings = settings_of(folder, url)
    settings.definitions.mkdir(parents=True)
    short_night(settings, NIGHT)
    with open_ledger(settings) as ledger:
        note_ledger(settings, ledger)
    return folder


@pytest.fixture
def settings(first_night: Path, tmp_path: Path, url: str) -> Settings:
    """A copy of it."""
    shutil.copytree(first_night, tmp_path / FOLDER)
    return settings_of(tmp_path / FOLDER, url)


def ignore(step: str, steps: int) -> None:
    """Progress nobody watches."""


def wrong(settings: Settings) -> list[str]:
    """What `driptune verify` finds wrong."""
    return [text for is_good, text in verification(settings) if not is_good]


def refusal(settings: Settings) -> str:
    """What a nightly says that stops before it changes anything."""
    before = kept(settings)
    with pytest.raises(NightlyError) as told:
        run_night(settings, NIGHT, ignore)
    assert kept(settings) == before
    assert "Traceback" not in str(told.value)
    return str(told.value)


def short_refusal(settings: Settings) -> str:
    """The same from what a night asks first, in a part of the time."""
    with open_ledger(settings) as ledger:
        try:
            sound_keys(settings, ledger)
            sound_lake(settings)
        except DriptuneError as error:
            return str(error)
    return ""


def kept(settings: Settings) -> dict[Path, bytes]:
    """Every file of lake and publication."""
    folders = (settings.lake_dir, settings.published_dir)
    return {file: file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()}


def version(settings: Settings) -> str:
    manifest = Manifest.read(settings.published_dir)
    assert manifest is not None
    return manifest.version


def tables_published(settings: Settings) -> set[tuple[str, str]]:
    """Names and hashes of the tables that tell nothing of the run itself."""
    manifest = Manifest.read(settings.published_dir)
    assert manifest is not None
    return {(table.name, table.content) for table in manifest.tables if table.name not in RUN_TABLES}


def rows(settings: Settings, model: type[Table]) -> pl.DataFrame:
    found = Lake(settings.lake_dir).latest(model).drop("as_of_day").collect()
    return found.sort(found.columns)


def overwrite(file: Path, content: bytes) -> None:
    file.chmod(0o600)
    file.write_bytes(content)


def delete(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    overwrite(file, file.read_bytes()[:-7])


def empty(file: Path) -> None:
    overwrite(file, b"")


def flip(file: Path) -> None:
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    overwrite(file, bytes(body))


def replace(file: Path) -> None:
    overwrite(file, b"no database, but long enough to be looked at as one. " * 1_000)


def test_a_sound_installation_is_found_sound_whatever_its_folder_is_called(settings: Settings) -> None:
    assert wrong(settings) == []
    assert len(verification(settings)) > 7
    assert repair(settings) == []


def test_a_night_refuses_a_damaged_lake_and_goes_on_when_the_file_is_copied_back(settings: Settings) -> None:
    sends, addresses = Lake(settings.lake_dir).files(tables.Sends)[0], settings.lake_dir / "addresses/addresses.parquet"
    cases = [(sends, delete, refusal), (sends, cut, short_refusal), (addresses, delete, short_refusal)]
    for file, damage, refused in [*cases, (addresses, flip, short_refusal)]:
        whole = file.read_bytes()
        damage(file)
        told = refused(settings)
        named = re.search(r"lake: (.+?\.(?:parquet|json)) ", told)
        assert named is not None
        assert "Copy what is named from a backup to its place" in told
        assert wrong(settings) == [told]
        (settings.data_dir / named[1]).write_bytes(whole)
        assert wrong(settings) == []


def test_without_a_backup_repair_reads_again_what_mailchimp_holds_and_loses_nobody(settings: Settings) -> None:
    lake, before = Lake(settings.lake_dir), version(settings)
    held = {model: rows(settings, model) for model in tables_of("lake") if model is not tables.Addresses}
    people = lake.addresses()
    assert people.height > 0
    for model, damage in ((tables.Sends, delete), (tables.Members, cut), (tables.EmailActivity, flip)):
        damage(lake.files(model)[0])
    empty(settings.lake_dir / "addresses" / "addresses.parquet")
    [told] = wrong(settings)
    assert "run driptune repair" in told
    given_up = repair(settings)
    assert sum("Given up" in line for line in given_up) == 4
    short_night(settings, published_night(settings))
    assert wrong(settings) == []
    assert version(settings) == before
    assert lake.addresses().equals(people)
    assert [model for model in held if not rows(settings, model).equals(held[model])] == []


@pytest.mark.parametrize(
    ("secret", "words"), [(None, "is missing"), (b"", "has 0 bytes"), (b"x" * 32, "is another one than before")]
)
def test_a_lost_key_is_found_before_the_night_and_put_back(
    settings: Settings, secret: bytes | None, words: str
) -> None:
    key = settings.data_dir / "secret.key"
    whole = key.read_bytes()
    key.unlink() if secret is None else key.write_bytes(secret)
    told = refusal(settings) if secret is None else short_refusal(settings)
    assert words in told
    assert "Put the file back from a backup" in told
    assert wrong(settings) == [told]
    key.write_bytes(whole)
    assert wrong(settings) == []


def test_a_key_that_only_the_ledger_remembers_is_missed_too(settings: Settings) -> None:
    (settings.data_dir / "secret.key").write_bytes(b"x" * 32)
    (settings.data_dir / "lake_inventory" / "secret_key.json").unlink()
    assert "is another one than before" in short_refusal(settings)


def test_without_a_backup_of_the_key_one_begins_anew(settings: Settings, tmp_path: Path) -> None:
    manifest = Manifest.read(settings.published_dir)
    (settings.data_dir / "secret.key").unlink()
    assert "move everything but the definitions out of" in short_refusal(settings)
    (tmp_path / "away").mkdir()
    for one in settings.data_dir.iterdir():
        shutil.move(one, tmp_path / "away")
    short_night(settings, NIGHT)
    assert wrong(settings) == []
    again = Manifest.read(settings.published_dir)
    assert manifest is not None
    assert again is not None
    assert again.version == manifest.version  # None of these tables names people.


@pytest.mark.parametrize("damage", [delete, cut, empty, replace])
def test_a_damaged_parquet_file_is_restored_from_tonights_snapshot(
    settings: Settings, damage: Callable[[Path], None]
) -> None:
    before = version(settings)
    damage(settings.published_dir / "parquet" / "steps.parquet")
    [told] = wrong(settings)
    assert told.startswith("parquet/steps.parquet ")
    assert told.endswith("Run driptune restore.")
    assert restore(settings) == NIGHT
    assert wrong(settings) == []
    assert version(settings) == before


@pytest.mark.parametrize(("name", "damage"), [("manifest.json", cut), (SNAPSHOT_NAME, replace)])
def test_on_the_first_night_there_is_nothing_to_restore_and_a_nightly_publishes_anew(
    settings: Settings, name: str, damage: Callable[[Path], None]
) -> None:
    before = version(settings)
    damage(settings.published_dir / name)
    [told] = wrong(settings)
    assert told.startswith(name)
    assert told.endswith("Run driptune restore.")
    assert restore(settings) is None  # and the command says to run the nightly
    short_night(settings, published_night(settings) if name != "manifest.json" else NIGHT, groups=[])
    assert wrong(settings) == []
    assert version(settings) == before


@pytest.mark.parametrize("damage", [cut, empty, replace, flip])
def test_a_damaged_working_file_is_found_and_given_up(settings: Settings, damage: Callable[[Path], None]) -> None:
    damage(settings.working_file)
    told = "working.duckdb is damaged. Run driptune repair: everything in it is rebuilt from the lake."
    assert wrong(settings) == [told]
    assert repair(settings) == ["working.duckdb is damaged. It is rebuilt from the lake."]
    assert not settings.working_file.exists()


def test_a_night_that_meets_damage_says_so_and_the_next_is_as_if_nothing_were(settings: Settings) -> None:
    before = tables_published(settings)
    cut(settings.working_file)
    with pytest.raises(NightlyError, match=r"working\.duckdb is damaged\. Run driptune repair"):
        run_night(settings, NIGHT, ignore)
    assert tables_published(settings) == before
    repair(settings)
    shutil.rmtree(settings.published_dir)
    short_night(settings, NIGHT, groups=FROM_THE_LAKE)
    assert wrong(settings) == []
    assert tables_published(settings) >= before


def test_a_working_file_that_is_no_database_is_refused_at_once(settings: Settings) -> None:
    replace(settings.working_file)
    assert refusal(settings) == (
        "working.duckdb is damaged. Run driptune repair: everything in it is rebuilt from the lake."
    )


def test_who_holds_the_working_file_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse, "OPEN_ELSEWHERE_SECONDS", 0.2)
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.working_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    told = refusal(settings)
    holder.communicate("\n")
    assert f"working.duckdb is open elsewhere: process {holder.pid} ({sys.executable} -c import duckdb" in told
    assert "Close the other program" in told
    assert wrong(settings) == []


@pytest.mark.parametrize("damage", [delete, empty])
def test_a_ledger_without_its_events_is_refused_until_it_is_put_back_or_given_up(
    settings: Settings, damage: Callable[[Path], None]
) -> None:
    with open_ledger(settings) as ledger:
        ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
        note_ledger(settings, ledger)
    file = settings.data_dir / "ledger" / "ledger.sqlite"
    whole = file.read_bytes()
    for remains in file.parent.glob("ledger.sqlite-*"):
        remains.unlink()
    damage(file)
    assert "The ledger lacks events" in short_refusal(settings)
    [told] = wrong(settings)
    assert "Put back the newest one" in told
    made = file.read_bytes()
    overwrite(file, whole)
    assert wrong(settings) == []
    overwrite(file, made)
    assert repair(settings) == ["The ledger goes on from what it holds."]
    assert wrong(settings) == []


def test_who_was_forgotten_stays_so_or_the_loss_is_said(settings: Settings) -> None:
    lake = Lake(settings.lake_dir)
    lake.forget(lake.addresses()["subscriber_key"][0])
    (settings.lake_dir / "state" / "forgotten.json").unlink()
    assert "lake/state/forgotten.json is missing" in short_refusal(settings)
    assert "Run driptune forget again" in repair(settings)[-1]


@pytest.mark.parametrize("name", ["mailchimp.json", "events.json"])
def test_state_that_cannot_be_read_is_given_up(settings: Settings, name: str) -> None:
    state = settings.lake_dir / "state" / name
    state.write_text('{"files": {"a.csv": ')
    assert f"lake/state/{name} cannot be read" in short_refusal(settings)
    assert repair(settings) == [f"Given up: lake/state/{name} cannot be read."]
    assert wrong(settings) == []


def test_an_older_release_left_no_inventory_and_nothing_is_missed(settings: Settings) -> None:
    shutil.rmtree(settings.data_dir / "lake_inventory")
    (settings.lake_dir / "state" / "inventory.json").unlink()
    assert wrong(settings) == []
    sound_lake(settings)
    assert wrong(settings) == []
    Lake(settings.lake_dir).files(tables.Sends)[0].unlink()
    assert len(wrong(settings)) == 1
