"""What really happened in the sample account up to a day, as the pipeline should find it out.

Counts leave out deleted members, whom Mailchimp no longer shows; its reports count them (see `report_surplus`).
"""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.common.time import HOUR_US, end_of_day_us
from pipeline.lake.keys import SAMPLE_SECRET, SubscriberKeys
from pipeline.sample.account.attribution import credit_as_mailchimp, credit_people
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.plans import HELD_AT, STEPS
from pipeline.sample.account.population import PLANS
from pipeline.sample.account.stream import JOURNEYS, LAST_LATE_US, MALFORMED, event_stream
from pipeline.sample.account.world import CURRENCY, EVERY_FLOW, PLANTED, PROFILES, SERIES
from pipeline.sample.server.view import View, look

Truth = dict[str, Any]


def write_truth(account: SampleAccount, path: Path, as_of: date) -> None:
    """Write `truth` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(truth(account, as_of), indent=1))


def truth(account: SampleAccount, as_of: date) -> Truth:
    """Everything known up to the end of `as_of`; people by `subscriber_key` with the sample's secret."""
    view = look(account, as_of)
    keys = SubscriberKeys(SAMPLE_SECRET)
    key_of = {person: keys.of_member_id(str(account.people.member_id[person])) for person in view.members.tolist()}
    stuck, waiting = _standing(view)
    return {
        "as_of": as_of.isoformat(),
        "seed": account.seed,
        "steps": _steps(view),
        "bottleneck": dict(zip(("workflow_id", "from_step_id", "to_step_id"), PLANTED.bottleneck, strict=True)),
        "stuck": [{**row, "subscriber_key": key_of[row.pop("subscriber")]} for row in stuck],
        "waiting": [{**row, "subscriber_key": key_of[row.pop("subscriber")]} for row in waiting],
        "exits": _exits(view),
        "report_surplus": _surplus(view),
        "revenue": _revenue(view),
        "credits": _credits(view),
        "events": _events(account, as_of),
        "people": _people(view),
        "collisions": _collisions(view, key_of),
        "profiles": _profiles(view, key_of),
        "planted": _planted(),
    }


def _steps(view: View) -> list[Truth]:
    """Per step: counts of messages, of people's reactions, of entries."""
    delivered = pl.col("bounce_kind").is_null()
    clicks = (
        view.activity.filter((pl.col("action") == "click") & pl.col("is_person") & (pl.col("link") != "unsubscribe"))
        .select("campaign_id", "subscriber")
        .unique()
        .group_by("campaign_id")
        .agg(pl.len().alias("unique_human_clicks"))
    )
    messages = view.messages.group_by("campaign_id").agg(
        pl.len().alias("sent"),
        (pl.col("bounce_kind") == "hard").sum().alias("hard_bounces"),
        (pl.col("bounce_kind") == "soft").sum().alias("soft_bounces"),
        delivered.sum().alias("delivered"),
        pl.col("unsubscribed_us").count().alias("unsubscribes"),
        pl.col("complained_us").count().alias("complaints"),
        pl.col("person_open_us").count().alias("unique_human_opens"),
    )
    told = view.account.entries.filter(pl.col("workflow_id").is_in(JOURNEYS) & (pl.col("entered_us") < view.now_us))
    # Without events of its own a step is entered when its message goes out.
    entries = (
        pl.concat([frame.select("workflow_id", "step_id") for frame in (told, _untold(view))])
        .group_by("workflow_id", "step_id")
        .agg(pl.len().alias("entries"))
    )
    steps = pl.DataFrame(
        [
            {"workflow_id": flow.workflow_id, "step_id": step.step_id, "campaign_id": flow.campaign_id(step)}
            for flow in EVERY_FLOW
            for step in flow.steps
        ]
    )
    joined = (
        steps.join(messages, on="campaign_id", how="left", maintain_order="left")
        .join(clicks, on="campaign_id", how="left", maintain_order="left")
        .join(entries, on=["workflow_id", "step_id"], how="left", maintain_order="left")
    )
    return joined.with_columns(pl.exclude("workflow_id", "step_id", "campaign_id").fill_null(0)).to_dicts()


def _untold(view: View) -> pl.DataFrame:
    return view.messages.filter(~pl.col("workflow_id").is_in(JOURNEYS))


