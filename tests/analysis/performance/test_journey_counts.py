"""Our counts of people in a journey against Mailchimp's: equal, or the reason that the evidence bears out."""

from datetime import date, datetime

import polars as pl
import pytest

from pipeline.analysis.performance.journey_counts import journey_counts
from pipeline.common.time import DAY_US, day_number, end_of_day_us
from pipeline.schemas.core import CoreEdges, CoreMessages, CoreStepEntries, CoreSubscribers
from pipeline.schemas.journeys.lake import JourneySteps, Recipients
from pipeline.schemas.journeys.marts import PublishedJourneys
from pipeline.schemas.lake import Sources
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
NOW = end_of_day_us(AS_OF)
STEPS = linear_flow("hello", "tips")[1].with_columns(campaign_id=pl.format("mail{}", "step_key"))
EDGE = {"from_step_key": 1, "to_step_key": 2, "delay_version": 1, "delay_hours": 96}
EDGES = rows(CoreEdges, EDGE, workflow_key=1)


def compared(
    *,
    unread: int = 0,
    later: int = 0,
    waiting_first: int = 0,
    exits: int = 0,
    overdue: int = 0,
    due: int = 0,
    last_started_at: datetime | None = None,
    can_reenter: bool = False,
    repeated: int = 0,
    failed: tuple[str, str] | None = None,
    emails: tuple[str, ...] = (),
    steps: pl.DataFrame = STEPS,
    **told: int,
) -> dict[str, str]:
    """Reasons by metric: of ten people who got the first e-mail, six got the last one, and four wait or left."""
    waiting = [("timeout", -1)] * overdue + [("timeout", 1)] * (4 - exits - overdue)
    outcomes = [("advanced", -1)] * 6 + [("lost", -1)] * exits + waiting
    first = [
        {"subscriber_key": person, "step_key": 1, "outcome": outcome, "outcome_us": NOW + sign * DAY_US}
        for person, (outcome, sign) in enumerate(outcomes)
    ]
    last = [
        {"subscriber_key": person, "step_key": 2, "outcome": "completed", "outcome_us": NOW - 1} for person in range(6)
    ]
    entries = [{**row, "entered_us": NOW - (4 - row["step_key"]) * DAY_US} for row in (*first, *last)]
    for row in entries[:10]:
        is_due = row["subscriber_key"] >= 10 - due
        row |= {"to_step_key": 2, "delay_version": 1, "entered_us": row["entered_us"] - is_due * DAY_US}
    sent = [{"subscriber_key": row["subscriber_key"], "step_key": row["step_key"]} for row in entries]
    reported = {"started": 10, "completed": 6, "queued": 4 - exits, "sent": 16, **told}
    journey: dict[str, object] = {
        "journey_id": "7",
        "workflow_id": "flow",
        "is_current": True,
        "version": 1,
        **reported,
    }
    journey |= {**reported, "last_started_at": last_started_at, "can_reenter": can_reenter}
    positions = [{"step_id": "1", "position": 1, "step_kind": "delay", "queue_count": waiting_first}]
    positions += [{"step_id": "2", "position": 2, "step_kind": "email", "queue_count": 0}]
    positions += [{"position": 3, "step_kind": "email", "campaign_id": campaign} for campaign in emails]
    since = {"state": "failed", "since_day": day_number(AS_OF) - 2}
    notes = [{"kind": failed[0], "source_id": failed[1], **since}] if failed else []
    found = journey_counts(
        rows(PublishedJourneys, journey, first_day=AS_OF, as_of_day=AS_OF),
        rows(JourneySteps, *positions, journey_id="7"),
        rows(CoreStepEntries, *entries, workflow_key=1, entry_source="sent_to").lazy(),
        rows(CoreMessages, *sent, workflow_key=1).lazy(),
        steps,
        EDGES,
        rows(CoreSubscribers, *({"subscriber_key": person, "status": "subscribed"} for person in range(10))).lazy(),
        rows(
            Recipients,
            *({"subscriber_key": 100 + one, "feed_state": "awaited", "feed_us": None} for one in range(unread)),
            *({"subscriber_key": 200 + one, "feed_state": "read", "feed_us": NOW + 1} for one in range(later)),
            *({"subscriber_key": one, "feed_state": "read", "feed_sends": 2} for one in range(repeated)),
            campaign_id="mail2",
        ),
        rows(Sources, *notes, as_of_day=day_number(AS_OF)).lazy(),
        as_of=AS_OF,
    )
    assert found.select("campaign_id").unique().rows() == [("7",)]
    return dict(found.select("metric", "reason").iter_rows())


def test_every_count_of_a_plain_journey_is_equal():
    assert set(compared(exits=1).values()) == {"equal"}


