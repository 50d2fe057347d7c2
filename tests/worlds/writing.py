"""Records that write, an account in memory that can fail, and power cuts."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

import polars as pl

from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account import rollback as rollbacks
from pipeline.optimizations.account.writing import BATCH
from pipeline.optimizations.changes import Change, Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal, Record
from pipeline.optimizations.review import Seen
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.worlds.holdouts import holdouts

PEOPLE = 2 * BATCH + 100
FIRST_DAY, LATER = date(2026, 6, 30), date(2026, 7, 14)
PLACES = ("started", "intended", "written", "settled", "before the record")
REFUSED = "refused: Mailchimp answered 400"
HOURS = pl.DataFrame({"subscriber_key": range(PEOPLE), "assigned_local_hour": [key % 24 for key in range(PEOPLE)]})


@cache
def tables_tonight() -> dict[str, pl.DataFrame]:
    """What is published. No constant, because a process that is to fork must not have computed with Polars."""
    return {"send_time_assignments": HOURS, "holdouts": holdouts()}


class PowerCut(BaseException):
    """Ends the process where it stands."""


def cut_at(place: str, times: int = 1) -> Callable[[str], None]:
    """A power cut when the place is reached that many times."""
    left = times

    def cut(reached: str) -> None:
        nonlocal left
        if reached == place:
            left -= 1
            if left == 0:
                raise PowerCut

    return cut


class InMemoryAccount:
    """An account that counts what it is asked to write.

    Attributes:
        fields: what each merge field holds, by subscriber key.
        people: keys of those who get mail.
        refused: keys of those whose writes are refused.
        is_deaf: whether writes are accepted without effect.
        clock: the time by the account.
        before_write: called before each single write, such as for an edit by a person.
    """

    def __init__(self, people: int = PEOPLE, refused: frozenset[int] = frozenset()) -> None:
        self.fields: dict[str, dict[int, str]] = {}
        self.people: Sequence[int] = range(people)
        self.refused = refused
        self.emails: dict[str, dict[str, Any]] = {"mail": {"status": "paused", "delay": {"amount": 1, "type": "day"}}}
        self.writes = 0
        self.is_deaf = False
        self.clock = NOW
        self.before_write: Callable[[int], None] = lambda key: None

    def now(self) -> datetime:
        return self.clock

    def members(self, field: str, workflow_id: str | None) -> pl.DataFrame:
        held = self.fields.get(field, {})
        rows = [(key, held.get(key) or None) for key in self.people]
        return pl.DataFrame(rows, schema={"subscriber_key": pl.Int64, "current": pl.String}, orient="row")

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        return self.emails[email_id]

    def ensure_field(self, field: str) -> None:
        self.fields.setdefault(field, {})

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> str:
        key = int(change.subject)
        self.before_write(key)
        if key in self.refused:
            return REFUSED
        if self.fields[change.field].get(key, "") != change.before:
            return Outcome.TAKEN
        self.writes += 1
        if not self.is_deaf:
            self.fields[change.field][key] = change.after
        return Outcome.WRITTEN

    def write_email(self, workflow_id: str, change: Change) -> str:
        if self.emails[change.subject]["status"] != change.before:
            return Outcome.TAKEN
        self.writes += 1
        if not self.is_deaf:
            self.emails[change.subject]["status"] = change.after
        return Outcome.WRITTEN


def hours(**changes: Any) -> Proposal:
    """Each member's own hour, from a published table."""
    after = {"field": "SENDHOUR", "source": "send_time_assignments", "column": "assigned_local_hour"}
    given = {"kind": Kind.SEND_TIME, "target": "account", "apply_kind": ApplyKind.MEMBER_FIELDS, "after": after}
    return proposal(**{**given, **changes})


def winner() -> Proposal:
    """Arm B for everybody but those kept out, who hold A."""
    after = {"field": "ARM", "value": "B", "holdout_value": "A"}
    return proposal(kind=Kind.EXPERIMENT_WINNER, target="test", apply_kind=ApplyKind.MEMBER_FIELDS, after=after)


def start() -> Proposal:
    """An automation's e-mail that is to be started."""
    after = {"operation": "start", "workflow_id": "cart", "email_id": "mail"}
    return proposal(kind=Kind.STUCK, target="cart", apply_kind=ApplyKind.API_PATCH, after=after)


def by_hand() -> Proposal:
    """A change that a person makes, after those kept out were marked."""
    return proposal(after={"delay_hours": 48, "field": "KEEP", "holdout_value": "out"})


def rollback_of(record: Record) -> Proposal:
    """The way back of a record that writes hours."""
    after = {"roll_back": record.optimization_id, "field": "SENDHOUR"}
    return proposal(kind=Kind.ROLLBACK, target=record.optimization_id, apply_kind=ApplyKind.MEMBER_FIELDS, after=after)


def approved(ledger: Ledger, made: Proposal) -> Record:
    """The record of a proposal, proposed and approved."""
    ledger.propose([made], now=NOW, approval_policy=POLICY)
    return review.approve(ledger, POLICY, Seen.of(ledger.record(made.optimization_id)), actor="mara", now=NOW)


def apply(ledger: Ledger, made: Proposal, account: InMemoryAccount, **terms: Any) -> Record:
    """Apply it on the first day, with `terms` in place of the ordinary ones."""
    given = {"approval_policy": POLICY, "standing": [made], "first_day": FIRST_DAY, "now": NOW, **terms}
    tables = given.pop("tables", None) or tables_tonight()
    return applications.apply(ledger, made.optimization_id, account, tables, **given)


def roll_back(ledger: Ledger, made: Proposal, account: InMemoryAccount, **terms: Any) -> Record:
    """Roll it back for complaints, with `terms` in place of the ordinary ones."""
    given = {"actor": "noor", "reason": "Complaints rose.", "first_day": LATER, "now": NOW, **terms}
    return rollbacks.roll_back(ledger, made.optimization_id, account, **given)


def expected(made: Proposal, assigned: pl.DataFrame = HOURS) -> dict[int, str]:
    """What everybody but those kept out is to hold, by key."""
    out = is_held_out(assigned["subscriber_key"], made.optimization_id, made.holdout_share)
    return {key: str(hour) for (key, hour), is_out in zip(assigned.rows(), out, strict=True) if not is_out}
