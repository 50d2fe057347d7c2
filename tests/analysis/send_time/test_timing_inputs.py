"""What the timing analyses are given: matured outcomes, delays in use, hours, sends, and who waits for which mail."""

from datetime import date

import polars as pl

from pipeline.analysis.delays.outcomes import BLOCK_DAYS, current_delays, delay_outcomes
from pipeline.analysis.delays.recommendations import analyse_delays
from pipeline.analysis.send_time.evaluation import evaluate_send_times
from pipeline.analysis.send_time.inputs import activity_hours, audience, below_cap, engaged_sends
from pipeline.analysis.send_time.schedule import schedule_sends
from pipeline.analysis.send_time.subscribers import analyse_send_times
from pipeline.common.time import day_number, end_of_day_us
from pipeline.config.constraints import Constraints
from pipeline.schemas import core, reductions
from pipeline.schemas.base import empty

TONIGHT = date(2026, 3, 31)
DAY = day_number(TONIGHT)
NIGHT_US = end_of_day_us(TONIGHT)
HORIZON = 14
STEPS = pl.DataFrame(
    {
        "step_key": [1, 2, 3],
        "workflow_id": ["w", "w", "w"],
        "step_id": ["a", "b", "c"],
        "kind": ["email", "email", "branch"],
        "status": ["active", "active", "active"],
    }
)


def assigned(**columns: object) -> pl.DataFrame:
    row = {
        "from_step_key": 1,
        "to_step_key": 2,
        "day": DAY - HORIZON,
        "entry_day": DAY - HORIZON,
        "assigned_delay_hours": 24,
        "is_delay_randomised": True,
        "segment": "none",
        "entrants": 1,
        "conversions": 0,
    }
    return pl.DataFrame({name: columns.get(name, [value]) for name, value in row.items()}, strict=False)


def outcomes(frame: pl.DataFrame) -> pl.DataFrame:
    return delay_outcomes(frame, STEPS, as_of=TONIGHT, horizon_days=HORIZON)


def test_only_those_whose_horizon_has_passed_count() -> None:
    frame = pl.concat([assigned(), assigned(entry_day=[DAY - HORIZON + 1])])
    assert outcomes(frame)["entrants"].to_list() == [1]


def test_a_conversion_counts_up_to_the_horizon_for_everyone_who_entered() -> None:
    days = [DAY - HORIZON + later for later in (0, HORIZON, HORIZON + 1)]
    converted = [assigned(day=[day], entrants=[0], conversions=[1]) for day in days]
    [row] = outcomes(pl.concat([assigned(entrants=[4]), *converted])).to_dicts()
    assert (row["entrants"], row["conversions"]) == (4, 2)
    assert (row["workflow_id"], row["from_step_id"], row["to_step_id"]) == ("w", "a", "b")


def test_blocks_of_four_weeks_and_the_lot_are_kept_apart() -> None:
    early = assigned(entry_day=[DAY - HORIZON - BLOCK_DAYS])
    chosen = assigned(is_delay_randomised=[False])
    assert outcomes(pl.concat([assigned(), early, chosen])).height == 3


def test_the_delay_in_use_is_the_one_for_who_enters_tonight() -> None:
    edges = pl.DataFrame(
        {
            "from_step_key": [1, 1, 1],
            "to_step_key": [2, 2, 2],
            "delay_hours": [24, 48, 72],
            "valid_from_us": [0, NIGHT_US - 1, NIGHT_US],
            "valid_to_us": [NIGHT_US - 1, NIGHT_US, 2**61],
        }
    )
    found = current_delays(edges, STEPS, as_of=TONIGHT)
    assert found.rows() == [("w", "a", "b", 48)]


def test_activity_is_that_of_the_period_only() -> None:
    rows = pl.DataFrame(
        {
            "subscriber_key": [1, 1, 1],
            "day": [DAY, DAY - 6, DAY - 7],
            "local_hour_of_week": [9, 9, 9],
            **{name: [1, 2, 4] for name in ("sends", "human_opens", "human_clicks", "behaviour_events")},
        }
    )
    found = activity_hours(rows.lazy(), as_of=TONIGHT, days=7)
    assert found.rows() == [(1, 9, 1, 1, 1, 1), (1, 9, 2, 2, 2, 2)]


