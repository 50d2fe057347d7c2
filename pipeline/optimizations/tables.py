"""The ledger's tables, for SQLAlchemy, and the engine they are reached by. What they mean stands in `ledger`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent / "migrations"
OWNER_ONLY = 0o600
LOCK_WAIT_SECONDS = 30
# One writer at a time, whatever the host: the hash of an event covers the one before it.
POSTGRES_LOCK = 0x64726970

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
writes = sa.Table(
    "ledger_writes",
    metadata,
    sa.Column("optimization_id", sa.String(16), primary_key=True),
    # Key of a subscriber, or id of an e-mail: never an address.
    sa.Column("subject", sa.String(64), primary_key=True),
    sa.Column("field", sa.String(64), primary_key=True),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    # Null until Mailchimp answered; then 'written', or why it refused.
    sa.Column("outcome", sa.Text, nullable=True),
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

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _upgrade(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
