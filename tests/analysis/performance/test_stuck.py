from datetime import date
from typing import Any

import polars as pl
import pytest

from pipeline.analysis.performance.stuck import stuck_subscribers
from pipeline.common.time import DAY_US, HOUR_US, day_number, end_of_day_us
from pipeline.schemas.base import empty
from pipeline.schemas.core import (
    CoreConversions,
    CoreDepartures,
    CoreMessages,
    CoreStepEntries,
    CoreSubscribers,
    CoreWorkflows,
)
from pipeline.schemas.journeys.lake import JourneySteps
from pipeline.schemas.lake import AutomationQueue, Events
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
NOW = end_of_day_us(AS_OF)
WORKFLOWS, STEPS = linear_flow("welcome", "tips", "offer")
PERSON = 7


def entry(
    days_ago: float, outcome: str = "timeout", wait_days: float = 3, step: int = 1, **more: Any
) -> dict[str, Any]:
    entered = NOW - round(days_ago * DAY_US)
    return {
        "subscriber_key": PERSON,
        "workflow_key": 1,
        "step_key": step,
        "entered_us": entered,
        "entry_source": "event",
        "to_step_key": step + 1,
        "outcome": outcome,
        "outcome_us": entered + round(wait_days * DAY_US),
        **more,
    }


GROWING = ("departures", "conversions", "subscribers", "messages", "events")


def stuck(*entries: dict[str, Any], **frames: pl.DataFrame) -> pl.DataFrame:
    facts = {
        "departures": empty(CoreDepartures),
        "conversions": empty(CoreConversions),
        "subscribers": rows(
            CoreSubscribers, {"subscriber_key": PERSON, "status": "subscribed", "zone_source": "member"}
        ),
        "messages": empty(CoreMessages),
        "events": empty(Events),
        "automation_queue": empty(AutomationQueue),
        "journey_steps": empty(JourneySteps),
        "steps": STEPS,
        "workflows": WORKFLOWS,
    }
    told = {name: frame.lazy() if name in GROWING else frame for name, frame in {**facts, **frames}.items()}
    return stuck_subscribers(rows(CoreStepEntries, *entries).lazy(), **told, as_of=AS_OF)


def with_status(status: str, step: int) -> pl.DataFrame:
    return STEPS.with_columns(status=pl.when(pl.col("step_key") == step).then(pl.lit(status)).otherwise("status"))


def queued(next_send_us: int, night: int | None = None) -> pl.DataFrame:
    waiting = {"workflow_id": "flow", "step_id": "tips", "subscriber_key": PERSON, "next_send_us": next_send_us}
    return rows(AutomationQueue, waiting, as_of_day=day_number(AS_OF) if night is None else night)


EVIDENCE: dict[str, dict[str, pl.DataFrame]] = {
    "unknown": {},
    "deleted target": {"steps": with_status("deleted", 2)},
    "paused step": {"steps": with_status("paused", 2)},
    "bounced": {"messages": rows(CoreMessages, {"subscriber_key": PERSON, "step_key": 1, "bounce_kind": "soft"})},
    "failed filter": {
        "events": rows(
            Events,
            {
                "event_type": "filter_failed",
                "subscriber_key": PERSON,
                "workflow_id": "flow",
                "occurred_us": NOW - DAY_US,
            },
        )
    },
    "queue stall": {"automation_queue": queued(NOW - DAY_US)},
}


@pytest.mark.parametrize("cause", EVIDENCE)
def test_the_cause_is_what_the_evidence_shows(cause: str):
    row = stuck(entry(10), **EVIDENCE[cause]).row(0, named=True)
    assert (row["cause"], row["step_id"], row["to_step_id"], row["entries"]) == (cause, "welcome", "tips", 1)
    assert row["stuck_hours"] == pytest.approx(7 * 24)


@pytest.mark.parametrize(("waiting", "cause"), [(3, "queue stall"), (0, "unknown"), (None, "unknown")])
def test_a_queue_at_the_next_email_of_a_journey_is_a_stall(waiting: int | None, cause: str):
    """People in a delay wait as planned; those whom Mailchimp counts at the e-mail itself do not get on."""
    steps = STEPS.with_columns(campaign_id=pl.lit("c") + pl.col("step_id"))
    mail = {"journey_id": "7", "step_kind": "email", "campaign_id": "ctips", "queue_count": waiting}
    found = stuck(entry(10), steps=steps, journey_steps=rows(JourneySteps, mail))
    assert found["cause"].to_list() == [cause]


def test_a_paused_workflow_pauses_its_steps():
    paused = rows(CoreWorkflows, {"workflow_key": 1, "workflow_id": "flow", "kind": "flow", "status": "paused"})
    assert stuck(entry(10), workflows=paused)["cause"].to_list() == ["paused step"]


def test_going_round_is_a_loop_although_the_last_round_is_young():
    row = stuck(*(entry(ago) for ago in (4, 3, 2, 1))).row(0, named=True)
    assert (row["cause"], row["entries"]) == ("loop", 4)


def test_coming_back_after_each_journey_is_no_loop():
    assert stuck(*(entry(ago, "goal", 0.5) for ago in (9, 8, 7)), entry(1)).is_empty()


def test_a_legitimate_wait_is_not_stuck():
    assert stuck(entry(2, wait_days=3)).is_empty()
    assert stuck(entry(10), automation_queue=queued(NOW + DAY_US)).is_empty()


def test_an_old_queue_is_no_evidence():
    assert stuck(entry(10), automation_queue=queued(NOW - DAY_US, day_number(AS_OF) - 1))["cause"].to_list() == [
        "unknown"
    ]


def test_what_happens_after_tonight_is_not_known():
    assert stuck(entry(10), entry(-1, step=2)).height == 1


@pytest.mark.parametrize(
    "frames",
    [
        {
            "departures": rows(
                CoreDepartures, {"subscriber_key": PERSON, "workflow_key": 1, "occurred_us": NOW - HOUR_US}
            )
        },
        {
            "departures": rows(
                CoreDepartures, {"subscriber_key": PERSON, "workflow_key": 0, "occurred_us": NOW - HOUR_US}
            )
        },
        {
            "conversions": rows(
                CoreConversions, {"subscriber_key": PERSON, "event_type": "purchase", "occurred_us": NOW - 1}
            )
        },
        {
            "subscribers": rows(
                CoreSubscribers, {"subscriber_key": PERSON, "status": "archived", "zone_source": "member"}
            )
        },
    ],
    ids=["left the workflow", "left all", "goal", "archived"],
)
def test_whoever_has_left_since_is_not_stuck(frames: dict[str, pl.DataFrame]):
    assert stuck(entry(10), **frames).is_empty()


def test_whoever_has_moved_on_late_is_not_stuck_in_the_old_step():
    assert stuck(entry(10), entry(2, step=2)).is_empty()
    assert stuck(entry(20), entry(10, step=2))["step_id"].to_list() == ["tips"]


def test_a_queue_sighting_is_no_arrival():
    row = stuck(entry(10), entry(5, step=2, entry_source="queue"), automation_queue=queued(NOW - DAY_US)).row(
        0, named=True
    )
    assert (row["step_id"], row["cause"]) == ("welcome", "queue stall")


def test_having_left_once_does_not_excuse_a_later_journey():
    left = rows(CoreDepartures, {"subscriber_key": PERSON, "workflow_key": 1, "occurred_us": NOW - 30 * DAY_US})
    assert stuck(entry(10), departures=left).height == 1
