"""Hold-outs: who is in them for good, what a flow really adds on known truth, and when nothing may be compared."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.experiments.holdouts import (
    FEWEST,
    NO_HOLDOUT,
    Holdout,
    RevenueFacts,
    holdout_members,
    holdout_results,
    incremental_by_window,
    trigger_moments,
)
from pipeline.common.time import DAY_US, day_number, end_of_day_us, start_of_day_us
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreConversions, CoreCredits, CoreMessages, CoreSubscribers
from pipeline.schemas.lake import Events
from tests.worlds.facts import linear_flow, rows

START = date(2026, 5, 1)
AS_OF = START + timedelta(days=55)
HOLDOUT = Holdout("welcome-20", "flow", 0.2, START)
WORKFLOWS, _ = linear_flow("welcome", trigger="signup")
PEOPLE = 3_000
NO_EVENTS = empty(Events).lazy()
NO_TRIGGERS = pl.DataFrame(schema={"workflow_id": pl.String, "subscriber_key": pl.Int64, "entered_us": pl.Int64})


def subscribers(number: int = PEOPLE, *, before: int = 0) -> pl.DataFrame:
    """People who signed up on the first day, the first `before` of them a day earlier."""
    signup = [start_of_day_us(START) - (DAY_US if key <= before else 0) for key in range(1, number + 1)]
    return rows(CoreSubscribers, *({"subscriber_key": key, "signup_us": us} for key, us in enumerate(signup, 1)))


def out_of(people: pl.DataFrame, one: Holdout = HOLDOUT) -> set[int]:
    return set(holdout_members([one], people.lazy(), as_of=AS_OF)["subscriber_key"])


def mailed(keys: list[int]) -> pl.DataFrame:
    sent = {"workflow_key": 1, "step_key": 1, "day": day_number(START) + 1, "sent_us": start_of_day_us(START) + DAY_US}
    return rows(CoreMessages, *({"subscriber_key": key, **sent} for key in keys))


def orders(bought: dict[int, float], *, at_us: int = start_of_day_us(START) + 2 * DAY_US) -> pl.DataFrame:
    told = [
        {"conversion_id": f"order:{key}", "subscriber_key": key, "net_cents": round(100 * amount), "occurred_us": at_us,
         "day": at_us // DAY_US, "is_order": True}
        for key, amount in bought.items()
    ]  # fmt: skip
    return rows(CoreConversions, *told) if told else empty(CoreConversions)


def facts(people: pl.DataFrame, conversions: pl.DataFrame, keys: list[int] | None = None) -> RevenueFacts:
    others = sorted(set(people["subscriber_key"]) - out_of(people))
    messages = mailed(others if keys is None else keys)
    credit = {"workflow_key": 1, "step_key": 1, "message_day": day_number(START) + 1, "view": "report"}
    credited = conversions.filter(pl.col("subscriber_key").is_in(others))
    credits = rows(CoreCredits, *({**credit, **row} for row in credited.select(
        "conversion_id", "subscriber_key", "day", "is_order", "net_cents").to_dicts())) if credited.height \
        else empty(CoreCredits)  # fmt: skip
    return RevenueFacts(people.lazy(), messages.lazy(), conversions.lazy(), credits.lazy(), WORKFLOWS)


def results(known: RevenueFacts, *defined: Holdout) -> dict[str | None, dict]:
    moments = trigger_moments(defined, known.workflows, known.subscribers, NO_EVENTS)
    table = holdout_results(defined, known, moments, as_of=AS_OF, currency="USD")
    return {row["workflow_id"]: row for row in table.to_dicts()}


def bought_in(people: pl.DataFrame, added: float, seed: int) -> dict[int, float]:
    """A tenth buys for about 20 anyway; of those who get the flow a share `added` of all buys for 20 more."""
    source = np.random.default_rng(seed)
    out = out_of(people)
    amounts = {}
    for key in people["subscriber_key"]:
        amount = float(source.gamma(4, 5)) if source.random() < 0.1 else 0.0
        amount += float(source.gamma(4, 5)) if key not in out and source.random() < added else 0.0
        if amount:
            amounts[key] = amount
    return amounts


def test_the_share_is_held_out_and_nobody_ever_changes_sides():
    people = subscribers()
    out = out_of(people)
    assert len(out) / PEOPLE == pytest.approx(0.2, abs=0.03)
    assert out_of(subscribers(2 * PEOPLE)) & set(people["subscriber_key"]) == out
    assert out_of(people, replace(HOLDOUT, holdout_id="other")) != out
    assert holdout_members([], people.lazy(), as_of=AS_OF).is_empty()


def test_what_came_after_tonight_is_of_no_night_before():
    """Members and orders are read on the day after; a night of last month that is run again knows no more either."""
    people = subscribers()
    late = end_of_day_us(AS_OF)
    new = rows(CoreSubscribers, *({"subscriber_key": PEOPLE + key, "signup_us": late} for key in range(1, 500)))
    bought = orders(bought_in(people, 0.05, 1))
    later = pl.concat([bought, orders(dict.fromkeys(range(1, 900), 99.0), at_us=late).with_columns(
        conversion_id=pl.format("order:late-{}", "subscriber_key"))])  # fmt: skip
    then, now = facts(people, bought), facts(pl.concat([people, new]), later, list(range(1, PEOPLE)))
    mail = now.messages.with_columns(day=pl.lit(day_number(AS_OF) + 1, dtype=pl.Int64))
    now = replace(now, messages=pl.concat([then.messages, mail]))
    assert results(now, HOLDOUT)["flow"] == results(then, HOLDOUT)["flow"]
    held = holdout_results([HOLDOUT], then, NO_TRIGGERS, as_of=AS_OF, currency="USD")
    windows = [incremental_by_window([HOLDOUT], held, known, NO_TRIGGERS, as_of=AS_OF) for known in (then, now)]
    assert windows[0].equals(windows[1])


@pytest.mark.parametrize("added", [0.0, 0.05])
def test_the_interval_holds_what_the_flow_really_added(added: float):
    people = subscribers()
    held = []
    for seed in range(25):
        row = results(facts(people, orders(bought_in(people, added, seed))), HOLDOUT)["flow"]
        assert row["status"] == "ok"
        truth = row["subscribers"] * added * 20
        held.append(row["incremental_revenue_amount_low"] <= truth <= row["incremental_revenue_amount_high"])
        # All their orders are credited, also those that would have come anyway.
        assert row["attributed_revenue_amount"] > row["incremental_revenue_amount_low"]
    assert sum(held) >= 24


def by_window(known: RevenueFacts, *defined: Holdout) -> dict[str, dict]:
    moments = trigger_moments(defined, known.workflows, known.subscribers, NO_EVENTS)
    table = holdout_results(defined, known, moments, as_of=AS_OF, currency="USD")
    rows_of_flow = incremental_by_window(defined, table, known, moments, as_of=AS_OF)
    assert set(rows_of_flow["workflow_id"]) <= {"flow"}
    return {row["window"]: row for row in rows_of_flow.to_dicts()}


def test_a_window_counts_what_was_bought_in_it_and_its_interval_holds_the_truth():
    """Everybody buys on one day: four weeks hold it, the last week does not."""
    people, added, held = subscribers(), 0.05, []
    bought_us = start_of_day_us(AS_OF - timedelta(days=20))
    for seed in range(25):
        found = by_window(facts(people, orders(bought_in(people, added, seed), at_us=bought_us)), HOLDOUT)
        assert found["7d"]["incremental_revenue_amount"] == 0.0
        truth = (PEOPLE - len(out_of(people))) * added * 20
        row = found["28d"]
        held.append(row["incremental_revenue_amount_low"] <= truth <= row["incremental_revenue_amount_high"])
    assert sum(held) >= 22


def test_a_window_that_begins_before_the_hold_out_has_no_incremental_revenue():
    known = facts(subscribers(), orders({1: 20.0}))
    assert set(by_window(known, HOLDOUT)) == {"7d", "28d"}
    begun = replace(HOLDOUT, start_day=AS_OF - timedelta(days=27))
    late = facts(subscribers().with_columns(signup_us=pl.lit(start_of_day_us(begun.start_day))), orders({1: 20.0}))
    assert set(by_window(late, begun)) == {"7d", "28d"}
    assert set(by_window(late, replace(begun, start_day=AS_OF - timedelta(days=26)))) <= {"7d"}


def test_what_is_not_compared_has_no_incremental_revenue_in_any_window():
    people = subscribers()
    assert by_window(facts(people, orders({1: 20.0}))) == {}
    assert by_window(facts(people, orders({1: 20.0}), keys=list(people["subscriber_key"])), HOLDOUT) == {}
    assert by_window(facts(people, orders({1: 20.0})), replace(HOLDOUT, workflow_id=None)) == {}


def test_what_was_bought_before_somebody_came_in_does_not_count():
    people = subscribers()
    early = orders(dict.fromkeys(range(1, PEOPLE + 1), 50.0), at_us=start_of_day_us(START) - 1)
    row = results(facts(people, early), HOLDOUT)["flow"]
    assert (row["revenue_per_subscriber_amount"], row["incremental_revenue_amount"]) == (0.0, 0.0)
    late = results(facts(subscribers(before=500), early), HOLDOUT)["flow"]
    assert late["subscribers"] + late["held_out"] == PEOPLE - 500


def test_without_a_hold_out_there_is_a_reason_and_no_number():
    row = results(facts(subscribers(), orders({1: 20.0})))["flow"]
    assert (row["status"], row["incremental_revenue_amount"], row["holdout_id"]) == (NO_HOLDOUT, None, None)


def test_a_hold_out_that_is_mailed_all_the_same_is_not_compared():
    people = subscribers()
    row = results(facts(people, orders({1: 20.0}), keys=list(people["subscriber_key"])), HOLDOUT)["flow"]
    assert row["status"].startswith("not kept: ")
    assert row["incremental_revenue_amount"] is None
    assert row["held_out_messages"] == row["held_out"]


def test_too_few_people_and_a_start_to_come_are_told():
    few = results(facts(subscribers(FEWEST), orders({1: 20.0})), HOLDOUT)["flow"]
    assert few["status"].startswith("not enough data: ")
    planned = replace(HOLDOUT, start_day=AS_OF + timedelta(days=1))
    assert results(facts(subscribers(), orders({})), planned)["flow"]["status"].startswith("planned: ")


def test_a_hold_out_of_the_account_takes_everybody_from_the_start_on():
    people = subscribers(before=500)
    account = replace(HOLDOUT, workflow_id=None)
    known = facts(people, orders({}))
    row = results(known, account)[None]
    assert row["subscribers"] + row["held_out"] == PEOPLE
    assert results(known, account)["flow"]["status"] == NO_HOLDOUT


def test_an_event_that_triggers_the_flow_lets_people_in_at_its_time():
    asked = [
        {"event_id": str(key), "event_type": "cart", "subscriber_key": key, "occurred_us": start_of_day_us(START) + key}
        for key in (1, 2)
    ]
    events = rows(Events, *asked, properties="{}").lazy()
    flow = WORKFLOWS.with_columns(trigger=pl.lit("cart"))
    moments = trigger_moments([HOLDOUT], flow, subscribers().lazy(), events)
    assert sorted(moments["subscriber_key"]) == [1, 2]
    assert trigger_moments([], flow, subscribers().lazy(), events).is_empty()
