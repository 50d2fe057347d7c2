"""A step that people are mailed by, a change of it in effect for all but a hold-out, and what it really brings."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from pipeline.analysis.experiments.exposures import Facts
from pipeline.common.sticky_hash import is_held_out
from pipeline.common.time import DAY_US, day_number
from pipeline.optimizations.account.written import written_values
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.record import Measure, Proposal, Record
from pipeline.schemas.vocabulary import ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status

APPLIED_DAY = date(2026, 6, 1)
HOLDOUT = 0.1
WINDOW_DAYS = 3
DAYS_BEFORE = 70


def record(number: int = 0, *, promised: float | None = 0.2, **changes: Any) -> Record:
    """A change applied on `APPLIED_DAY`; numbers tell records apart."""
    proposal = {
        "kind": Kind.EXPERIMENT_WINNER,
        "target": f"test {number}",
        "title": "Send arm B to everybody",
        "workflow_id": "flow",
        "step_id": "hello",
        "before": {},
        "after": {"field": f"ARM{number}", "value": "B", "holdout_value": "A"},
        "apply_kind": ApplyKind.MEMBER_FIELDS,
        "base_version": "1",
        "evidence": {},
        "expected_lift": promised,
        "risk": Risk.MEDIUM,
        "holdout_share": HOLDOUT,
        "measure": Measure(metric=MetricName.CONVERSION, window_days=WINDOW_DAYS),
    }
    of_record = {"status": Status.APPLIED, "applied_day": APPLIED_DAY}
    for name, value in changes.items():
        (of_record if name in Record.model_fields else proposal)[name] = value
    made = Proposal(**proposal)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    return Record(
        proposal=made,
        optimization_id=made.optimization_id,
        revision=4,
        created_at=now,
        expires_at=now,
        approvals_required=1,
        **of_record,
    )


@dataclass(frozen=True)
class Step:
    """How a step is, and what the change makes of it: chances per message."""

    per_day: int = 200
    days_after: int = 30
    rate: float = 0.1
    lift: float = 0.0
    unsubscribes: float = 0.01
    unsubscribe_lift: float = 0.0


def facts(rng: np.random.Generator, of: Record, step: Step) -> Facts:
    """Core tables in which everybody is mailed once, a week after signing up; the change works from its first day."""
    days = np.repeat(np.arange(-DAYS_BEFORE, step.days_after), step.per_day)
    size = len(days)
    key = pl.Series("subscriber_key", np.arange(size) + 1_000_000 * (int(of.optimization_id[:6], 16) + 1))
    first = day_number(APPLIED_DAY)
    has_change = ~is_held_out(key, of.optimization_id, of.proposal.holdout_share).to_numpy() & (days >= 0)
    if of.rolled_back_day is not None:
        has_change &= days < day_number(of.rolled_back_day) - first
    sent = (first + days) * DAY_US + rng.integers(0, DAY_US, size)
    buys = rng.random(size) < step.rate * np.where(has_change, 1 + step.lift, 1.0)
    leaves = rng.random(size) < step.unsubscribes * np.where(has_change, 1 + step.unsubscribe_lift, 1.0)
    later = sent + DAY_US
    none = pl.lit(None, dtype=pl.Int64)
    messages = pl.DataFrame({"subscriber_key": key, "day": first + days, "sent_us": sent}).with_columns(
        step_key=pl.lit(1, dtype=pl.Int64),
        first_human_click_us=none,
        unsubscribed_us=pl.Series(np.where(leaves, later, -1)).replace(-1, None),
        complained_us=none,
    )
    orders = pl.DataFrame({"subscriber_key": key.filter(buys), "occurred_us": later[buys]})
    return Facts(
        steps=pl.DataFrame({"workflow_id": ["flow"], "step_id": ["hello"], "step_key": [1], "status": ["active"]}),
        workflows=pl.DataFrame({"workflow_id": ["flow"], "kind": ["flow"], "goal_event_type": ["purchase"]}),
        messages=messages.lazy(),
        conversions=orders.with_columns(
            event_type=pl.lit("purchase"), is_order=pl.lit(True), net_cents=pl.lit(5_000, dtype=pl.Int64)
        ).lazy(),
        subscribers=pl.LazyFrame({"subscriber_key": key, "signup_us": sent - 7 * DAY_US}),
    )


def written(of: Record, world: Facts) -> pl.DataFrame:
    """What the journal says of the change: everybody was written to a day after they signed up, from the first day on.

    Rows of `core.written_values`.
    """
    people = world.subscribers.collect()
    out = is_held_out(people["subscriber_key"], of.optimization_id, of.proposal.holdout_share)
    told = {"after": of.proposal.after.get("value"), "out": of.proposal.after.get("holdout_value")}
    settled = people.with_columns(out.alias("is_out")).select(
        optimization_id=pl.lit(of.optimization_id),
        subject=pl.col("subscriber_key").cast(pl.String),
        field=pl.lit(of.proposal.after.get("field"), dtype=pl.String),
        after=pl.when("is_out").then(pl.lit(told["out"], dtype=pl.String)).otherwise(pl.lit(told["after"])),
        outcome=pl.lit(str(Outcome.WRITTEN)),
        read_us=pl.max_horizontal(pl.col("signup_us") + DAY_US, pl.lit(day_number(APPLIED_DAY) * DAY_US)),
    )
    return written_values(settled.drop_nulls("after"), [of])


def night(step: Step) -> date:
    """The night after which no window of the step's messages is open."""
    return APPLIED_DAY + timedelta(days=step.days_after + WINDOW_DAYS)


