"""Letting people into a flow under a record in effect: nobody twice, whatever happens between the call and its answer.

A person is noted in the journal before the call, and the answer after it. A line without an answer was perhaps carried
out. It counts as unknown, and the person is never let in again. Who is due when is decided in `decisions.releases`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

import polars as pl

from pipeline.common.time import DAY_US
from pipeline.decisions.releases import due, expected, moments
from pipeline.optimizations.account.refusals import NotApplicableError
from pipeline.optimizations.account.writing import Checkpoint
from pipeline.optimizations.changes import REFUSED, Change
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, Record
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import ReleaseOutcome

NOT_SENT = "not sent"
"""First words of the outcome of a call that surely had no effect; the reason follows. The person still waits."""
OUTSIDE, INSIDE = "waiting", "released"
"""What a line of the journal says of a person before and after the call."""
SIDE_BY_SIDE = 8
"""People noted at a time, and let in side by side: as many as a crash may leave unknown."""
MOST_FAULTS = 3
"""Calls that may fail because of the API until nobody else is tried."""
BUSY_SECONDS = 60.0
"""How long to wait for another writer. The next tick comes soon."""
_AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Answer:
    """What came of letting one person in.

    Attributes:
        outcome: 'released', 'unknown', or 'refused' or 'not sent' with the reason.
        fault: what is wrong with the API or with the start, and not with this person; none if nothing is.
    """

    outcome: str
    fault: str | None = None


class Door(Protocol):
    """What lets people into a flow."""

    def let_in(self, keys: Sequence[int]) -> list[Answer]:
        """Let each of these subscribers in, by a single call each; the answers in their order."""


@dataclass(frozen=True)
class Terms:
    """What bounds the releases of a record.

    Attributes:
        plan: rows of `release_plan` of its flow.
        hourly_cap: most people within an hour.
        is_stopped: whether somebody has stopped all releases; asked again and again.
    """

    plan: pl.DataFrame
    hourly_cap: int
    is_stopped: Callable[[], bool]


@dataclass(frozen=True)
class Released:
    """What one look at a record came to, and why it ended early, if it did."""

    outcomes: Counter[str]
    why: str | None = None

    def __str__(self) -> str:
        """The counts in words, and the reason."""
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items())) or "nobody is due"
        return f"{told}. {self.why}" if self.why else told


def of_flow(workflow_id: str | None) -> str:
    """The field of the journal's lines about people let into a flow, by whatever start and record."""
    return f"release {workflow_id}"


def releases_in_charge(records: Iterable[Record]) -> list[Record]:
    """The records under which people are let in: of several for one flow, or for its late people, the one applied last.

    Late people are let in only as long as the flow is released at all.
    """
    standing = [one for one in records if one.proposal.kind is Kind.RELEASE and one.status in IN_EFFECT]
    ordered = sorted(standing, key=lambda one: (one.applied_day or date.max, one.decided_at or one.created_at))
    latest = {one.proposal.target: one for one in ordered}
    return [one for one in latest.values() if one.proposal.workflow_id in latest]


def moments_of(record: Record, plan: pl.DataFrame) -> pl.DataFrame:
    """The moments of those whom a record lets in (`decisions.releases.moments`), by the plan of its flow."""
    late_until = record.proposal.after.get("late_until")
    day = None if late_until is None else date.fromisoformat(late_until)
    return moments(plan, record.optimization_id, record.proposal.holdout_share, day)


def release(
    ledger: Ledger,
    optimization_id: str,
    door: Callable[[Record, Sequence[int]], Door],
    terms: Terms,
    *,
    now: datetime,
    checkpoint: Checkpoint = lambda place: None,
) -> Released:
    """Let in everybody who is due under a record.

    Args:
        ledger: where the record stands.
        optimization_id: the record.
        door: makes what lets these people in, once somebody is due.
        terms: what bounds it.
        now: the time.
        checkpoint: told of each place at which a crash must let nobody in twice.

    Raises:
        NotApplicableError: if the record is not in effect, or another one is in charge of its flow.
        AccountBusyError: if another process writes to the account.
        LedgerError: if the ledger was edited.
        StaleRecordError: if the record has moved on.
        SourceError: if Mailchimp cannot be reached at all. Nobody was noted then.
    """
    with ledger.one_writer(BUSY_SECONDS) as hold:
        record = _in_charge(ledger, optimization_id)
        record = _settle_cut(ledger, record, now)
        noted = ledger.journal.noted(of_flow(record.proposal.workflow_id))
        reached = due(moments_of(record, terms.plan), taken(noted), now)
        people = reached.filter(~pl.col("is_late"))["subscriber_key"].to_list()
        outcomes: Counter[str] = Counter({str(ReleaseOutcome.LATE): reached.height - len(people)})
        room = room_for(record, noted, terms.hourly_cap, now)
        waiting = people[:room]
        why = None if room >= len(people) else f"The cap of an hour or the total lets in {room:,} now."
        faults: list[str] = []
        opened = door(record, waiting) if waiting and not terms.is_stopped() else None
        while opened and waiting and len(faults) < MOST_FAULTS and not terms.is_stopped():
            batch, waiting = waiting[:SIDE_BY_SIDE], waiting[SIDE_BY_SIDE:]
            hold()
            record, answers = _let_in(ledger, record, opened, batch, now, checkpoint)
            outcomes.update(_word(one.outcome) for one in answers)
            faults += [one.fault for one in answers if one.fault]
        if faults:
            why = f"Mailchimp failed, so nobody else was tried. {faults[-1]}"
        elif waiting:
            why = "Releases are stopped. `driptune release --go` lets them go on."
        ended = (ReleaseOutcome.RELEASED, ReleaseOutcome.REFUSED, ReleaseOutcome.UNKNOWN)
        outcomes[ReleaseOutcome.WAITING] = len(people) - sum(outcomes[word] for word in ended)
        return Released(+outcomes, why)


