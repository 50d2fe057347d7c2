"""What an approved record changes, subject by subject, and what its earlier writes say about a value that stands.

Everything here is pure: what the account holds, what it should hold and what was written before are given.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from pipeline.analysis.experiments.holdouts import kept_out
from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations.record import Record, canonical

STATUS_OF = {"start": "sending", "pause": "paused"}
"""Status of an automation's e-mail after each operation on it."""
MOST_EXAMPLES = 5
"""Number of kinds of change that a plan tells in words."""


class Outcome(StrEnum):
    """What came of a write, as the account tells when it is read back. A refusal is a text of its own."""

    WRITTEN = "written"
    HELD = "held already"
    LOST = "not there when read back"
    MISSED = "not found, although it is listed"
    CUT = "not written, the run was cut short"
    TAKEN = "set by somebody else meanwhile"
    GONE = "no longer a member who gets mail"
    FORGOTTEN = "forgotten"


REFUSED = "refused"
"""First word of the outcome of a write that Mailchimp did not accept; the reason follows."""


@dataclass(frozen=True)
class Change:
    """One field of one subject, from what stands to what should.

    `subject` is a subscriber's key or the id of an e-mail. Where `before` equals `after` nothing is written: the
    journal only notes that the subject held the value already.
    """

    subject: str
    field: str
    before: str
    after: str

    @property
    def is_write(self) -> bool:
        """Whether anything has to be written."""
        return self.before != self.after


@dataclass(frozen=True)
class Write:
    """One line of the journal: a change, where it stands there, and what came of it.

    `revision` is that of the event which put the line into the chain, `position` the line's place below it. Subject and
    values are none once the person was forgotten; `outcome` is none until the account was read back.
    """

    revision: int
    position: int
    subject: str | None
    field: str
    before: str | None
    after: str | None
    outcome: str | None


@dataclass(frozen=True)
class Trace:
    """What a record's writes say about one subject.

    Attributes:
        original: the value before the first write.
        ours: values that stand because of the record, or stood when it came. Any other value was set by somebody else.
        is_written: whether anything was, or may have been, written.
    """

    original: str
    ours: frozenset[str]
    is_written: bool


@dataclass(frozen=True)
class ChangePlan:
    """All changes of a record, and how many subjects need none.

    Attributes:
        changes: what is to be written, in the order of the subjects.
        noted: subjects that hold the value already and are not in the journal yet.
        unchanged: number of subjects that hold the value already.
        held_out: number of people kept out, against whom the effect is measured.
        kept_out: number of people whom a hold-out of holdouts.yaml keeps out. Nothing is written to them.
        unreachable: number of people with a value but no member in Mailchimp who could hold it.
        left: number of subjects whose value somebody else has set since; it is not overwritten.
    """

    changes: tuple[Change, ...]
    noted: tuple[Change, ...] = ()
    unchanged: int = 0
    held_out: int = 0
    kept_out: int = 0
    unreachable: int = 0
    left: int = 0

    def lines(self) -> list[str]:
        """The plan in words: counts, the commonest changes, and examples."""
        counts = [
            f"{len(self.changes):,} to write",
            f"{self.unchanged:,} hold the value already",
            f"{self.held_out:,} held out",
        ]
        if self.kept_out:
            counts.append(f"{self.kept_out:,} kept out by holdouts.yaml")
        if self.unreachable:
            counts.append(f"{self.unreachable:,} without a member to write to")
        if self.left:
            counts.append(f"{self.left:,} left as somebody has set them since")
        common = Counter((one.field, one.before, one.after) for one in self.changes).most_common(MOST_EXAMPLES)
        examples = [f"{name}: {old or 'nothing'} -> {new or 'nothing'} ({n:,} times)" for (name, old, new), n in common]
        return [", ".join(counts), *examples]


def traces(writes: Iterable[Write]) -> dict[str, Trace]:
    """The trace of each subject, from a record's lines of the journal in their order."""
    found: dict[str, Trace] = {}
    for write in writes:
        if write.subject is not None:
            found[write.subject] = _traced(found.get(write.subject), write)
    return found