def test_an_open_engages_only_where_machines_are_known() -> None:
    messages = pl.DataFrame(
        {
            "subscriber_key": [1, 2, 3, 4],
            "step_key": [7] * 4,
            "sent_us": [8] * 4,
            "day": [DAY] * 4,
            "local_hour_of_week": [9, 24 + 9, 33, 57],
            "bounce_kind": [None, None, None, "hard"],
            "has_machine_marks": [True, False, False, True],
            "human_opens": [1, 1, 0, 1],
            "human_clicks": [0, 0, 1, 1],
        }
    )
    found = engaged_sends(messages.lazy(), as_of=TONIGHT, days=1)
    assert found.drop("day", "step_key", "sent_us").rows() == [(1, 9, True), (2, 9, False), (3, 9, True)]


def test_those_who_wait_or_are_queued_are_mailed_by_steps_that_mail() -> None:
    entries = pl.DataFrame(
        {
            "subscriber_key": [1, 2, 3, 4, 5],
            "step_key": [1, 1, 2, 1, 2],
            "to_step_key": [2, 2, 3, None, 3],
            "entry_source": ["event", "event", "event", "event", "queue"],
            "outcome_us": [NIGHT_US, NIGHT_US - 1, NIGHT_US, NIGHT_US, NIGHT_US],
        }
    )
    found = audience(entries.lazy(), STEPS, as_of=TONIGHT)
    assert sorted(found.rows()) == [("w", "b", 1), ("w", "b", 5)]
    paused = STEPS.with_columns(status=pl.lit("paused"))
    assert audience(entries.lazy(), paused, as_of=TONIGHT).is_empty()


def test_who_has_had_their_share_of_mail_is_left_out() -> None:
    people = pl.DataFrame({"workflow_id": ["w"] * 2, "step_id": ["b"] * 2, "subscriber_key": [1, 2]})
    messages = pl.DataFrame({"subscriber_key": [1, 1, 2, 2], "day": [DAY, DAY - 1, DAY, DAY - 2]})
    found = below_cap(people, messages.lazy(), as_of=TONIGHT, most=2, days=2)
    assert found["subscriber_key"].to_list() == [2]


def test_an_account_of_which_nothing_is_known_has_empty_tables_and_an_unknown_lift() -> None:
    steps, messages = empty(core.CoreSteps), empty(core.CoreMessages)
    delays = analyse_delays(
        delay_outcomes(empty(reductions.AssignedDelays), steps, as_of=TONIGHT, horizon_days=HORIZON),
        current_delays(empty(core.CoreEdges), steps, as_of=TONIGHT),
        as_of_day=TONIGHT,
    )
    times = analyse_send_times(
        [
            (
                activity_hours(empty(reductions.SubscriberHours).lazy(), as_of=TONIGHT, days=180),
                engaged_sends(messages.lazy(), as_of=TONIGHT, days=180),
            )
        ],
        as_of_day=TONIGHT,
    )
    people = audience(empty(core.CoreStepEntries).lazy(), steps, as_of=TONIGHT)
    schedules = schedule_sends(
        people, times.subscribers, times.profiles, Constraints().of_steps(steps), as_of_day=TONIGHT
    )
    for frame in (delays.curves, delays.recommendations, times.clusters, times.subscribers, schedules):
        assert frame.is_empty()
    sends = engaged_sends(messages.lazy(), as_of=TONIGHT, days=180).with_columns(
        propensity=pl.lit(None, dtype=pl.Float64)
    )
    lift = evaluate_send_times(sends, times.subscribers, times.profiles, as_of_day=TONIGHT)
    assert set(lift["status"]) == {"cannot be estimated"}
    assert lift["engagement_lift"].null_count() == lift.height
    assert lift["exploration_share"].min() > 0


def test_activity_without_any_mail_keeps_an_unknown_hour() -> None:
    hours = pl.DataFrame(
        {
            "subscriber_key": [1, 2],
            "day": [DAY, DAY],
            "local_hour_of_week": [9, 20],
            "sends": [0, 0],
            "human_opens": [0, 0],
            "human_clicks": [0, 0],
            "behaviour_events": [3, 1],
        }
    )
    found = analyse_send_times(
        [
            (
                activity_hours(hours.lazy(), as_of=TONIGHT, days=7),
                engaged_sends(empty(core.CoreMessages).lazy(), as_of=TONIGHT, days=7),
            )
        ],
        as_of_day=TONIGHT,
    ).subscribers
    assert set(found["fallback_level"]) == {"current hour"}
    assert found["recommended_local_hour"].null_count() == found.height
