"""Profiles: what rules may ask for, as known tonight, and under the names that people gave."""

from datetime import date, datetime

import polars as pl

from pipeline.common.time import DAY_US, day_number, end_of_day_us
from pipeline.decisions.definitions import parse_rule
from pipeline.decisions.memberships import stays
from pipeline.decisions.profile import merge_field_names, subscriber_profiles
from pipeline.decisions.rules import evaluate_rules
from pipeline.schemas.core import CoreConversions, CoreMessages, CoreStepEntries, CoreSubscribers
from pipeline.schemas.reductions import SubscriberHours
from tests.worlds.facts import linear_flow, rows

TONIGHT = date(2026, 6, 29)
NOW_US = end_of_day_us(TONIGHT)
NOW = datetime(2026, 6, 30)


def at(table: type, moment: str, us: int, **more: object) -> dict:
    return {"subscriber_key": 1, moment: us, "day": us // DAY_US, **more}


def profiles(workflow_id: str = "flow") -> pl.DataFrame:
    """One person, who did everything three days before the end of tonight and once more on the morning after."""
    moments = (NOW_US - 3 * DAY_US, NOW_US + DAY_US // 4)
    bought = [{"conversion_id": str(us), "net_cents": 1_000, "is_order": True} for us in moments]
    mail = [{"step_key": number, "sent_us": us, "first_human_open_us": us, "human_opens": 1}
            for number, us in enumerate(moments, 1)]  # fmt: skip
    place = {"subscriber_key": 1, "step_key": 1, "workflow_key": 1}
    entry = {**place, "entered_us": NOW_US - DAY_US, "day": day_number(TONIGHT), "outcome_us": NOW_US + DAY_US}
    workflows, _ = linear_flow("hello")
    workflows = workflows.with_columns(workflow_id=pl.lit(workflow_id))
    return subscriber_profiles(
        rows(CoreSubscribers, {"subscriber_key": 1}),
        rows(CoreMessages, *(one | {"subscriber_key": 1, "day": one["sent_us"] // DAY_US} for one in mail)).lazy(),
        rows(CoreConversions, *(one | {"subscriber_key": 1, "occurred_us": us, "day": us // DAY_US}
                                for one, us in zip(bought, moments, strict=True))).lazy(),
        rows(SubscriberHours, {"subscriber_key": 1, "day": day_number(TONIGHT)}).lazy(),
        stays(rows(CoreStepEntries, entry).lazy(), workflows, as_of=TONIGHT, days=0),
        merge_fields=[],
        workflow_ids=[workflow_id],
        as_of=TONIGHT,
    )  # fmt: skip


def holds(found: pl.DataFrame, **condition: object) -> bool:
    return bool(evaluate_rules(found, [parse_rule("rule", condition)], NOW)["rule"].item())


def test_what_came_on_the_morning_after_hides_nothing_of_what_came_before():
    """Orders are read on the morning after the night, up to that moment."""
    found = profiles()
    counts = found.select("purchases", "purchase_amount", "sends_90d", "human_opens_90d").row(0)
    assert counts == (1, 10.0, 1, 1)
    for field in ("last_purchase_at", "last_sent_at", "last_open_at"):
        assert holds(found, field=field, operator="withinLast", value=7, unit="days")


def test_a_rule_may_ask_for_a_workflow_whatever_its_id_holds():
    for workflow_id in ("flow", "welcome.v2", "a b.c"):
        assert holds(profiles(workflow_id), field=f"in_workflow.{workflow_id}", operator="equals", value=True)


def test_merge_fields_of_a_small_audience_are_known_beside_a_large_one():
    texts = [f'{{"FNAME": "x{number}"}}' for number in range(3_000)]
    members = pl.DataFrame({"merge_fields": [*texts, '{"TIER": "gold", "NOTE": "a \\"b\\": c"}', "{}", None]})
    assert merge_field_names(members.lazy()) == ["FNAME", "NOTE", "TIER"]
