"""What an application set out to write and what came of it, kept beside the ledger: a crash is resumed from here."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from pipeline.optimizations.changes import Change
from pipeline.optimizations.tables import writes, writing

WRITTEN = "written"


class Journal:
    """Writes by record, subject and field; what stood before the first write is never overwritten."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def intend(self, optimization_id: str, changes: Iterable[Change]) -> None:
        """Remember what is about to be written, and what stands now, before anything is."""
        with writing(self._engine) as connection:
            of_record = sa.select(writes.c.subject, writes.c.field).where(writes.c.optimization_id == optimization_id)
            known = {tuple(row) for row in connection.execute(of_record)}
            rows = [
                {"optimization_id": optimization_id, "subject": one.subject, "field": one.field}
                | {"before": one.before, "after": one.after}
                for one in changes
            ]
            new = [row for row in rows if (row["subject"], row["field"]) not in known]
            again = [row for row in rows if (row["subject"], row["field"]) in known]
            if new:
                connection.execute(sa.insert(writes), new)
            if again:
                key = [writes.c[name] == sa.bindparam(f"_{name}") for name in ("optimization_id", "subject", "field")]
                update = sa.update(writes).where(*key).values(after=sa.bindparam("_after"), outcome=None)
                connection.execute(update, [{f"_{name}": value for name, value in row.items()} for row in again])

    def settle(self, optimization_id: str, outcomes: Sequence[tuple[Change, str]]) -> None:
        """Note what came of writes: `written`, or why Mailchimp refused."""
        if not outcomes:
            return
        key = [writes.c[name] == sa.bindparam(f"_{name}") for name in ("optimization_id", "subject", "field")]
        update = sa.update(writes).where(*key).values(outcome=sa.bindparam("_outcome"))
        rows = [
            {"_optimization_id": optimization_id, "_subject": one.subject, "_field": one.field, "_outcome": outcome}
            for one, outcome in outcomes
        ]
        with writing(self._engine) as connection:
            connection.execute(update, rows)

    def close(self, optimization_id: str) -> None:
        """Take what is still open for written."""
        is_open = (writes.c.optimization_id == optimization_id) & writes.c.outcome.is_(None)
        with writing(self._engine) as connection:
            connection.execute(sa.update(writes).where(is_open).values(outcome=WRITTEN))

    def reversed(self, optimization_id: str) -> list[Change]:
        """The way back: everything that was, or may have been, written, to what stood before."""
        touched = (writes.c.outcome.is_(None)) | (writes.c.outcome == WRITTEN)
        query = sa.select(writes).where(writes.c.optimization_id == optimization_id, touched)
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            rows = connection.execute(query.order_by(writes.c.subject, writes.c.field)).all()
        return [Change(row.subject, row.field, row.after, row.before) for row in rows]

    def outcomes(self, optimization_id: str) -> dict[str, int]:
        """How many writes had which outcome."""
        query = (
            sa.select(writes.c.outcome, sa.func.count())
            .where(writes.c.optimization_id == optimization_id)
            .group_by(writes.c.outcome)
        )
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return {outcome or "unsettled": count for outcome, count in connection.execute(query)}
