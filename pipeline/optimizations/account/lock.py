"""The lock of the account: one writer at a time, on whatever host.

The account is one, and everybody who writes to it keeps the same ledger. So the lock is the ledger's. For a ledger in a
SQLite file, which one host alone can use, it is a lock on a file beside it. For a ledger in PostgreSQL it is an
advisory lock of a session. Both end with the process that holds them, however it ends. Neither is lost by a process
that was paused, as a lease with a time limit would be.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from pipeline.common.errors import LedgerError
from pipeline.common.lock import POLL_SECONDS, WarehouseBusyError, exclusive
from pipeline.optimizations.tables import reading

WAIT_SECONDS = 900.0
"""A writer waits for another one this long: longer than an application to 100,000 members takes on a fast line."""
ACCOUNT_LOCK = 0x64726971
# A host that lost its power is noticed by the server after about a minute; by default it takes two hours.
_KEEPALIVE = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"

Hold = Callable[[], None]
"""Raises a `LedgerError` if the lock was lost meanwhile; to be called before each batch of writes."""


class AccountBusyError(LedgerError):
    """Another process wrote to the account for longer than this one was told to wait."""


@contextmanager
def account_lock(engine: sa.Engine, wait_seconds: float | None = None) -> Iterator[Hold]:
    """Hold the lock of the account whose ledger the engine reaches, for the time of the block.

    Args:
        engine: the ledger's database.
        wait_seconds: how long to wait for another writer; none = `WAIT_SECONDS`.

    Raises:
        AccountBusyError: if another process held the lock for longer.
        LedgerError: if the database is of a kind for which there is no lock.
    """
    wait = WAIT_SECONDS if wait_seconds is None else wait_seconds
    with ExitStack() as stack:
        if engine.dialect.name == "sqlite":
            yield stack.enter_context(_of_file(Path(str(engine.url.database)), wait))
        elif engine.dialect.name == "postgresql":
            yield stack.enter_context(_of_session(engine, wait))
        else:
            raise LedgerError(
                f"The ledger is kept in {engine.dialect.name}, for which driptune knows no lock that keeps a second "
                "writer from the account. Keep it in SQLite or in PostgreSQL."
            )


@contextmanager
def _of_file(database: Path, wait_seconds: float) -> Iterator[Hold]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(database.with_suffix(".account.lock"), wait_seconds))
        except WarehouseBusyError:
            raise _busy(wait_seconds) from None
        yield lambda: None


@contextmanager
def _of_session(engine: sa.Engine, wait_seconds: float) -> Iterator[Hold]:
    connection = reading(engine)
    try:
        connection.exec_driver_sql(_KEEPALIVE)
        session = connection.scalar(sa.select(sa.func.pg_backend_pid()))
        deadline = time.monotonic() + wait_seconds
        while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(ACCOUNT_LOCK))):
            if time.monotonic() >= deadline:
                raise _busy(wait_seconds)
            time.sleep(POLL_SECONDS)

        def hold() -> None:
            try:
                is_held = connection.scalar(sa.select(sa.func.pg_backend_pid())) == session
            except sa.exc.SQLAlchemyError:
                is_held = False
            if not is_held:
                raise LedgerError(
                    "The connection to the ledger that holds the account's lock was lost, so another writer may be at "
                    "it. Nothing more is written. Run the command again: it goes on where this one stopped."
                )

        yield hold
    finally:
        # The server frees the lock with the session; a connection that went back to the pool would keep it.
        connection.invalidate()
        connection.close()


def _busy(wait_seconds: float) -> AccountBusyError:
    return AccountBusyError(
        f"Another driptune has been writing to the account for over {wait_seconds:.0f} s. Wait for it to end, then run "
        "the command again."
    )