def outcome_of(write: Write, current: str | None, answer: str | None) -> str:
    """What came of a write.

    Args:
        write: a line of the journal without an outcome.
        current: what its subject holds when read back; none if it is no longer there.
        answer: what the account said when the write was sent; none if nobody heard it.
    """
    if write.subject is None:
        return Outcome.FORGOTTEN
    if write.before == write.after:
        return Outcome.HELD
    if current is None:
        return Outcome.GONE
    if answer == Outcome.TAKEN:
        return Outcome.TAKEN
    if current == write.after:
        return Outcome.WRITTEN
    if current != write.before:
        return Outcome.TAKEN
    if answer is None:
        return Outcome.CUT
    return {Outcome.WRITTEN.value: Outcome.LOST, Outcome.GONE.value: Outcome.MISSED}.get(answer, answer)


def member_changes(
    record: Record, tables: Mapping[str, pl.DataFrame], held: Mapping[str, str], before: Mapping[str, Trace]
) -> ChangePlan:
    """Changes of a member field.

    Args:
        record: one that writes a field; `after` names the field and either one `value` for all, or the published
            table (`source`) and `column` it comes from, with the values of other columns (`where`) that its rows have.
            Only `values` are written, where these are named. Those kept out hold `holdout_value`, or what the table
            `holdout_source` says. With neither value nor source only those kept out are marked: a person makes the
            change for the others.
        tables: published tables by name, `holdouts` among them: who is kept out by it is left as they are.
        held: what the field holds now, by subscriber key, of everybody in Mailchimp; empty text where it is empty.
        before: the record's traces.
    """
    after = record.proposal.after
    members = pl.DataFrame(
        {"subscriber_key": [int(key) for key in held], "current": list(held.values())},
        schema={"subscriber_key": pl.Int64, "current": pl.String},
    )
    wanted = _wanted(after, tables, members)
    keys = wanted["subscriber_key"]
    out = is_held_out(keys, record.optimization_id, record.holdout_share)
    was_out = is_held_out(keys, record.optimization_id, record.proposal.holdout_share).alias("was_held_out")
    in_flow = wanted.with_columns(workflow_id=pl.lit(record.proposal.workflow_id, dtype=pl.String))
    never = kept_out(in_flow, tables["holdouts"])
    valued = wanted.with_columns(out, was_out, never).with_columns(
        value=pl.when("is_held_out").then("value_held_out").otherwise(pl.col("value"))
    )
    # Somebody who is let in loses the mark of those kept out, where the change itself writes nothing to them.
    is_unmarked = pl.col("was_held_out") & ~pl.col("is_held_out") & (pl.col("current") == pl.col("value_held_out"))
    reached = (
        valued.join(members, on="subscriber_key", how="inner")
        .with_columns(value=pl.when(is_unmarked).then(pl.col("value").fill_null("")).otherwise(pl.col("value")))
        .sort("subscriber_key")
    )
    concerned = reached.filter(~pl.col("is_kept_out"))
    told = concerned.filter(pl.col("value").is_not_null())
    rows = told.select(pl.col("subscriber_key").cast(pl.String), "current", "value").iter_rows()
    return _plan(
        record.proposal.field,
        rows,
        before,
        held_out=int(concerned["is_held_out"].sum()),
        kept_out=reached.height - concerned.height,
        unreachable=valued.height - reached.height,
    )


def email_changes(record: Record, held: Mapping[str, str], before: Mapping[str, Trace]) -> ChangePlan:
    """The change of an automation's e-mail: its status or its delay.

    Args:
        record: of apply kind `api_patch`; `after` holds `operation` ('start', 'pause' or 'delay') and `email_id`.
        held: what the e-mail holds now, by its id.
        before: the record's traces.
    """
    wanted = _wanted_of_email(record)
    return _plan(email_field(record), [(subject, current, wanted) for subject, current in held.items()], before)


def email_field(record: Record) -> str:
    """The field of an e-mail that a record changes: `delay` or `status`."""
    return "delay" if record.proposal.after["operation"] == "delay" else "status"


def email_value(record: Record, email: Mapping[str, Any]) -> str:
    """What stands in the field of an e-mail that a record changes."""
    return email_state(email_field(record), _wanted_of_email(record), email)


