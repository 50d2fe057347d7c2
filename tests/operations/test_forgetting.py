"""A forgotten person leaves the ledger too, and everybody else's way back stays open."""

from pathlib import Path

import polars as pl

from pipeline.common.files import write_atomically
from pipeline.lake.keys import load_keys
from pipeline.operations.forgetting import forget_person
from pipeline.optimizations.ledger import open_ledger
from pipeline.settings import Settings
from tests.worlds.writing import InMemoryAccount, apply, approved, hours, roll_back

ADDRESS = "canary@example.com"
THEIR_HOUR, OTHER = "twenty-three", 7


def test_a_person_is_erased_from_the_journal_of_writes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, mailchimp_url="http://127.0.0.1:1/3.0", _env_file=None)  # type: ignore[call-arg]
    key = load_keys(settings).of_address(ADDRESS)
    made, account = hours(holdout_share=0.0), InMemoryAccount()
    account.people = [key, OTHER]
    account.fields["SENDHOUR"] = {key: THEIR_HOUR, OTHER: "9"}
    assigned = pl.DataFrame({"subscriber_key": [key, OTHER], "assigned_local_hour": [5, 6]})
    with open_ledger(settings) as ledger:
        approved(ledger, made)
        apply(ledger, made, account, tables={"send_time_assignments": assigned})
    assert any(holds(path, key) for path in ledger_files(settings))
    write_atomically(settings.exports_dir / "stuck-2026-06-29.csv", f"email_address\n{ADDRESS}\n".encode())
    forget_person(settings, ADDRESS)
    assert not settings.exports_dir.exists()
    assert not any(holds(path, key) for path in ledger_files(settings))
    with open_ledger(settings) as ledger:
        assert ledger.verify() == []
        roll_back(ledger, made, account)
    assert account.fields["SENDHOUR"] == {key: "5", OTHER: "9"}


def ledger_files(settings: Settings) -> list[Path]:
    return list((settings.data_dir / "ledger").iterdir())


def holds(path: Path, key: int) -> bool:
    content = path.read_bytes()
    return str(key).encode() in content or THEIR_HOUR.encode() in content
