"""One writer to an account: others wait, are told when it takes too long, and a dead holder keeps nobody out."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from pipeline.common.errors import LedgerError
from pipeline.optimizations.account import lock
from pipeline.optimizations.account.lock import AccountBusyError
from pipeline.optimizations.ledger import Ledger


def test_a_second_writer_waits_until_the_first_has_ended(open_ledger: Callable[[], Ledger]) -> None:
    first, second = open_ledger(), open_ledger()
    order: list[str] = []

    def wait() -> None:
        with second.one_writer():
            order.append("second")

    with first.one_writer():
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(3 * lock.POLL_SECONDS)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_who_waits_too_long_is_told(open_ledger: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.2)
    first, second = open_ledger(), open_ledger()
    with (
        first.one_writer(),
        pytest.raises(AccountBusyError, match="Another driptune has been writing to the account"),
        second.one_writer(),
    ):
        pass


def test_a_writer_that_was_killed_keeps_nobody_out(open_ledger: Callable[[], Ledger], ledger_url: str) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with Ledger.open(ledger_url).one_writer():
                os.write(writing, b"held")
                time.sleep(600)
        finally:
            os.write(writing, b"lost")
            os._exit(1)
    assert os.read(reading, 4) == b"held"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    started = time.monotonic()
    with open_ledger().one_writer():
        assert time.monotonic() - started < 10


def test_a_writer_whose_session_ended_writes_no_more(postgres: str, ledger_url: str) -> None:
    if not ledger_url.startswith("postgresql"):
        pytest.skip("a lock on a file is not lost")
    ledger = Ledger.open(ledger_url)
    admin = sa.create_engine(ledger_url, isolation_level="AUTOCOMMIT")
    with ledger.one_writer() as hold, admin.connect() as connection:
        hold()
        end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        connection.execute(sa.text(end))
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"holds the account's lock was lost.*Nothing more is written"):
                hold()
    admin.dispose()
    ledger.close()


def test_an_edited_ledger_writes_nothing(ledger: Ledger, ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        row = "('0123456789abcdef', 'delay', 'x', 'approved', 1, '')"
        columns = "(optimization_id, kind, target, status, revision, evidence_hash)"
        connection.execute(sa.text(f"INSERT INTO ledger_states {columns} VALUES {row}"))
    engine.dispose()
    with pytest.raises(LedgerError, match=r"stands in only one of events and states.*nothing is written by it"):
        ledger.one_writer().__enter__()
