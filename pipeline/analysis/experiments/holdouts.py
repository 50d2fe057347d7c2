"""What a flow, or all flows together, really add: people who get it against people held out.

Attribution credits whatever comes after a click, also what would have come anyway. A hold-out tells both apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.statistics.confidence_sequence import critical_values
from pipeline.analysis.statistics.intervals import NORMAL_95
from pipeline.common.sticky_hash import uniform_hash
from pipeline.common.time import CENTS, WINDOW_DAYS, day_number, end_of_day_us, start_of_day_us
from pipeline.schemas import core
from pipeline.schemas.base import conform, empty
from pipeline.schemas.experiments import HoldoutMembers, Holdouts

METHOD = "difference of means by intention to treat, 95% asymptotic confidence sequence"
NO_HOLDOUT = "no hold-out: define one in holdouts.yaml"
TIGHTEST_DAYS = 56
"""Days after the start at which the interval is tightest for the data it has."""
ALPHA = 0.05
SIGNUP = "signup"
FEWEST = 100
"""With fewer people held out, or fewer others, a mean of revenue says nothing."""
MOST_LEAKAGE = 0.1
"""Largest ratio of messages per person held out to messages per other person at which people count as held out."""


@dataclass(frozen=True)
class Holdout:
    """People kept out of a flow, or of all flows where no `workflow_id` is named, from `start_day` on."""

    holdout_id: str
    workflow_id: str | None
    share: float
    start_day: date


@dataclass(frozen=True)
class RevenueFacts:
    """The tables of `core` that hold-outs read."""

    subscribers: LazyFrame[core.CoreSubscribers]
    messages: LazyFrame[core.CoreMessages]
    conversions: LazyFrame[core.CoreConversions]
    credits: LazyFrame[core.CoreCredits]
    workflows: DataFrame[core.CoreWorkflows]


def holdout_members(holdouts: Sequence[Holdout], subscribers: pl.LazyFrame, *, as_of: date) -> pl.DataFrame:
    """`marts.holdout_members`: who is held out, by a sticky hash, so that nobody changes sides.

    Args:
        holdouts: the hold-outs of holdouts.yaml.
        subscribers: `core.subscribers`.
        as_of: tonight.
    """
    people = subscribers.select("subscriber_key").collect()
    parts = [
        people.filter(_is_out(people["subscriber_key"], one)).select(
            "subscriber_key", holdout_id=pl.lit(one.holdout_id), workflow_id=pl.lit(one.workflow_id, dtype=pl.String)
        )
        for one in holdouts
    ]
    if not parts:
        return empty(HoldoutMembers)
    stamped = pl.concat(parts).with_columns(as_of_day=pl.lit(as_of), method=pl.lit("salted splitmix64 hash, sticky"))
    return conform(stamped.sort("holdout_id", "subscriber_key"), HoldoutMembers)


def kept_out(people: pl.DataFrame, holdouts: pl.DataFrame) -> pl.Series:
    """Who gets nothing of a flow, because a hold-out of the flow or of the whole account keeps them out.

    Args:
        people: `subscriber_key`, also of those whom the last night did not know yet, and `workflow_id`, the flow. Where
            it is null, several flows are concerned, and only a hold-out of the account counts.
        holdouts: the rows of `marts.holdouts`.

    Returns:
        `is_kept_out`, in the order of the people. A hold-out counts from the night before its first day on.
    """
    begun = holdouts.filter(pl.col("start_day") <= pl.col("as_of_day") + timedelta(days=1))
    flows, keys = people["workflow_id"].to_numpy(), people["subscriber_key"]
    out = np.zeros(people.height, dtype=bool)
    for name, flow, share in begun.select("holdout_id", "workflow_id", "share").iter_rows():
        out |= (uniform_hash(keys, _salt(name)) < share) & (flow is None or flows == flow)
    return pl.Series("is_kept_out", out, dtype=pl.Boolean)


def trigger_moments(
    holdouts: Sequence[Holdout], workflows: pl.DataFrame, subscribers: pl.LazyFrame, events: pl.LazyFrame
) -> pl.DataFrame:
    """When the triggers of flows with a hold-out would have let people in.

    Args:
        holdouts: the hold-outs of holdouts.yaml.
        workflows: `core.workflows`. The trigger is 'signup' or a type of events.
        subscribers: `core.subscribers`.
        events: `lake.events`, all versions.

    Returns:
        `workflow_id`, `subscriber_key` and `entered_us`, a row for each time.
    """
    flows = workflows.filter(pl.col("workflow_id").is_in([one.workflow_id for one in holdouts]))
    triggers = flows.select("workflow_id", event_type="trigger").drop_nulls()
    signups = subscribers.select("subscriber_key", entered_us="signup_us").drop_nulls().collect()
    signups = signups.with_columns(event_type=pl.lit(SIGNUP))
    told = (
        events.filter(pl.col("event_type").is_in(triggers["event_type"].implode()) & (pl.col("event_type") != SIGNUP))
        .select("subscriber_key", entered_us="occurred_us", event_type="event_type")
        .unique()
        .collect()
    )
    moments = pl.concat([signups, told.select(signups.columns)])
    return triggers.join(moments, on="event_type").select("workflow_id", "subscriber_key", "entered_us")


def holdout_results(
    holdouts: Sequence[Holdout], facts: RevenueFacts, triggered: pl.DataFrame, *, as_of: date, currency: str
) -> pl.DataFrame:
    """`marts.holdouts`: one row per flow, and one for the whole account, whether it has a hold-out or not.

    Args:
        holdouts: the hold-outs of holdouts.yaml.
        facts: core tables.
        triggered: the rows of `trigger_moments`. Into a flow without any everybody may come from the start on.
        as_of: tonight.
        currency: the workspace's currency.

    Returns:
        Attributed revenue of the people who get the flow since the start of the hold-out, and incremental revenue: what
        they bought in all, less what as many people held out bought. Everybody whom the trigger would have let in since
        the start counts from that moment on, whether mail reached them or not (intention to treat), so both sides are
        alike but for the flow. Incremental revenue is null without a hold-out, with too few people, and where the
        sender mails those held out all the same; `status` says which.

    The interval is that of an asymptotic confidence sequence (Waudby-Smith et al., 2021): it covers the truth on all
    nights at once, so that one may look every morning.
    """
    by_place = {one.workflow_id: one for one in holdouts}
    flows = facts.workflows.filter(pl.col("kind") != "campaign")["workflow_id"].sort().to_list()
    known = _until(facts, as_of)
    rows = [_row(place, by_place.get(place), known, triggered, as_of) for place in (None, *flows)]
    table = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        currency=pl.lit(currency), as_of_day=pl.lit(as_of), method=pl.lit(METHOD)
    )
    return conform(table, Holdouts)


def incremental_by_window(
    holdouts: Sequence[Holdout], results: pl.DataFrame, facts: RevenueFacts, triggered: pl.DataFrame, *, as_of: date
) -> pl.DataFrame:
    """What each flow with a hold-out of its own really added within the windows of the performance tables.

    Args:
        holdouts: the hold-outs of holdouts.yaml.
        results: the rows of `holdout_results`. Only what is compared there is compared here.
        facts: core tables.
        triggered: the rows of `trigger_moments`.
        as_of: tonight.

    Returns:
        `workflow_id`, `window`, and `incremental_revenue_amount` with `_low` and `_high`: what those who get the flow
        bought within the window, less what as many people held out bought. Both sides are the people whom the trigger
        would have let in since the hold-out began. A window that begins before the hold-out has no row, because
        nobody was held out then. The interval is the normal one of a difference of means, for one morning.
    """
    compared, known = set(results.filter(pl.col("status") == "ok")["holdout_id"]), _until(facts, as_of)
    rows = []
    for one in holdouts:
        if one.workflow_id is None or one.holdout_id not in compared:
            continue
        people = _people(one, known, triggered, as_of)
        for window, days in WINDOW_DAYS.items():
            if days is None or (first := as_of - timedelta(days=days - 1)) < one.start_day:
                continue
            added = _incremental(*_amounts(people, known, since_us=start_of_day_us(first)), quantile=NORMAL_95)
            rows.append({"workflow_id": one.workflow_id, "window": window, **added})
    names = ("incremental_revenue_amount", "incremental_revenue_amount_low", "incremental_revenue_amount_high")
    schema = {"workflow_id": pl.String, "window": pl.String, **dict.fromkeys(names, pl.Float64)}
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def _is_out(keys: pl.Series, one: Holdout) -> pl.Series:
    return pl.Series("is_out", uniform_hash(keys, _salt(one.holdout_id)) < one.share)


def _salt(holdout_id: str) -> str:
    return f"holdout/{holdout_id}"


def _row(
    place: str | None, one: Holdout | None, facts: RevenueFacts, triggered: pl.DataFrame, as_of: date
) -> Mapping[str, Any]:
    nothing = {"workflow_id": place, "holdout_id": None, "subscribers": 0, "held_out": 0, "status": NO_HOLDOUT}
    if one is None:
        return nothing
    told = {"holdout_id": one.holdout_id, "share": one.share, "start_day": one.start_day}
    people = _people(one, facts, triggered, as_of)
    out, others = people.filter("is_out"), people.filter(~pl.col("is_out"))
    sizes = {"subscribers": others.height, "held_out": out.height}
    if one.start_day > as_of:
        return {**nothing, **told, "status": f"planned: it starts on {one.start_day}"}
    mailed = _mailed(one, facts).join(people, on="subscriber_key")
    per_person = [mailed.filter(pl.col("is_out") == is_out).height for is_out in (True, False)]
    row = {**nothing, **told, **sizes, "held_out_messages": per_person[0]}
    row["attributed_revenue_amount"] = _attributed(one, facts, others)
    if min(sizes.values()) < FEWEST:
        return {**row, "status": f"not enough data: {min(sizes.values())} of at least {FEWEST} people on one side"}
    if per_person[0] / out.height > MOST_LEAKAGE * per_person[1] / others.height:
        reason = f"not kept: {per_person[0]:,} messages went to people held out. Exclude them in the flow"
        return {**row, "status": reason}
    days = (as_of - one.start_day).days + 1
    quantile = float(critical_values(np.array([days / TIGHTEST_DAYS]), ALPHA)[0])
    return {**row, **_incremental(*_amounts(people, facts), quantile=quantile), "status": "ok"}


def _until(facts: RevenueFacts, as_of: date) -> RevenueFacts:
    """The facts without what happened after tonight: members and orders are those of the moment that they were read."""
    happened = pl.col("day") <= day_number(as_of)
    until: dict[str, Any] = {
        name: getattr(facts, name).filter(happened) for name in ("messages", "conversions", "credits")
    }
    return replace(facts, **until)


def _people(one: Holdout, facts: RevenueFacts, triggered: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Who counts from when, up to tonight: `subscriber_key`, `from_us`, `is_out`."""
    start_us = start_of_day_us(one.start_day)
    entered = triggered.filter(pl.col("workflow_id") == one.workflow_id) if one.workflow_id else triggered.clear()
    if entered.is_empty():
        moments = facts.subscribers.select(
            "subscriber_key", entered_us=pl.max_horizontal("signup_us", pl.lit(start_us))
        ).collect()
    else:
        known = facts.subscribers.select("subscriber_key").collect()
        since = entered.filter(pl.col("entered_us") >= start_us)
        moments = since.group_by("subscriber_key").agg(pl.col("entered_us").min()).join(known, on="subscriber_key")
    moments = moments.filter(pl.col("entered_us") < end_of_day_us(as_of)).sort("subscriber_key")
    return moments.select("subscriber_key", from_us="entered_us").with_columns(_is_out(moments["subscriber_key"], one))