def mailed_often(rng: np.random.Generator, of: Record, *, people: int, nights: int, every_days: int) -> Facts:
    """Core tables of flows whose mail everybody gets again and again; newcomers follow, and a third orders at times.

    Two flows take turns, so a person is a receiver of several places, and each message may be clicked.
    """
    arrives = np.where(np.arange(people) < people // 2, -DAYS_BEFORE, rng.integers(-DAYS_BEFORE, nights, people))
    turns = (DAYS_BEFORE + nights) // every_days
    key = np.repeat(np.arange(people), turns) + 1
    days = (
        np.repeat(arrives + rng.integers(3, 3 + every_days, people), turns)
        + np.tile(np.arange(turns), people) * every_days
    )
    is_sent = days < nights
    key, days = key[is_sent], days[is_sent]
    first = day_number(APPLIED_DAY)
    sent = (first + days) * DAY_US + rng.integers(0, DAY_US, len(key))
    clicks = np.where(rng.random(len(key)) < 0.1, sent + rng.integers(0, 5 * DAY_US, len(key)), -1)
    leaves = np.where(rng.random(len(key)) < 0.005, sent + DAY_US, -1)
    buys = np.flatnonzero(rng.random(len(key)) < 0.05)
    orders = pl.DataFrame(
        {
            "subscriber_key": key[buys],
            "occurred_us": sent[buys] + rng.integers(0, 20 * DAY_US, len(buys)),
            "net_cents": rng.integers(900, 90_000, len(buys)),
        }
    )
    none = pl.lit(None, dtype=pl.Int64)
    return Facts(
        steps=pl.DataFrame(
            {"workflow_id": ["flow", "other"], "step_id": ["hello"] * 2, "step_key": [1, 2], "status": ["active"] * 2}
        ),
        workflows=pl.DataFrame(
            {"workflow_id": ["flow", "other"], "kind": ["flow"] * 2, "goal_event_type": ["purchase"] * 2}
        ),
        messages=pl.LazyFrame({"subscriber_key": key, "day": first + days, "sent_us": sent}).with_columns(
            step_key=pl.Series(rng.integers(1, 3, len(key))),
            first_human_click_us=pl.Series(clicks).replace(-1, None),
            unsubscribed_us=pl.Series(leaves).replace(-1, None),
            complained_us=none,
        ),
        conversions=orders.lazy().with_columns(event_type=pl.lit("purchase"), is_order=pl.lit(True)),
        subscribers=pl.LazyFrame({"subscriber_key": np.arange(people) + 1, "signup_us": (first + arrives) * DAY_US}),
    )


def known_by(world: Facts, as_of: date) -> Facts:
    """What of these tables is known on the morning after a night."""
    end_us = (day_number(as_of) + 1) * DAY_US
    moments = ("first_human_click_us", "unsubscribed_us", "complained_us")
    return Facts(
        steps=world.steps,
        workflows=world.workflows,
        messages=world.messages.filter(pl.col("sent_us") < end_us).with_columns(
            pl.when(pl.col(moment) < end_us).then(moment) for moment in moments
        ),
        conversions=world.conversions.filter(pl.col("occurred_us") < end_us),
        subscribers=world.subscribers.filter(pl.col("signup_us") < end_us),
    )
