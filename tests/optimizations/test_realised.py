"""What applied changes brought: found where it is there, not where it is not, counted only from when it holds."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.realised import DAYS_UNTIL_REACHED, in_a_word, realised_lift
from pipeline.optimizations.record import Record
from pipeline.optimizations.verification import verify_what_works
from pipeline.schemas.loop import RealisedLift
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.applied import APPLIED_DAY, WINDOW_DAYS, Step, facts, night, record, written

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
        signup_us=pl.when(pl.col("subscriber_key") % 2 == 0).then(found.messages["sent_us"]).otherwise("signup_us")
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


def test_what_works_is_verified_once_with_what_was_measured(ledger: Ledger) -> None:
    of = record(promised=0.4)
    ledger.propose([of.proposal], now=NOW, approval_policy=POLICY)
    for event in (EventType.APPROVED, EventType.APPLICATION_STARTED, EventType.APPLIED):
        stands = ledger.record(of.optimization_id)
        payload = {"applied_day": APPLIED_DAY.isoformat()} if event is EventType.APPLIED else {}
        ledger.append(
            of.optimization_id, event, actor="mara", now=NOW, expected_revision=stands.revision, payload=payload
        )
    applied = ledger.record(of.optimization_id)
    world = facts(np.random.default_rng(1), of, BUSY)
    rows = realised_lift([applied], world, written(of, world), as_of_day=night(BUSY))
    assert verify_what_works(ledger, rows, now=NOW) == [of.optimization_id]
    assert verify_what_works(ledger, rows, now=NOW) == []
    verified = ledger.record(of.optimization_id)
    assert verified.status is Status.VERIFIED
    assert verified.details["realised"]["realised_lift"] == word(rows)["realised_lift"]