def _of_flow(one: Holdout, facts: RevenueFacts) -> pl.Expr:
    flows = facts.workflows.filter(pl.col("kind") != "campaign")
    if one.workflow_id is not None:
        flows = flows.filter(pl.col("workflow_id") == one.workflow_id)
    return pl.col("workflow_key").is_in(flows["workflow_key"].implode())


def _mailed(one: Holdout, facts: RevenueFacts) -> pl.DataFrame:
    since = (pl.col("day") >= day_number(one.start_day)) & pl.col("bounce_kind").is_null()
    return facts.messages.filter(since & _of_flow(one, facts)).select("subscriber_key").collect()


def _attributed(one: Holdout, facts: RevenueFacts, others: pl.DataFrame) -> float:
    """Revenue credited to messages of the flow since the start, view 'report'."""
    since = (pl.col("message_day") >= day_number(one.start_day)) & (pl.col("view") == "report")
    credited = facts.credits.filter(since & _of_flow(one, facts)).select("subscriber_key", "net_cents").collect()
    credited = credited.join(others, on="subscriber_key", how="semi")
    return float(credited["net_cents"].sum()) / CENTS


def _amounts(people: pl.DataFrame, facts: RevenueFacts, *, since_us: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What each person bought, credited or not: of those who get the flow, and of those held out."""
    amounts = people.join(_bought(people, facts, since_us), on="subscriber_key", how="left").with_columns(
        pl.col("amount").fill_null(0.0)
    )
    got, out = (amounts.filter(pl.col("is_out") == is_out)["amount"].to_numpy() for is_out in (False, True))
    return got, out


def _bought(people: pl.DataFrame, facts: RevenueFacts, since_us: int) -> pl.DataFrame:
    """What each of them bought in all from their moment on, and from `since_us` on."""
    orders = facts.conversions.filter("is_order").select("subscriber_key", "occurred_us", "net_cents").collect()
    return (
        people.join(orders, on="subscriber_key")
        .filter(pl.col("occurred_us") >= pl.max_horizontal("from_us", pl.lit(since_us)))
        .group_by("subscriber_key")
        .agg(amount=pl.col("net_cents").sum() / CENTS)
    )


def _incremental(amounts: np.ndarray, held_out: np.ndarray, *, quantile: float) -> Mapping[str, Any]:
    difference = float(amounts.mean() - held_out.mean())
    variance = amounts.var(ddof=1) / len(amounts) + held_out.var(ddof=1) / len(held_out)
    reach = quantile * float(np.sqrt(variance))
    ends = {"": difference, "_low": difference - reach, "_high": difference + reach}
    return {
        "revenue_per_subscriber_amount": float(amounts.mean()),
        "held_out_revenue_per_subscriber_amount": float(held_out.mean()),
        **{f"incremental_revenue_amount{end}": len(amounts) * value for end, value in ends.items()},
    }
