"""A forgotten person leaves everything that was written, also if it is cut; others keep their way back."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from pipeline.common.files import write_atomically
from pipeline.definitions import build_defs
from pipeline.lake.keys import load_keys, member_id
from pipeline.lake.store import Lake
from pipeline.operations.forgetting import UnknownPersonError, finish_forgetting, forget_person
from pipeline.optimizations.ledger import open_ledger
from pipeline.schemas.lake import Addresses, Sends
from pipeline.settings import Settings
from tests.worlds.facts import rows
from tests.worlds.writing import InMemoryAccount, apply, approved, hours, roll_back, tables_tonight

ADDRESS = "canary@example.com"
THEIR_HOUR, OTHER = "twenty-three", 7
NIGHT = date(2026, 6, 29)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, mailchimp_url="http://127.0.0.1:1/3.0", _env_file=None)  # type: ignore[call-arg]


def test_a_person_is_erased_from_the_journal_of_writes(settings: Settings) -> None:
    key = load_keys(settings).of_address(ADDRESS)
    made, account = hours(holdout_share=0.0), InMemoryAccount()
    account.people = [key, OTHER]
    account.fields["SENDHOUR"] = {key: THEIR_HOUR, OTHER: "9"}
    assigned = pl.DataFrame({"subscriber_key": [key, OTHER], "assigned_local_hour": [5, 6]})
    with open_ledger(settings) as ledger:
        approved(ledger, made)
        apply(ledger, made, account, tables={**tables_tonight(), "send_time_assignments": assigned})
    assert any(holds(path, key) for path in ledger_files(settings))
    write_atomically(settings.exports_dir / "stuck-2026-06-29.csv", f"email_address\n{ADDRESS}\n".encode())
    forget_person(settings, ADDRESS)
    assert list(settings.exports_dir.iterdir()) == []
    assert not any(holds(path, key) for path in ledger_files(settings))
    with open_ledger(settings) as ledger:
        assert ledger.verify() == []
        roll_back(ledger, made, account)
    assert account.fields["SENDHOUR"] == {key: "5", OTHER: "9"}


def person(settings: Settings) -> int:
    """A member of the lake, with an order."""
    keys, lake = load_keys(settings), Lake(settings.lake_dir)
    key = keys.of_address(ADDRESS)
    lake.remember_addresses(
        rows(Addresses, {"subscriber_key": key, "email_address": ADDRESS}, {"subscriber_key": OTHER})
    )
    lake.append(Sends, rows(Sends, {"subscriber_key": key}, {"subscriber_key": OTHER}, campaign_id="c1"), NIGHT)
    return key


def leave_everything(settings: Settings, key: int) -> None:
    """What nightlies, a killed one among them, and an older release left of a person."""
    written = {
        settings.working_file: "working",
        settings.working_file.with_name("working.duckdb.wal"): "log",
        settings.working_file.with_name("working.duckdb.tmp") / "duckdb_temp_storage-0.tmp": "spilled",
        settings.published_dir / "email_warehouse.duckdb": "published",
        settings.published_dir / "snapshots" / "2026-01-01_x.duckdb": "older",
        settings.published_dir / "parquet" / "stuck_subscribers.parquet": "published",
        settings.exports_dir / "stuck-2026-06-29.csv": "export",
        settings.reports_dir / "welcome.html": "page",
        settings.reports_dir / ".building" / "welcome.html": "page in the making",
        settings.dagster_home / "storage" / "run" / "compute_logs" / "step.err": "log",
    }
    for path, what in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{what} {ADDRESS} {key}")
    (settings.dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}")


def remains(settings: Settings, key: int) -> list[str]:
    """Files that name the person."""
    needles = (ADDRESS.encode(), str(key).encode(), key.to_bytes(8, "little"), member_id(ADDRESS).encode())
    files = (path for path in settings.data_dir.rglob("*") if path.is_file())
    return [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]


def test_everything_that_was_written_of_a_person_is_swept(settings: Settings) -> None:
    key = person(settings)
    leave_everything(settings, key)
    assert len(remains(settings, key)) > 8
    volumes = {folder: folder.stat().st_ino for folder in (settings.published_dir, settings.reports_dir)}
    removed, _ = forget_person(settings, ADDRESS)
    assert removed == 2
    assert remains(settings, key) == []
    assert {folder: folder.stat().st_ino for folder in volumes} == volumes
    assert (settings.dagster_home / "dagster.yaml").exists()
    assert Lake(settings.lake_dir).scan(Sends).collect()["subscriber_key"].to_list() == [OTHER]


CUTS = {
    "before anything": ("pipeline.operations.forgetting", "_erase"),
    "in the lake": ("pipeline.lake.store.Lake", "_remove"),
    "in the sweep": ("pipeline.operations.forgetting.shutil", "rmtree"),
    "before the mark goes": ("pipeline.operations.forgetting", "_unmark"),
}


@pytest.mark.parametrize("place", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("by", ["the next forget", "a forget of somebody unknown", "the next nightly"])
def test_what_a_cut_one_began_is_finished(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, place: tuple[str, str], by: str
) -> None:
    key = person(settings)
    leave_everything(settings, key)
    with monkeypatch.context() as patch:
        patch.setattr(".".join(place), cut)
        with pytest.raises(KeyboardInterrupt):
            forget_person(settings, ADDRESS)
    assert ADDRESS.encode() not in b"".join(path.read_bytes() for path in settings.data_dir.glob("*.json"))
    if by == "the next forget":
        forget_person(settings, ADDRESS)
    elif by == "the next nightly":
        warehouse = build_defs(settings).resources["warehouse"]
        with dg.build_resources({"warehouse": warehouse}):
            pass
        settings.working_file.unlink()
    else:
        forget_person(settings, "nobody@example.com")
    assert remains(settings, key) == []
    assert list(settings.published_dir.iterdir()) == []
    finish_forgetting(settings)


def cut(*arguments: object, **named: object) -> None:
    raise KeyboardInterrupt


def test_somebody_unknown_is_said_and_changes_nothing(settings: Settings) -> None:
    key = person(settings)
    leave_everything(settings, key)
    before = sorted(remains(settings, key))
    with pytest.raises(UnknownPersonError, match="Nobody with this address is kept here"):
        forget_person(settings, "nobody@example.com")
    assert sorted(remains(settings, key)) == before
    assert not (settings.data_dir / "forgetting.json").exists()


def ledger_files(settings: Settings) -> list[Path]:
    return list((settings.data_dir / "ledger").iterdir())


def holds(path: Path, key: int) -> bool:
    content = path.read_bytes()
    return str(key).encode() in content or THEIR_HOUR.encode() in content
