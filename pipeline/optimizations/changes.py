"""What an approved record changes, field by field. Pure: what stands and what should is given."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.common.sticky_hash import uniform_hash
from pipeline.optimizations.record import Record, canonical

STATUS_OF = {"start": "sending", "pause": "paused"}
#: Shown of a change of many members.
MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Change:
    """One field of one subject, from what stands to what should; `subject` is a subscriber's key or an e-mail's id."""

    subject: str
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class ChangePlan:
    """All changes of a record, and how many subjects need none.

    Attributes:
        changes: what is to be written, in the order of the subjects.
        unchanged: subjects that hold the value already.
        held_out: people kept out, against whom the effect is measured.
        unreachable: people with a value but no member in Mailchimp who could hold it.
    """

    changes: tuple[Change, ...]
    unchanged: int = 0
    held_out: int = 0
    unreachable: int = 0

    def lines(self) -> list[str]:
        """The plan in words: counts, the commonest changes, and examples."""
        told = [
            f"{len(self.changes):,} to write, {self.unchanged:,} hold the value already, {self.held_out:,} held out"
            + (f", {self.unreachable:,} without a member to write to" if self.unreachable else "")
        ]
        common = Counter((one.field, one.before, one.after) for one in self.changes).most_common(MOST_EXAMPLES)
        told += [f"{field}: {old or 'nothing'} -> {new or 'nothing'} ({n:,} times)" for (field, old, new), n in common]
        return told


def is_held_out(keys: pl.Series, optimization_id: str, share: float) -> pl.Series:
    """Who is kept out of a record's change: by a sticky hash, the same every night.

    Args:
        keys: subscriber keys (Int64).
        optimization_id: the record; two records never share a hold-out.
        share: share of people kept out, 0-1.
    """
    return pl.Series("is_held_out", uniform_hash(keys, f"holdout/{optimization_id}") < share)


def member_changes(record: Record, tables: Mapping[str, pl.DataFrame], members: pl.DataFrame) -> ChangePlan:
    """Changes of a member field.

    Args:
        record: one that writes a field; `after` names the field and either one `value` for all, or the published
            table (`source`) and `column` it comes from; `holdout_value` is what those kept out hold. With neither, only
            those kept out are marked: a person makes the change for the others.
        tables: published tables by name.
        members: `subscriber_key` (Int64), `current` (String, null where the field is empty) of everybody in Mailchimp.
    """
    after = record.proposal.after
    wanted = _wanted(after, tables, members)
    keys = wanted["subscriber_key"]
    out = is_held_out(keys, record.optimization_id, record.proposal.holdout_share)
    for_held_out = pl.lit(after.get("holdout_value"), dtype=pl.String)
    valued = wanted.with_columns(out).with_columns(
        value=pl.when("is_held_out").then(for_held_out).otherwise(pl.col("value"))
    )
    reached = valued.join(members, on="subscriber_key", how="inner").sort("subscriber_key")
    told = reached.filter(pl.col("value").is_not_null())
    differs = told.filter(pl.col("current").fill_null("") != pl.col("value"))
    field = str(after["field"])
    return ChangePlan(
        tuple(
            Change(str(key), field, current or "", value)
            for key, current, value in differs.select("subscriber_key", "current", "value").iter_rows()
        ),
        unchanged=told.height - differs.height,
        held_out=int(reached["is_held_out"].sum()),
        unreachable=valued.height - reached.height,
    )


def email_changes(record: Record, email: Mapping[str, Any]) -> ChangePlan:
    """The change of an automation's e-mail: its status or its delay.

    Args:
        record: of apply kind `api_patch`; `after` holds `operation` ('start', 'pause' or 'delay') and `email_id`.
        email: the e-mail as Mailchimp tells it.
    """
    after = record.proposal.after
    operation = after["operation"]
    if operation == "delay":
        field, wanted = "delay", canonical(after["delay"])
        stands = canonical({name: email.get("delay", {}).get(name) for name in after["delay"]})
    else:
        field, wanted, stands = "status", STATUS_OF[operation], str(email.get("status", ""))
    if stands == wanted:
        return ChangePlan((), unchanged=1)
    return ChangePlan((Change(str(after["email_id"]), field, stands, wanted),))


def _wanted(after: Mapping[str, Any], tables: Mapping[str, pl.DataFrame], members: pl.DataFrame) -> pl.DataFrame:
    if "source" not in after:
        return members.select("subscriber_key", value=pl.lit(after.get("value"), dtype=pl.String))
    source = tables[after["source"]]
    if point := after.get("decision_point_id"):
        source = source.filter(pl.col("decision_point_id") == point)
    value = pl.col(after.get("column", "arm")).cast(pl.String)
    return source.select("subscriber_key", value=value).drop_nulls()