def _standing(view: View) -> tuple[list[Truth], list[Truth]]:
    """Those stuck in a step, with the cause, and those who wait legitimately: by their latest entry into a flow."""
    series = [flow.workflow_id for flow in SERIES]
    grace = {(flow.workflow_id, step.step_id): step.grace_hours for flow, step in STEPS}
    latest = (
        view.account.entries.filter(pl.col("workflow_id").is_in(series) & (pl.col("entered_us") < view.now_us))
        .sort("entered_us")
        .group_by("subscriber", "workflow_id", maintain_order=True)
        .last()
        .join(view.account.journeys, on=["subscriber", "workflow_id"], how="left", maintain_order="left")
        .filter(pl.col("exit_us").is_null() | (pl.col("exit_us") >= view.now_us))
        .filter(pl.col("next_step_id").is_not_null() & pl.col("subscriber").is_in(view.members))
    )
    stuck: list[Truth] = []
    waiting: list[Truth] = []
    for row in latest.sort("workflow_id", "subscriber").to_dicts():
        found = {name: row[name] for name in ("subscriber", "workflow_id", "step_id")}
        if not (row["is_held"] and row["cause"]):
            waiting.append(found)
        else:
            wait = row["next_us"] + grace[row["workflow_id"], row["next_step_id"]] * HOUR_US
            is_over = wait < view.now_us
            (stuck if is_over else waiting).append({**found, **({"cause": row["cause"]} if is_over else {})})
    return stuck, waiting


def _exits(view: View) -> list[Truth]:
    """Ends of journeys by flow and reason."""
    ended = view.account.journeys.filter(
        pl.col("workflow_id").is_in([flow.workflow_id for flow in SERIES]) & (pl.col("exit_us") < view.now_us)
    )
    return ended.group_by("workflow_id", "exit_reason").agg(pl.len().alias("journeys")).sort(pl.all()).to_dicts()


def _surplus(view: View) -> list[Truth]:
    """What reports count beyond the recipients that can be read: mail to members deleted since."""
    gone = view.all_messages.join(view.messages, on=["campaign_id", "subscriber"], how="anti")
    return gone.group_by("campaign_id").agg(pl.len().alias("sent")).sort("campaign_id").to_dicts()


def _revenue(view: View) -> Truth:
    ours = view.orders.filter(pl.col("currency") == CURRENCY)
    refunded = ours.filter(pl.col("refund_us") < view.now_us)
    return {
        "currency": CURRENCY,
        "orders": ours.height,
        "orders_in_store": ours.filter("is_in_store").height,
        "net_cents": int(ours["net_cents"].sum()),
        "refunds": refunded.height,
        "refunded_cents": int(refunded["refund_cents"].sum()),
        "rejected_orders": view.orders.height - ours.height,
    }


def _credits(view: View) -> dict[str, list[Truth]]:
    """Orders and net revenue, refunds taken off, by credited campaign and view of attribution."""
    refund = pl.when(pl.col("refund_us") < view.now_us).then(pl.col("refund_cents")).otherwise(0)
    orders = view.orders.with_columns(pl.col("net_cents") - refund)
    views = {"report": credit_people, "mailchimp_compat": credit_as_mailchimp}
    return {
        name: credit(orders, view.activity)
        .group_by("campaign_id")
        .agg(pl.len().alias("orders"), pl.col("net_cents").sum())
        .sort("campaign_id")
        .to_dicts()
        for name, credit in views.items()
    }


def _events(account: SampleAccount, as_of: date) -> Truth:
    events = event_stream(account).filter(pl.col("arrived_us") < end_of_day_us(as_of))
    return {
        "valid": events.height,
        "by_type": dict(events.group_by("event_type").len().sort("event_type").iter_rows()),
        "late": events.filter(pl.col("arrived_us") > pl.col("occurred_us")).height,
        "malformed": sum(day <= as_of.isoformat() for _, _, day in MALFORMED),
        "only_visits_are_late_from_us": LAST_LATE_US,
    }


def _people(view: View) -> Truth:
    people = view.account.people
    status = view.status[view.members]
    names, counts = pl.Series(status).value_counts(sort=True).get_columns()
    plans = {plan: int((people.plan[view.members] == number).sum()) for number, plan in enumerate(PLANS)}
    return {
        "members": len(view.members),
        "by_status": dict(zip(names.to_list(), counts.to_list(), strict=True)),
        "by_plan": plans,
        "proxy_share": float(people.has_proxy[view.members].mean()),
        "deleted": int((people.deleted_us < view.now_us).sum()),
    }


def _collisions(view: View, key_of: dict[int, int]) -> list[Truth]:
    """Mail of two flows to one subscriber on one UTC day, cart and win-back: categories that conflict."""
    day = (pl.col("sent_us") // (24 * HOUR_US)).alias("day")
    sent = view.messages.select("subscriber", "workflow_id", day).unique()
    cart, winback = (sent.filter(pl.col("workflow_id") == SERIES[number].workflow_id) for number in (1, 3))
    both = cart.join(winback, on=["subscriber", "day"]).sort("day", "subscriber")
    return [
        {"subscriber_key": key_of[person], "day": number} for person, number in both.select("subscriber", "day").rows()
    ]


def _profiles(view: View, key_of: dict[int, int]) -> dict[str, list[int]]:
    """Subscriber keys by the planted preference of hours."""
    profile = view.account.people.profile
    return {
        name: sorted(key_of[person] for person in view.members.tolist() if profile[person] == number)
        for number, name in enumerate(PROFILES)
    }


def _planted() -> Truth:
    """The parameters of everything planted."""
    return {**asdict(PLANTED), "causes": sorted(HELD_AT), "journeys": JOURNEYS}
