"""The journal of writes becomes part of the chain of events.

Lines of an older release are taken over as they stand: what happened to them before cannot be told.
"""

import secrets
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from pipeline.optimizations.record import canonical, digest
from pipeline.optimizations.states import event_hash

revision = "0003"
down_revision = "0002"

ADOPTED, ACTOR = "journal_adopted", "driptune"


def upgrade() -> None:
    """Make the new table, take over the lines of the old one, and take that away."""
    op.create_table(
        "ledger_journal",
        sa.Column("optimization_id", sa.String(16), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("subject", sa.String(64), nullable=True, index=True),
        sa.Column("field", sa.String(64), nullable=False),
        sa.Column("before", sa.Text, nullable=True),
        sa.Column("after", sa.Text, nullable=True),
        sa.Column("salt", sa.String(32), nullable=True),
        sa.Column("commitment", sa.String(64), nullable=False),
        sa.Column("outcome", sa.Text, nullable=True),
    )
    connection = op.get_bind()
    old = sa.table("ledger_writes", *(sa.column(name) for name in _COLUMNS))
    batches: dict[tuple[str, bool], list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(sa.select(old).order_by(*(sa.column(name) for name in _COLUMNS[:3]))):
        batches[row.optimization_id, row.outcome is not None].append(dict(row._mapping))
    for (optimization_id, is_settled), rows in sorted(batches.items()):
        _adopt(connection, optimization_id, rows, is_settled)
    op.drop_table("ledger_writes")


_COLUMNS = ("optimization_id", "subject", "field", "before", "after", "outcome")
_TEXTS = ("optimization_id", "event_type", "actor", "occurred_at", "payload", "previous_hash", "hash")
_EVENTS = sa.table("ledger_events", sa.column("sequence"), sa.column("revision"), *(sa.column(one) for one in _TEXTS))
_STATES = sa.table("ledger_states", sa.column("optimization_id"), sa.column("revision"))
_JOURNAL = sa.table(
    "ledger_journal", sa.column("revision"), sa.column("position"), sa.column("salt"), sa.column("commitment"),
    *(sa.column(name) for name in _COLUMNS),
)  # fmt: skip


def _adopt(connection: sa.Connection, optimization_id: str, rows: list[dict[str, Any]], is_settled: bool) -> None:
    """Put lines of one record behind the last event of the chain; those not yet settled make a batch of their own."""
    of_record = _EVENTS.c.optimization_id == optimization_id
    last = connection.scalar(sa.select(sa.func.max(_EVENTS.c.revision)).where(of_record))
    head = connection.execute(sa.select(_EVENTS).order_by(_EVENTS.c.sequence.desc()).limit(1)).one()
    following = int(last or 0) + 1
    for position, row in enumerate(rows):
        row |= {"revision": following, "position": position, "salt": secrets.token_hex(16)}
        row["commitment"] = digest([row[name] for name in ("salt", "subject", "field", "before", "after")])
    payload: dict[str, Any] = {"writes": len(rows), "commitments": digest([row["commitment"] for row in rows])}
    if is_settled:
        payload["outcomes"] = digest([[following, row["position"], row["outcome"]] for row in rows])
    said = (optimization_id, following, ADOPTED, ACTOR, datetime.now(UTC).isoformat(), canonical(payload), head.hash)
    event = dict(zip(("optimization_id", "revision", *_TEXTS[1:6]), said, strict=True))
    connection.execute(sa.insert(_EVENTS), [{"sequence": head.sequence + 1, **event, "hash": event_hash(*said)}])
    connection.execute(sa.insert(_JOURNAL), rows)
    of_state = _STATES.c.optimization_id == optimization_id
    connection.execute(sa.update(_STATES).where(of_state).values(revision=following))