def expected_by_hour(ledger: Ledger, record: Record, terms: Terms, now: datetime) -> list[int]:
    """How many people would be let in within each of the next 24 hours."""
    noted = ledger.journal.noted(of_flow(record.proposal.workflow_id))
    people = moments_of(record, terms.plan)
    room = _left_of_total(record, noted)
    return expected(people, taken(noted), now, hourly_cap=terms.hourly_cap, room=room)


def still_planned(plan: pl.DataFrame, waits: pl.DataFrame) -> pl.DataFrame:
    """The plan without those whose wait was written after it was made. The plan of the next night knows their wait.

    Args:
        plan: rows of `release_plan` of one flow.
        waits: rows of `Journal.settled` of the field that holds the waits.
    """
    made_us = pl.col("as_of_day").dt.epoch("us") + DAY_US
    latest = waits.group_by(subscriber_key=pl.col("subject").cast(pl.Int64)).agg(pl.col("read_us").max())
    known = plan.join(latest, on="subscriber_key", how="left", maintain_order="left")
    return known.filter((pl.col("read_us") < made_us).fill_null(True)).drop("read_us")


def taken(noted: pl.DataFrame) -> pl.Series:
    """Keys of those who were let in, were refused, or were perhaps let in (rows of `Journal.noted`)."""
    return noted.filter(_counts() & pl.col("subject").is_not_null())["subject"].cast(pl.Int64)


def room_for(record: Record, noted: pl.DataFrame, hourly_cap: int, now: datetime) -> int:
    """How many more people may be let in now, by the cap of an hour and by the total of the approval."""
    since = now - _AN_HOUR
    lately = noted.filter(_was_let_in() & (pl.col("noted_at") > since)).height
    return max(0, min(hourly_cap - lately, _left_of_total(record, noted)))


def _left_of_total(record: Record, noted: pl.DataFrame) -> int:
    own = noted.filter(_was_let_in() & (pl.col("optimization_id") == record.optimization_id)).height
    return max(0, int(record.proposal.after["most"]) - own)


def _counts() -> pl.Expr:
    return ~pl.col("outcome").fill_null(ReleaseOutcome.UNKNOWN).str.starts_with(NOT_SENT)


def _was_let_in() -> pl.Expr:
    """Those who were let in, and those who perhaps were."""
    return pl.col("outcome").fill_null(ReleaseOutcome.UNKNOWN).is_in([ReleaseOutcome.RELEASED, ReleaseOutcome.UNKNOWN])


def _in_charge(ledger: Ledger, optimization_id: str) -> Record:
    standing = {one.optimization_id: one for one in releases_in_charge(ledger.records(*IN_EFFECT))}
    if optimization_id not in standing:
        raise NotApplicableError(
            f"Nobody is let in under {optimization_id}: it is not in effect, or another one is in charge of its flow."
        )
    return standing[optimization_id]


def _settle_cut(ledger: Ledger, record: Record, now: datetime) -> Record:
    """Note as unknown what a crash left without an answer."""
    lines = ledger.journal.writes(record.optimization_id)
    cut = {(one.revision, one.position): str(ReleaseOutcome.UNKNOWN) for one in lines if one.outcome is None}
    return ledger.journal.settle(record, cut, now=now)


def _let_in(
    ledger: Ledger, record: Record, door: Door, people: Sequence[int], now: datetime, checkpoint: Checkpoint
) -> tuple[Record, list[Answer]]:
    field = of_flow(record.proposal.workflow_id)
    record = ledger.journal.intend(record, [Change(str(key), field, OUTSIDE, INSIDE) for key in people], now=now)
    checkpoint("intended")
    answers = door.let_in(people)
    checkpoint("called")
    told = {(record.revision, position): one.outcome for position, one in enumerate(answers)}
    record = ledger.journal.settle(record, told, now=now)
    checkpoint("settled")
    return record, answers


def _word(outcome: str) -> str:
    """The word under which an outcome is counted: that of a refusal stands before its reason."""
    if outcome.startswith(NOT_SENT):
        return str(ReleaseOutcome.WAITING)
    return str(ReleaseOutcome.REFUSED) if outcome.startswith(REFUSED) else str(outcome)