def email_state(field: str, wanted: str, email: Mapping[str, Any]) -> str:
    """What stands in a field of an e-mail, as a text that can be held against the one that is wanted.

    Of a delay only the parts that are wanted are told. An e-mail that does not send counts as paused, whatever
    Mailchimp calls its state: a pause is the only way back.
    """
    if field == "delay":
        stands = email.get("delay") or {}
        return canonical({name: stands.get(name) for name in json.loads(wanted)})
    return STATUS_OF["start"] if email.get("status") == STATUS_OF["start"] else STATUS_OF["pause"]


def way_back(field: str, held: Mapping[str, str], before: Mapping[str, Trace]) -> ChangePlan:
    """Every subject back to what it held before the first write, where the value that stands is still the record's.

    Args:
        field: the field that was written.
        held: what it holds now, by subject.
        before: the record's traces.
    """
    written = {subject: trace for subject, trace in before.items() if trace.is_written}
    there = {subject: trace for subject, trace in written.items() if subject in held}
    moved = {subject: trace for subject, trace in there.items() if held[subject] != trace.original}
    changes = [
        Change(subject, field, held[subject], trace.original)
        for subject, trace in moved.items()
        if held[subject] in trace.ours
    ]
    return ChangePlan(
        tuple(changes),
        unchanged=len(there) - len(moved),
        unreachable=len(written) - len(there),
        left=len(moved) - len(changes),
    )


def _traced(trace: Trace | None, write: Write) -> Trace:
    assert write.before is not None
    assert write.after is not None
    known = trace or Trace(write.before, frozenset({write.before}), is_written=False)
    outcome = write.outcome
    if outcome in (Outcome.HELD, Outcome.TAKEN, Outcome.MISSED) or (outcome or "").startswith(REFUSED):
        return known
    # Mailchimp may have taken a write that nobody saw arrive: both values are then known to be the record's.
    ours = {write.after} if outcome == Outcome.WRITTEN else {write.before, write.after}
    return Trace(known.original, frozenset(ours), is_written=True)


def _plan(
    field: str,
    rows: Iterable[tuple[str, str, str]],
    before: Mapping[str, Trace],
    *,
    held_out: int = 0,
    kept_out: int = 0,
    unreachable: int = 0,
) -> ChangePlan:
    """The plan for subjects with what they hold and what they should hold."""
    changes: list[Change] = []
    noted: list[Change] = []
    unchanged = left = 0
    for subject, current, value in rows:
        trace = before.get(subject)
        if current == value:
            unchanged += 1
            if trace is None:
                noted.append(Change(subject, field, value, value))
        elif trace is not None and current not in trace.ours:
            left += 1
        else:
            changes.append(Change(subject, field, current, value))
    return ChangePlan(tuple(changes), tuple(noted), unchanged, held_out, kept_out, unreachable, left)


def _wanted_of_email(record: Record) -> str:
    after = record.proposal.after
    return canonical(after["delay"]) if email_field(record) == "delay" else STATUS_OF[after["operation"]]


def _wanted(after: Mapping[str, Any], tables: Mapping[str, pl.DataFrame], members: pl.DataFrame) -> pl.DataFrame:
    """What everybody is to hold, as `value`, and what they are to hold if they are kept out, as `value_held_out`."""
    other = pl.lit(after.get("holdout_value"), dtype=pl.String).alias("value_held_out")
    if "source" not in after:
        return members.select("subscriber_key", other, value=pl.lit(after.get("value"), dtype=pl.String))
    wanted = _from_table(after, tables[after["source"]], after.get("where", {}))
    if "holdout_source" not in after:
        return wanted.with_columns(other)
    others = _from_table(after, tables[after["holdout_source"]], after.get("holdout_where", {}))
    return wanted.join(others.rename({"value": "value_held_out"}), on="subscriber_key", how="left")


def _from_table(after: Mapping[str, Any], source: pl.DataFrame, where: Mapping[str, str]) -> pl.DataFrame:
    rows = source.filter(pl.lit(True), *(pl.col(name) == value for name, value in where.items()))
    values = rows.select("subscriber_key", value=pl.col(after.get("column", "arm")).cast(pl.String)).drop_nulls()
    known = after.get("values")
    return values if known is None else values.filter(pl.col("value").is_in(list(known)))
