"""What applied changes brought: found where it is there, not where it is not, counted only from when it holds."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.realised import DAYS_UNTIL_REACHED, in_a_word, realised_lift
from pipeline.optimizations.record import LiftPlan, Measure, Record
from pipeline.optimizations.verification import shrink_holdouts, verify_what_works
from pipeline.schemas.loop import RealisedLift
from pipeline.schemas.vocabulary import ApplyKind, MetricName
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.applied import APPLIED_DAY, WINDOW_DAYS, Step, facts, known_by, mailed_often, night, record, written

BUSY = Step(per_day=1_500, lift=0.4)


def measured(of: Record, step: Step, *, as_of: date | None = None, seed: int = 1) -> pl.DataFrame:
    world = facts(np.random.default_rng(seed), of, step)
    rows = realised_lift([of], world, written(of, world), as_of_day=as_of or night(step))
    RealisedLift.validate(rows)
    return rows


def word(rows: pl.DataFrame) -> dict[str, object]:
    return in_a_word(rows).row(0, named=True)


def test_a_lift_is_found_beside_its_promise() -> None:
    told = word(measured(record(promised=0.4), BUSY))
    assert (told["outcome"], told["promised_lift"], told["status"]) == ("works", 0.4, "ok")
    assert told["realised_lift_low"] < 0.4 < told["realised_lift_high"]
    assert told["realised_lift"] == pytest.approx(0.4, abs=0.12)
    # What everybody with the change did more of than those kept out, as an account would count it.
    expected = told["exposures"] * (told["applied_mean"] - told["held_out_mean"])
    assert told["incremental_total"] == pytest.approx(expected, rel=0.05)


def test_nothing_is_claimed_where_the_change_does_nothing() -> None:
    told = word(measured(record(promised=None), Step()))
    assert told["outcome"] == "measuring"
    assert told["realised_lift_low"] < 0 < told["realised_lift_high"]


def test_a_promise_not_kept_is_told() -> None:
    assert word(measured(record(promised=0.9), BUSY))["outcome"] == "less than promised"


@pytest.mark.parametrize(
    ("step", "metric"),
    [
        (Step(per_day=1_500, lift=-0.4), "conversion"),
        (Step(per_day=3_000, lift=0.1, unsubscribe_lift=2.0), "unsubscribe"),
    ],
)
def test_harm_prevails(step: Step, metric: str) -> None:
    told = word(measured(record(), step))
    assert (told["outcome"], told["metric"]) == ("harm", metric)


def test_who_counts_was_mailed_on_a_whole_day_of_the_change_and_long_enough_a_member() -> None:
    step = Step(per_day=50, days_after=10)
    of = record()
    found = facts(np.random.default_rng(1), of, step)
    told = word(realised_lift([of], found, written(of, found), as_of_day=night(step)))
    # The day of the application itself does not count.
    assert told["exposures"] + told["held_out_exposures"] == 50 * (step.days_after - 1)
    late = found.subscribers.with_columns(
        signup_us=pl.when(pl.col("subscriber_key") % 2 == 0)
        .then(found.messages.collect()["sent_us"])
        .otherwise("signup_us")
    )
    assert DAYS_UNTIL_REACHED > 0
    later = type(found)(**{**vars(found), "subscribers": late})
    fewer = word(realised_lift([of], later, written(of, found), as_of_day=night(step)))
    assert fewer["exposures"] + fewer["held_out_exposures"] == 25 * (step.days_after - 1)


def test_a_message_counts_only_if_what_was_to_be_written_stood_when_it_was_sent() -> None:
    step = Step(per_day=50, days_after=10)
    of = record()
    found = facts(np.random.default_rng(1), of, step)
    stands = written(of, found)
    halves = stands.filter(pl.col("subscriber_key") % 2 == 0)
    told = word(realised_lift([of], found, halves, as_of_day=night(step)))
    assert told["exposures"] + told["held_out_exposures"] == 25 * (step.days_after - 1)
    removed = stands.with_columns(until_us=pl.col("from_us") + 1)
    assert word(realised_lift([of], found, removed, as_of_day=night(step)))["exposures"] == 0


def test_where_a_table_gives_a_value_to_some_everybody_counts_in_both_arms() -> None:
    after = {"field": "HOUR", "source": "send_time_assignments", "column": "assigned_local_hour"}
    of, step = record(after=after, promised=None), Step(per_day=500, days_after=30)
    found = facts(np.random.default_rng(1), of, step)
    # Those who buy are those who get an hour, whatever the hour does to them: nothing.
    buyers = found.conversions.select("subscriber_key").collect()["subscriber_key"]
    hours = written(of, found).filter(pl.col("subscriber_key").is_in(buyers.implode()))
    told = word(realised_lift([of], found, hours, as_of_day=night(step)))
    assert told["realised_lift_low"] < 0 < told["realised_lift_high"]
    assert told["exposures"] + told["held_out_exposures"] == step.per_day * (step.days_after - 1)


def test_a_change_ends_where_another_one_takes_over_its_field() -> None:
    first = record(1, promised=0.4)
    day = APPLIED_DAY + timedelta(days=15)
    after = {"field": "ARM1", "value": "C", "holdout_value": "B"}
    second = record(2, after=after, applied_day=day)
    world = facts(np.random.default_rng(3), first, BUSY)
    rows = in_a_word(realised_lift([second, first], world, written(first, world), as_of_day=night(BUSY)))
    days = dict(rows.select("optimization_id", "last_day").iter_rows())
    assert days == {first.optimization_id: day - timedelta(days=1), second.optimization_id: None}
    told = rows.row(by_predicate=pl.col("optimization_id") == first.optimization_id, named=True)
    assert told["exposures"] + told["held_out_exposures"] == BUSY.per_day * 14


def test_every_night_has_its_row_and_only_the_last_is_tonights() -> None:
    step = Step(per_day=50, days_after=10)
    rows = measured(record(), step).filter(pl.col("role") == "primary")
    first = APPLIED_DAY + timedelta(days=1 + WINDOW_DAYS)
    assert rows["as_of_day"].to_list() == pl.date_range(first, night(step), eager=True).to_list()
    assert rows.filter("is_latest")["as_of_day"].to_list() == [night(step)]


def test_before_the_first_window_has_closed_it_says_when() -> None:
    rows = measured(record(), Step(days_after=2), as_of=APPLIED_DAY + timedelta(days=1))
    assert rows["status"].to_list() == [f"not enough data: the first windows close on {APPLIED_DAY + timedelta(4)}"]
    assert rows["outcome"].to_list() == ["measuring"]


def test_a_change_made_for_everybody_is_not_measured() -> None:
    rows = measured(record(holdout_share=0.0, apply_kind=ApplyKind.MANUAL), BUSY)
    assert rows["outcome"].to_list() == ["not measured"]
    assert rows["realised_lift"].to_list() == [None]
    assert rows.item(0, "status").startswith("not identified")


def test_what_was_never_applied_or_promises_nothing_has_no_row() -> None:
    pending = record(status=Status.PENDING, applied_day=None)
    for of in (pending, record(measure=None), record(applied_day=night(BUSY) + timedelta(days=1))):
        world = facts(np.random.default_rng(1), of, Step())
        assert realised_lift([of], world, written(of, world), as_of_day=night(BUSY)).is_empty()


def test_a_change_taken_back_keeps_what_was_learnt_until_then() -> None:
    back = APPLIED_DAY + timedelta(days=15)
    of = record(promised=0.4, status=Status.ROLLED_BACK, rolled_back_day=back)
    told = word(measured(of, BUSY))
    assert told["last_day"] == back - timedelta(days=1)
    assert told["exposures"] + told["held_out_exposures"] == BUSY.per_day * 14
    assert told["outcome"] == "works"


def test_several_changes_are_measured_each_against_its_own_hold_out() -> None:
    first, second = record(1, promised=0.4), record(2, promised=0.4)
    world = facts(np.random.default_rng(3), first, BUSY)
    both = pl.concat([written(first, world), written(second, world)])
    rows = in_a_word(realised_lift([first, second], world, both, as_of_day=night(BUSY)))
    outcomes = dict(rows.select("optimization_id", "outcome").iter_rows())
    assert outcomes[first.optimization_id] == "works"
    # The second one's hold-out is drawn apart from the first one's, so it sees none of its effect.
    assert outcomes[second.optimization_id] == "less than promised"


def in_effect(ledger: Ledger, of: Record) -> Record:
    """The record in the ledger, applied on `APPLIED_DAY`."""
    ledger.propose([of.proposal], now=NOW, approval_policy=POLICY)
    for event in (EventType.APPROVED, EventType.APPLICATION_STARTED, EventType.APPLIED):
        stands = ledger.record(of.optimization_id)
        payload = {"applied_day": APPLIED_DAY.isoformat()} if event is EventType.APPLIED else {}
        ledger.append(
            of.optimization_id, event, actor="mara", now=NOW, expected_revision=stands.revision, payload=payload
        )
    return ledger.record(of.optimization_id)


def test_what_works_is_verified_once_with_what_was_measured(ledger: Ledger) -> None:
    of = record(promised=0.4)
    applied = in_effect(ledger, of)
    world = facts(np.random.default_rng(1), of, BUSY)
    rows = realised_lift([applied], world, written(of, world), as_of_day=night(BUSY))
    assert verify_what_works(ledger, rows, now=NOW) == [of.optimization_id]
    assert verify_what_works(ledger, rows, now=NOW) == []
    verified = ledger.record(of.optimization_id)
    assert verified.status is Status.VERIFIED
    assert verified.details["realised"]["realised_lift"] == word(rows)["realised_lift"]


PLANNED = LiftPlan(people=12_000, days=8)


def test_a_plan_says_from_the_first_night_when_its_answer_is_expected_and_ends_with_it() -> None:
    of = record(promised=0.4, plan=PLANNED)
    before = word(measured(of, BUSY, as_of=APPLIED_DAY + timedelta(days=1)))
    expected = APPLIED_DAY + timedelta(days=8 + WINDOW_DAYS)
    assert (before["phase"], before["planned_exposures"]) == ("planned", 12_000)
    assert before["expected_answer_day"] == expected
    rows = measured(of, BUSY, seed=2).filter(pl.col("role") == "primary")
    [answered] = rows["answered_day"].drop_nulls().unique()
    assert answered == expected
    assert dict(rows.select("as_of_day", "phase").iter_rows())[answered] == "planned"
    last = word(rows)
    assert (last["phase"], last["outcome"], last["expected_answer_day"]) == ("watching", "works", expected)
    assert last["exposures"] > rows.filter(as_of_day=answered).item(0, "exposures")


def test_without_a_plan_no_date_is_told() -> None:
    told = word(measured(record(promised=0.4, plan=LiftPlan(people=500_000)), BUSY))
    assert (told["phase"], told["planned_exposures"], told["expected_answer_day"]) == ("open-ended", None, None)


def test_a_plan_that_lacks_traffic_ends_a_quarter_later_with_the_people_it_has() -> None:
    rows = measured(record(plan=PLANNED), Step(per_day=50, days_after=30)).filter(pl.col("role") == "primary")
    [answered] = rows["answered_day"].drop_nulls().unique()
    assert answered == APPLIED_DAY + timedelta(days=1 + 10 + WINDOW_DAYS)
    assert word(rows)["outcome"] == "ended without an answer"


def test_a_person_counts_once_however_many_messages_they_get() -> None:
    of = record(workflow_id=None, step_id=None)
    world = mailed_often(np.random.default_rng(5), of, people=400, nights=40, every_days=5)
    tonight = APPLIED_DAY + timedelta(days=39)
    told = word(realised_lift([of], world, written(of, world), as_of_day=tonight))
    assert told["exposures"] + told["held_out_exposures"] <= 400
    assert told["applied_mean"] <= 1


def test_a_click_counts_at_whatever_message_of_the_window_it_came() -> None:
    """Everybody gets a first message, and a second one a day later, which a fifth of them clicks."""
    of = record(measure=Measure(metric=MetricName.CLICK, window_days=WINDOW_DAYS))
    step = Step(per_day=200, days_after=20)
    world = facts(np.random.default_rng(1), of, step)
    day_us = 86_400_000_000
    clicked = pl.col("subscriber_key") % 5 == 0
    second = world.messages.with_columns(
        sent_us=pl.col("sent_us") + day_us,
        day=pl.col("day") + 1,
        first_human_click_us=pl.when(clicked).then(pl.col("sent_us") + day_us + 60_000_000),
    )
    both = type(world)(**{**vars(world), "messages": pl.concat([world.messages, second])})
    told = word(realised_lift([of], both, written(of, world), as_of_day=night(step)))
    assert told["applied_mean"] == pytest.approx(0.2, abs=0.03)
    assert told["exposures"] + told["held_out_exposures"] <= 200 * 20


def test_a_closed_night_never_changes() -> None:
    """Every third of sixty nights, each from what was known by then; the plan ends, and fewer are kept out."""
    watch = {"watched_from_day": APPLIED_DAY + timedelta(days=32), "watch_share": 0.1}
    terms = {"workflow_id": None, "step_id": None, "holdout_share": 0.3, "plan": LiftPlan(people=150, days=16)}
    terms["measure"] = Measure(metric=MetricName.REVENUE, window_days=5)
    planned, watched = record(**terms), record(**terms, **watch)
    world = mailed_often(np.random.default_rng(7), planned, people=350, nights=60, every_days=6)
    stands = written(planned, world)
    told: dict[tuple[object, ...], dict[str, object]] = {}
    for number in range(1, 61, 3):
        as_of = APPLIED_DAY + timedelta(days=number)
        of = watched if as_of >= watch["watched_from_day"] else planned
        for row in realised_lift([of], known_by(world, as_of), stands, as_of_day=as_of).iter_rows(named=True):
            name = (row["as_of_day"], row["metric"])
            kept = {column: value for column, value in row.items() if column != "is_latest"}
            if row["status"].startswith("not enough data: the first"):
                continue
            assert told.setdefault(name, kept) == kept, (as_of, name)
    assert {row["phase"] for row in told.values()} == {"planned", "watching"}
    assert max(row["held_out_exposures"] for row in told.values()) > 30  # type: ignore[type-var]


def test_those_let_in_after_the_answer_do_not_count_and_neither_do_those_between() -> None:
    since = APPLIED_DAY + timedelta(days=15)
    terms = {"promised": 0.4, "plan": PLANNED, "holdout_share": 0.3}
    of = record(**terms, watched_from_day=since, watch_share=0.1)
    step = Step(per_day=1_000, lift=0.4)
    told, before = word(measured(of, step)), word(measured(record(**terms), step))
    watched_days = step.days_after - 15
    counted = 1_000 * (14 - WINDOW_DAYS + watched_days * 0.8)
    assert told["exposures"] + told["held_out_exposures"] == pytest.approx(counted, rel=0.02)
    assert before["exposures"] + before["held_out_exposures"] == 1_000 * (step.days_after - 1)
    assert told["realised_lift"] == pytest.approx(0.4, abs=0.12)


def test_the_hold_out_shrinks_once_after_the_answer(ledger: Ledger) -> None:
    of = record(promised=0.4, plan=PLANNED, holdout_share=0.3)
    applied = in_effect(ledger, of)
    world = facts(np.random.default_rng(1), of, BUSY)
    rows = realised_lift([applied], world, written(of, world), as_of_day=night(BUSY))
    waiting = rows.filter(pl.col("as_of_day") < rows["answered_day"].min()).with_columns(is_latest=True)
    assert shrink_holdouts(ledger, waiting, now=NOW) == []
    harm = rows.with_columns(outcome=pl.lit("harm"))
    assert shrink_holdouts(ledger, harm, now=NOW) == []
    assert shrink_holdouts(ledger, rows, now=NOW) == [of.optimization_id]
    assert shrink_holdouts(ledger, rows, now=NOW) == []
    stands = ledger.record(of.optimization_id)
    assert (stands.holdout_share, stands.proposal.holdout_share) == (0.1, 0.3)
    assert stands.watched_from_day == night(BUSY) + timedelta(days=2)
    assert ledger.verify() == []
