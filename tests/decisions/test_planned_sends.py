"""Planned messages by local day: the wait assigned or planned, the zone's day, and what is overdue is due at once."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from pipeline.decisions.planned_sends import planned_sends

TONIGHT = date(2026, 6, 29)
END = datetime(2026, 6, 30, tzinfo=UTC)
HOUR = 3_600_000_000
STEPS = pl.DataFrame(
    {
        "step_key": [1, 2, 3],
        "workflow_id": ["welcome"] * 3,
        "step_id": ["hello", "tips", "paused"],
        "kind": ["email"] * 3,
        "status": ["active", "active", "paused"],
    }
)
EDGES = pl.DataFrame({"from_step_key": [1, 1], "to_step_key": [2, 3], "delay_version": [1, 1], "delay_hours": [48, 24]})
PEOPLE = pl.DataFrame({"subscriber_key": [1, 2], "zone": ["UTC", "Asia/Tokyo"]})
OFFSETS = pl.DataFrame({"zone": ["UTC", "Asia/Tokyo"], "from_us": [0, 0], "offset_us": [0, 9 * HOUR]})


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def entry(person: int, hours_ago: float, *, to: int = 2, assigned: int | None = None, left: float = 1) -> dict:
    return {
        "subscriber_key": person, "step_key": 1, "to_step_key": to, "delay_version": 1, "entry_source": "event",
        "entered_us": us(END - timedelta(hours=hours_ago)), "assigned_delay_hours": assigned,
        "outcome_us": us(END + timedelta(hours=left)),
    }  # fmt: skip


def planned(*entries: dict) -> list[tuple]:
    frame = pl.DataFrame(list(entries), schema_overrides={"assigned_delay_hours": pl.Int64})
    found = planned_sends(frame.lazy(), STEPS, EDGES, PEOPLE.lazy(), OFFSETS, as_of=TONIGHT)
    return found.select("subscriber_key", "step_id", "planned_at", "local_day").rows()


def test_the_planned_wait_ends_on_the_persons_own_day() -> None:
    moment = (END + timedelta(hours=20)).replace(tzinfo=None)
    assert planned(entry(1, 28), entry(2, 28)) == [
        (1, "tips", moment, date(2026, 6, 30)),
        (2, "tips", moment, date(2026, 7, 1)),
    ]


def test_an_assigned_wait_counts_before_the_planned_one() -> None:
    [(_, _, moment, _)] = planned(entry(1, 10, assigned=30))
    assert moment == (END + timedelta(hours=20)).replace(tzinfo=None)


def test_what_is_overdue_is_due_right_after_tonight() -> None:
    [(_, _, moment, day)] = planned(entry(1, 60))
    assert (moment, day) == (END.replace(tzinfo=None), date(2026, 6, 30))


def test_who_has_gone_on_or_waits_for_no_mail_gets_none() -> None:
    assert planned(entry(1, 28, left=-5), entry(2, 28, to=3)) == []
