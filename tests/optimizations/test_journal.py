"""The journal is part of the chain: every edit of it is found, and a person can be erased without breaking it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from pipeline.common.errors import LedgerError
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW
from tests.worlds.writing import (
    HOURS,
    REFUSED,
    InMemoryAccount,
    apply,
    approved,
    expected,
    hours,
    roll_back,
    tables_tonight,
)

FEW = 12
OLD_HOUR, CANARY_HOUR = "9 o'clock", "canary value"
CANARY_KEY = 4_611_686_018_427_387_904


def applied(ledger: Ledger, people: int = FEW) -> InMemoryAccount:
    approved(ledger, hours())
    [unlucky] = list(expected(hours()))[:1]
    account = InMemoryAccount(people=people, refused=frozenset({unlucky}))
    account.fields["SENDHOUR"] = dict.fromkeys(range(people), OLD_HOUR)
    apply(ledger, hours(), account)
    return account


def edit(url: str, sql: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        assert connection.execute(sa.text(sql)).rowcount > 0
    engine.dispose()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ledger_journal SET before = 'evil' WHERE position = 3",
        "UPDATE ledger_journal SET after = 'evil' WHERE position = 3",
        "UPDATE ledger_journal SET subject = '99' WHERE position = 3",
        "UPDATE ledger_journal SET field = 'OTHER' WHERE position = 3",
        "UPDATE ledger_journal SET salt = '00' WHERE position = 3",
        "UPDATE ledger_journal SET commitment = '00' WHERE position = 3",
        "UPDATE ledger_journal SET position = 77 WHERE position = 3",
        "UPDATE ledger_journal SET outcome = 'written' WHERE outcome <> 'written'",
        "UPDATE ledger_journal SET outcome = NULL WHERE position = 3",
        "UPDATE ledger_journal SET subject = NULL, before = NULL, after = NULL, salt = NULL WHERE position = 3",
        "DELETE FROM ledger_journal WHERE position = 3",
        "DELETE FROM ledger_journal",
        "INSERT INTO ledger_journal SELECT optimization_id, revision, 99, subject, field, before, after, salt, "
        "commitment, outcome FROM ledger_journal WHERE position = 3",
        "INSERT INTO ledger_journal SELECT optimization_id, 99, 0, subject, field, before, after, salt, "
        "commitment, outcome FROM ledger_journal WHERE position = 3",
    ],
)
def test_every_edit_of_the_journal_is_found(ledger: Ledger, ledger_url: str, sql: str) -> None:
    applied(ledger)
    assert ledger.verify() == []
    edit(ledger_url, sql)
    [first, *_] = ledger.verify()
    assert first.startswith(f"The journal of {hours().optimization_id} was edited:")


def test_lines_that_nobody_settled_are_in_the_chain_too(ledger: Ledger, ledger_url: str) -> None:
    record = approved(ledger, hours())
    account = InMemoryAccount(people=FEW)

    def stop(place: str) -> None:
        if place == "intended":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(ledger, hours(), account, checkpoint=stop)
    assert {write.outcome for write in ledger.journal.writes(record.optimization_id)} == {None}
    assert ledger.verify() == []
    edit(ledger_url, "UPDATE ledger_journal SET outcome = 'written' WHERE position = 3")
    assert ledger.verify()


def test_outcomes_are_counted_by_the_last_line_of_each_subject(ledger: Ledger) -> None:
    account = applied(ledger)
    counts = ledger.journal.outcomes(hours().optimization_id)
    assert counts == {Outcome.WRITTEN: account.writes, REFUSED: 1}


def test_a_forgotten_person_leaves_the_chain_whole_and_everybody_else_where_they_were(ledger: Ledger) -> None:
    account = applied(ledger)
    gone = list(expected(hours()))[1]
    before = ledger.journal.writes(hours().optimization_id)
    assert ledger.forget(str(gone), now=NOW) == 1
    assert ledger.verify() == []
    after = ledger.journal.writes(hours().optimization_id)
    assert [one for one in after if one.subject is not None] == [one for one in before if one.subject != str(gone)]
    [erased] = [one for one in after if one.subject is None]
    assert (erased.before, erased.after, erased.outcome) == (None, None, Outcome.WRITTEN)
    assert ledger.forget(str(gone), now=NOW) == 0
    # The way back knows nothing of them any more, and leaves them alone.
    assert roll_back(ledger, hours(), account).status is Status.ROLLED_BACK
    assert account.fields["SENDHOUR"] == {
        key: expected(hours())[key] if key == gone else OLD_HOUR for key in range(FEW)
    }


def test_what_was_erased_cannot_be_filled_in_again(ledger: Ledger, ledger_url: str) -> None:
    applied(ledger)
    gone = str(list(expected(hours()))[1])
    ledger.forget(gone, now=NOW)
    edit(
        ledger_url,
        f"UPDATE ledger_journal SET subject = '{gone}', before = 'x', after = 'y', salt = '00' WHERE subject IS NULL",
    )
    assert ledger.verify()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Ledger, Path]]:
    """A ledger in a file that holds a canary among six hundred others, and its folder."""
    folder = tmp_path / "ledger"
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    made = hours(holdout_share=0.0)
    approved(ledger, made)
    account = InMemoryAccount()
    account.people = [CANARY_KEY, *range(600)]
    account.fields["SENDHOUR"] = {CANARY_KEY: CANARY_HOUR}
    row = pl.DataFrame({"subscriber_key": [CANARY_KEY], "assigned_local_hour": [7]})
    apply(ledger, made, account, tables={**tables_tonight(), "send_time_assignments": pl.concat([row, HOURS])})
    yield ledger, folder
    ledger.close()


def is_in(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.iterdir())


def test_no_byte_of_a_forgotten_person_stays_in_the_files(file: tuple[Ledger, Path]) -> None:
    """Neither in pages, nor in free pages, nor in the log beside them."""
    ledger, folder = file
    assert is_in(folder, str(CANARY_KEY))
    assert is_in(folder, CANARY_HOUR)
    assert ledger.forget(str(CANARY_KEY), now=NOW) == 1
    assert not is_in(folder, str(CANARY_KEY))
    assert not is_in(folder, CANARY_HOUR)
    assert ledger.verify() == []


def test_who_reads_the_file_meanwhile_is_told_of_and_the_next_try_finishes(
    file: tuple[Ledger, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = file
    monkeypatch.setattr("pipeline.optimizations.tables.LOCK_WAIT_SECONDS", 0.1)
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    reader = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM ledger_journal").fetchone()
    with pytest.raises(LedgerError, match="Another program reads the ledger"):
        ledger.forget(str(CANARY_KEY), now=NOW)
    reader.close()
    assert ledger.forget(str(CANARY_KEY), now=NOW) == 0
    assert not is_in(folder, CANARY_HOUR)
    ledger.close()