@pytest.mark.parametrize(
    ("metric", "told", "reason"),
    [
        ("started", {"started": 12, "waiting_first": 2}, "waiting for the first e-mail"),
        ("started", {"started": 12}, "left before the first e-mail"),
        ("started", {"started": 11, "sent": 17}, "deleted members"),
        ("started", {"started": 12, "sent": 18}, "unexplained"),
        ("started", {"started": 12, "unread": 2}, "feeds not read yet: 2 people"),
        ("started", {"started": 13, "unread": 2}, "left before the first e-mail"),
        ("completed", {"completed": 8, "unread": 2}, "feeds not read yet: 2 people"),
        ("sent", {"sent": 20, "unread": 2}, "feeds not read yet: 2 people"),
        ("started", {"started": 9}, "unexplained"),
        ("queued", {"queued": 6, "waiting_first": 2}, "waiting for the first e-mail"),
        ("queued", {"queued": 2}, "exits are not told"),
        ("queued", {"queued": 1, "exits": 1}, "unexplained"),
        ("queued", {"queued": 1, "exits": 1, "overdue": 1}, "unexplained"),
        ("queued", {"queued": 1, "exits": 1, "overdue": 2}, "exits not told yet"),
        ("completed", {"completed": 5}, "unexplained"),
        ("completed", {"completed": 8, "due": 2}, "last e-mail on its way"),
        ("completed", {"completed": 8, "due": 1}, "unexplained"),
        ("sent", {"sent": 17}, "deleted members"),
        ("sent", {"sent": 18}, "unexplained"),
        ("sent", {"sent": 15}, "unexplained"),
    ],
)
def test_a_difference_has_the_reason_that_the_evidence_bears_out(metric: str, told: dict[str, int], reason: str):
    assert compared(**told)[metric] == reason


@pytest.mark.parametrize("metric", ["started", "completed", "queued", "sent"])
def test_mailchimp_counts_once_more_who_comes_in_again(metric: str):
    told = {"started": 30, "completed": 15, "queued": 8, "sent": 40}
    assert compared(can_reenter=True, **told)[metric] == "re-entry"
    assert compared(repeated=1, **told)[metric] == "re-entry"
    assert compared(can_reenter=True)[metric] == "equal"


@pytest.mark.parametrize("failed", [("journey list", "journeys"), ("journey", "7")])
def test_a_journey_that_was_not_read_tonight_is_held_against_an_older_count(failed: tuple[str, str]):
    found = compared(failed=failed, started=9, completed=5, queued=3)
    assert found == {
        **dict.fromkeys(("started", "completed", "queued"), "journey not read since 2026-06-27"),
        "sent": "equal",
    }
    assert compared(failed=("journey", "8"), started=9)["started"] == "unexplained"


def test_messages_of_an_email_that_could_not_be_read_are_missing_for_that():
    told = {"started": 30, "completed": 15, "sent": 40, "failed": ("campaign", "mail1")}
    assert compared(**told) == {
        **dict.fromkeys(("started", "completed", "sent"), "e-mails not read"),
        "queued": "equal",
    }
    assert compared(**{**told, "failed": ("campaign", "mail9")})["sent"] == "unexplained"


def test_an_email_that_another_workflow_sends_too_counts_there():
    other = STEPS.with_columns(
        pl.col("workflow_key", "step_key") + 10, campaign_id=pl.lit("elsewhere"), workflow_id=pl.lit("b")
    ).head(1)
    told = {"sent": 40, "steps": pl.concat([STEPS, other])}
    assert compared(emails=("mail1", "elsewhere"), **told)["sent"] == "shared e-mail"
    assert compared(emails=("mail1",), **told)["sent"] == "unexplained"


def test_messages_of_an_email_that_was_taken_out_are_not_held_against_those_left():
    taken_out = STEPS.with_columns(status=pl.when(pl.col("step_key") == 1).then(pl.lit("deleted")).otherwise("status"))
    assert compared(sent=6, steps=taken_out)["sent"] == "equal"


def test_more_than_mailchimp_counts_is_not_for_being_older():
    assert compared(sent=12, last_started_at=datetime(2026, 6, 30, 3))["sent"] == "unexplained"


def test_without_messages_sent_again_nobody_is_seen_to_come_in_again():
    assert compared(can_reenter=True, started=12)["started"] == "left before the first e-mail"


@pytest.mark.parametrize(
    ("told", "reasons"),
    [
        (
            {"sent": 18, "completed": 8},
            {"sent": "journey newer than the night", "completed": "journey newer than the night"},
        ),
        ({"sent": 18, "started": 12}, {"started": "journey newer than the night"}),
        ({"sent": 18, "started": 14}, {"started": "left before the first e-mail"}),
        ({"sent": 18, "queued": 2}, {"queued": "journey newer than the night"}),
        ({"sent": 20}, {"sent": "deleted members"}),
    ],
)
def test_as_many_as_got_mail_since_the_night_have_moved_on(told: dict[str, int], reasons: dict[str, str]):
    assert compared(later=2, **told).items() >= reasons.items()


def test_a_journey_that_somebody_started_since_the_night_tells_the_count_of_now():
    assert compared(started=12, last_started_at=datetime(2026, 6, 30, 3))["started"] == "journey newer than the night"
    assert compared(started=9, last_started_at=datetime(2026, 6, 29, 3))["started"] == "unexplained"


def test_what_mailchimp_does_not_tell_is_compared_with_nothing():
    found = compared(started=None)  # type: ignore[arg-type]
    assert found["started"] == "no total announced"
    assert pl.Series(list(found.values())).value_counts().height == 2
