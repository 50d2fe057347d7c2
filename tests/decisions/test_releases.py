"""Who waits for a released flow, and when each is let in."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common.sticky_hash import is_held_out
from pipeline.common.time import HOUR_US
from pipeline.config.constraints import Constraints
from pipeline.decisions.releases import due, expected, moments
from pipeline.schemas.base import empty, polars_schema
from pipeline.schemas.core import CoreMessages, CoreZoneOffsets
from tests.worlds.published import row
from tests.worlds.releases import FIRST, FLOW, MORNING, SECOND, TONIGHT, entry, night

NOBODY = pl.Series([], dtype=pl.Int64)
DAWN = MORNING.replace(tzinfo=None)


def plan_of(*entries: object, **terms: object) -> pl.DataFrame:
    return night(list(entries), **terms)["release_plan"]  # type: ignore[arg-type]


def at(hours: float) -> datetime:
    return DAWN + timedelta(hours=hours)


def test_those_who_entered_by_an_event_and_got_nothing_wait_and_others_do_not() -> None:
    sent = {"subscriber_key": 3, "step_key": FIRST, "workflow_key": 1, "campaign_id": "c"}
    message = pl.concat([empty(CoreMessages), pl.DataFrame([sent])], how="diagonal_relaxed")
    plan = plan_of(
        entry(1, 5),
        entry(2, 5, entry_source="sent_to"),
        entry(3, 5),
        entry(4, 5, outcome="goal"),
        entry(5, 5, outcome="lost"),
        messages=message,
    )
    assert plan["subscriber_key"].to_list() == [1]
    assert plan["step_id"].to_list() == ["hello"]


def test_the_planned_wait_before_the_first_step_counts_from_the_entry() -> None:
    assert plan_of(entry(1, 5), first_wait=8)["release_at"].to_list() == [at(3)]


def test_the_hours_that_the_wait_field_holds_count_in_place_of_the_planned_wait() -> None:
    entries = [entry(key, 5) for key in (1, 2, 3, 4)]
    plan = plan_of(*entries, first_wait=8, waits={1: "48", 2: "0", 3: "soon"})
    assert plan.sort("subscriber_key")["planned_at"].to_list() == [at(43), at(0), at(3), at(3)]


def test_nobody_is_late_by_a_wait_that_was_written_after_it_would_have_been_over() -> None:
    terms = {"waits": {1: "0"}, "late_hours": 36}
    assert plan_of(entry(1, 40), **terms)["status"].to_list() == ["late"]
    assert plan_of(entry(1, 40), **terms, waits_hours_ago=20)["status"].to_list() == ["planned"]


def test_those_who_came_to_the_step_before_the_email_wait_their_own_delay() -> None:
    plan = plan_of(entry(1, 5), entry(2, 5, assigned_delay_hours=48), first_kind="wait")
    assert plan.select("subscriber_key", "step_id", "release_at").rows() == [
        (1, "tips", at(19)),
        (2, "tips", at(43)),
    ]


def test_nobody_is_let_in_by_an_email_that_does_not_send() -> None:
    assert night([entry(1, 5, to_step_key=SECOND)], first_kind="branch")["release_starts"].height == 1
    assert plan_of(entry(1, 5, to_step_key=None, outcome="timeout"), first_kind="branch").is_empty()


def test_the_best_hour_is_in_the_persons_own_zone() -> None:
    zones = pl.DataFrame(
        {"zone": ["A"], "from_us": [0], "to_us": [2**62], "offset_us": [2 * HOUR_US]},
        schema=polars_schema(CoreZoneOffsets),
    )
    plan = plan_of(entry(1, 5), best={1: 9}, zones=zones, zone="A")
    assert plan.select("planned_at", "release_at").row(0) == (at(0), at(7))


def test_quiet_hours_and_closed_days_move_everybody_and_close_the_moment() -> None:
    """The night ends on a Tuesday; mail goes out on Wednesdays from 7 until 21."""
    limits = Constraints.model_validate({"quiet_hours": "21-07", "allowed_days": ["Wed"]})
    plan = plan_of(entry(1, 5), constraints=limits, best={1: 23}, late_hours=100)
    assert plan.select("planned_at", "release_at", "release_until").row(0) == (at(31), at(31), at(45))


@settings(deadline=None, max_examples=40)
@given(
    entered=st.integers(-20, 30),
    best=st.none() | st.integers(0, 23),
    quiet=st.tuples(st.integers(0, 23), st.integers(0, 23)).filter(lambda pair: pair[0] != pair[1]),
    days=st.sets(st.sampled_from(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]), min_size=1),
)
def test_no_moment_lies_in_quiet_hours_or_on_a_closed_day_or_before_the_wait_is_over(
    entered: int, best: int | None, quiet: tuple[int, int], days: set[str]
) -> None:
    limits = Constraints.model_validate({"quiet_hours": f"{quiet[0]}-{quiet[1]}", "allowed_days": sorted(days)})
    hours = {} if best is None else {1: best}
    wait = max(0, entered)
    plan = plan_of(entry(1, 1.5), first_wait=wait, constraints=limits, best=hours, late_hours=500)
    for name in ("release", "planned"):
        begin, end = plan.item(0, f"{name}_at"), plan.item(0, f"{name}_until")
        assert begin >= max(at(wait - 1.5), at(0))
        assert begin < end
        for moment in (begin, end - timedelta(microseconds=1)):
            assert f"{moment:%a}" in days
            assert (moment.hour - quiet[0]) % 24 >= (quiet[1] - quiet[0]) % 24


def test_who_waits_too_long_already_is_late_and_who_is_held_back_is_said_so() -> None:
    yields = row("workflow_conflicts", subscriber_key=3, workflow_id=FLOW, resolution="delay")
    made = night([entry(1, 40), entry(2, 30), entry(3, 30)], collisions=yields)
    told = made["release_plan"].select("subscriber_key", "status").sort("subscriber_key").rows()
    assert told == [(1, "late"), (2, "planned"), (3, "conflict")]
    assert made["release_starts"].select("planned", "late", "held_back").row(0) == (1, 1, 1)


def test_those_who_are_late_are_spread_over_a_day_where_the_user_wants_it() -> None:
    entries = [entry(key, 60) for key in range(240)]
    spread = plan_of(*entries, are_late_spread=True)
    assert set(spread["status"]) == {"planned"}
    by_hour = spread.group_by(pl.col("release_at").dt.truncate("1h")).len()
    assert by_hour.height == 24
    assert by_hour["len"].max() < 30
    assert (spread["release_at"].min() >= at(0), spread["release_at"].max() < at(24)) == (True, True)
    told = plan_of(*entries)
    assert set(told["status"]) == {"late"}
    assert moments(told, "record", 0.0).is_empty()
    # Another approval lets them in at the same moments, up to the day that it names.
    anew = moments(told, "record", 0.0, TONIGHT)
    assert anew["at"].sort().to_list() == spread["release_at"].sort().to_list()
    assert moments(told, "record", 0.0, TONIGHT - timedelta(days=3)).is_empty()


def test_those_held_out_are_let_in_at_the_old_planned_time_and_the_others_at_their_hour() -> None:
    keys = list(range(200))
    plan = plan_of(*(entry(key, 5) for key in keys), best=dict.fromkeys(keys, 9))
    found = moments(plan, "record", 0.1).sort("subscriber_key")
    out = is_held_out(found["subscriber_key"], "record", 0.1)
    assert found["at"].to_list() == [at(0) if is_out else at(9) for is_out in out]
    now = due(found, NOBODY, MORNING + timedelta(hours=1))
    assert set(now["subscriber_key"]) == set(found.filter(out)["subscriber_key"])


def test_who_was_taken_is_not_due_again_and_who_is_too_late_is_marked() -> None:
    people = moments(plan_of(entry(1, 5), entry(2, 5), entry(3, 3)), "record", 0.0)
    found = due(people, pl.Series([2]), MORNING)
    assert found.select("subscriber_key", "is_late").rows() == [(1, False), (3, False)]
    assert due(people, NOBODY, MORNING + timedelta(hours=36))["is_late"].to_list() == [True] * 3


@pytest.mark.parametrize(("cap", "room", "told"), [(10, 100, [5, 0, 3]), (2, 100, [2, 2, 2, 2]), (10, 6, [5, 0, 1])])
def test_the_next_hours_are_told_within_cap_and_total(cap: int, room: int, told: list[int]) -> None:
    waiting = [*(entry(key, 5) for key in range(5)), *(entry(key, 0, assigned_delay_hours=2) for key in (5, 6, 7))]
    plan = pl.concat([plan_of(*waiting[:5]), plan_of(*waiting[5:], first_wait=2)])
    found = expected(moments(plan, "record", 0.0), NOBODY, MORNING, hourly_cap=cap, room=room)
    assert found == told + [0] * (24 - len(told))
