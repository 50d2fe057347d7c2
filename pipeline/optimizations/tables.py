"""The ledger's tables, for SQLAlchemy, and the engine they are reached by. What they mean stands in `ledger`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline.common.errors import LedgerError

MIGRATIONS = Path(__file__).parent / "migrations"
REVISIONS = "alembic_version"
"""The table in which Alembic notes the revision of the ledger's tables."""
OWNER_ONLY = 0o600
AUTOCOMMIT = "AUTOCOMMIT"
LOCK_WAIT_SECONDS = 30
POSTGRES_LOCK = 0x64726970
"""Lock that lets one writer at a time into the ledger, whatever the host: an event's hash covers the one before it."""

metadata = sa.MetaData()
events = sa.Table(
    "ledger_events",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("optimization_id", sa.String(16), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("event_type", sa.String(32), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("occurred_at", sa.String(40), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.UniqueConstraint("optimization_id", "revision"),
)
states = sa.Table(
    "ledger_states",
    metadata,
    sa.Column("optimization_id", sa.String(16), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("evidence_hash", sa.String(64), nullable=False),
    # Kind and target while the record is open, else null: the database itself refuses a second one.
    sa.Column("open_target", sa.Text, unique=True),
)
journal = sa.Table(
    "ledger_journal",
    metadata,
    sa.Column("optimization_id", sa.String(16), primary_key=True),
    # Revision of the event that put the line into the chain, and the line's place below it.
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    # Key of a subscriber, or id of an e-mail, never an address. With the values null once the person was forgotten.
    sa.Column("subject", sa.String(64), nullable=True, index=True),
    sa.Column("field", sa.String(64), nullable=False),
    sa.Column("before", sa.Text, nullable=True),
    sa.Column("after", sa.Text, nullable=True),
    sa.Column("salt", sa.String(32), nullable=True),
    sa.Column("commitment", sa.String(64), nullable=False),
    # Null until the account was read back; then 'written', or what else came of it.
    sa.Column("outcome", sa.Text, nullable=True),
)

key = sa.Table(
    "ledger_key",
    metadata,
    # Of the secret that the keys of subscribers are made with.
    sa.Column("fingerprint", sa.String(64), primary_key=True),
)


def open_engine(url: str) -> sa.Engine:
    """An engine for the ledger at `url`, its tables brought to the newest revision."""
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite":
        engine = sa.create_engine(address, pool_pre_ping=True)
    else:
        engine = _sqlite(address)
    _upgrade(engine)
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that no other writer enters until it ends."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(POSTGRES_LOCK)))
        yield connection


def reading(engine: sa.Engine) -> sa.Connection:
    """A connection for one query; it waits for no writer."""
    return engine.connect().execution_options(isolation_level=AUTOCOMMIT)


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose queries all see the database as it is at the first of them, whoever writes meanwhile."""
    is_postgres = engine.dialect.name == "postgresql"
    with reading(engine) as connection:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if is_postgres else "BEGIN")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")


def erase_remains(engine: sa.Engine) -> None:
    """Overwrite what deleted and changed rows leave in the database's files.

    Raises:
        LedgerError: if another program reads the file, so that its old pages cannot be overwritten.
    """
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"VACUUM FULL {journal.name}")
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("VACUUM")
            is_busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            if is_busy:
                raise LedgerError(
                    "Another program reads the ledger, so what was erased still stands in a file beside it. "
                    "Stop `driptune up` and other readers, then run the command again."
                )


def _sqlite(address: sa.URL) -> sa.Engine:
    if address.database:
        path = Path(address.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=OWNER_ONLY)
    engine = sa.create_engine(address, connect_args={"timeout": LOCK_WAIT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver's own BEGIN comes too late to keep a second writer out.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # What is deleted is overwritten, so that a forgotten person leaves no byte in free pages.
        connection.execute("PRAGMA secure_delete=ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # SQLAlchemy tells of a begin in its autocommit mode too, where there must be none.
        if connection.get_execution_options().get("isolation_level") != AUTOCOMMIT:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _upgrade(engine: sa.Engine) -> None:
    """Bring the tables to the newest revision, which the names of the migrations tell.

    Alembic is imported only if there is something to do: most commands find nothing, and people wait for them.
    """
    newest = max(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    with reading(engine) as connection:
        if _revision(connection) == newest:
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(REVISIONS):
        return None
    return connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(REVISIONS)))
