"""Applying: only what is approved, once, over crashes and refusals, and said only when it stands."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest

from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations import review
from pipeline.optimizations.account.apply import keep_in_step
from pipeline.optimizations.account.refusals import NotApplicableError
from pipeline.optimizations.account.writing import NotConfirmedError, plan
from pipeline.optimizations.chain import StaleRecordError
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal
from pipeline.optimizations.review import DecisionRefusedError, Seen
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.worlds.writing import (
    FIRST_DAY,
    HOURS,
    PEOPLE,
    PLACES,
    REFUSED,
    InMemoryAccount,
    PowerCut,
    apply,
    approved,
    by_hand,
    cut_at,
    expected,
    hours,
    roll_back,
    start,
    tables_tonight,
    winner,
)


@pytest.mark.parametrize("decide", [lambda ledger: None, lambda ledger: reject(ledger)])
def test_nothing_is_written_without_an_approved_record(ledger: Ledger, decide: Callable[[Ledger], None]) -> None:
    ledger.propose([hours()], now=NOW, approval_policy=POLICY)
    decide(ledger)
    account = InMemoryAccount()
    with pytest.raises(NotApplicableError, match="only what is approved is applied"):
        apply(ledger, hours(), account)
    assert account.writes == 0


def reject(ledger: Ledger) -> None:
    seen = Seen.of(ledger.record(hours().optimization_id))
    review.reject(ledger, POLICY, seen, actor="mara", reason="No.", now=NOW)


def test_a_dry_run_tells_and_writes_nothing(ledger: Ledger) -> None:
    account = InMemoryAccount()
    told = plan(ledger, approved(ledger, hours()), account, tables_tonight())
    assert len(told.changes) + told.held_out == PEOPLE
    assert told.held_out == pytest.approx(PEOPLE * 0.1, abs=35)
    assert told.lines()[0].startswith(f"{len(told.changes):,} to write, 0 hold the value already")
    assert account.writes == 0


def test_everybody_but_the_hold_out_gets_their_value(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    done = apply(ledger, hours(), account)
    assert account.fields["SENDHOUR"] == expected(hours())
    assert (done.status, done.applied_day) == (Status.APPLIED, FIRST_DAY)
    assert done.details["writes"] == {Outcome.WRITTEN: len(expected(hours()))}


def test_the_hold_out_of_a_winner_holds_the_control(ledger: Ledger) -> None:
    approved(ledger, winner())
    account = InMemoryAccount()
    apply(ledger, winner(), account)
    out = is_held_out(HOURS["subscriber_key"], winner().optimization_id, 0.1)
    assert [account.fields["ARM"][key] for key in range(PEOPLE)] == ["A" if is_out else "B" for is_out in out]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("times", [1, 2])
def test_a_crash_anywhere_is_resumed_to_the_same_effect(ledger: Ledger, place: str, times: int) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    try:
        apply(ledger, hours(), account, checkpoint=cut_at(place, times))
    except PowerCut:
        assert ledger.record(hours().optimization_id).status is Status.APPLYING
        done = apply(ledger, hours(), account)
    else:
        assert times == 2
        done = ledger.record(hours().optimization_id)
    assert done.status is Status.APPLIED
    assert account.fields["SENDHOUR"] == expected(hours())
    assert account.writes == len(expected(hours()))
    assert done.details["writes"] == {Outcome.WRITTEN: account.writes}
    assert ledger.verify() == []


def test_one_refused_of_a_thousand_is_counted_and_keeps_no_other_from_it(ledger: Ledger) -> None:
    approved(ledger, hours())
    [unlucky] = list(expected(hours()))[:1]
    account = InMemoryAccount(refused=frozenset({unlucky}))
    done = apply(ledger, hours(), account)
    assert done.details["writes"] == {Outcome.WRITTEN: len(expected(hours())) - 1, REFUSED: 1}
    assert unlucky not in account.fields["SENDHOUR"]


def test_what_nobody_takes_is_not_applied(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount(refused=frozenset(range(PEOPLE)))
    with pytest.raises(NotConfirmedError, match=r"nothing of it stands in Mailchimp \(.* refused"):
        apply(ledger, hours(), account)
    assert ledger.record(hours().optimization_id).status is Status.APPLYING


def test_what_is_accepted_without_effect_is_not_applied_and_is_written_again(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    account.is_deaf = True
    for _ in range(2):
        with pytest.raises(NotConfirmedError, match="not there when read back"):
            apply(ledger, hours(), account)
        assert ledger.record(hours().optimization_id).status is Status.APPLYING
    account.is_deaf = False
    assert apply(ledger, hours(), account).details["writes"] == {Outcome.WRITTEN: len(expected(hours()))}
    assert account.fields["SENDHOUR"] == expected(hours())


def test_an_email_that_does_not_start_is_not_applied(ledger: Ledger) -> None:
    approved(ledger, start())
    account = InMemoryAccount()
    account.is_deaf = True
    with pytest.raises(NotConfirmedError, match="not there when read back"):
        apply(ledger, start(), account)


def test_an_account_that_lists_nobody_is_written_nothing(ledger: Ledger) -> None:
    approved(ledger, winner())
    with pytest.raises(NotApplicableError, match="lists no member who gets mail"):
        apply(ledger, winner(), InMemoryAccount(people=0))
    assert ledger.record(winner().optimization_id).status is Status.APPLYING


def test_who_was_left_out_of_the_first_reading_is_written_in_the_second(ledger: Ledger) -> None:
    """The first page was short without a word; the reading after the writes shows who is missing."""
    approved(ledger, hours())
    account = InMemoryAccount(people=PEOPLE - 300)

    def appear(place: str) -> None:
        if place == "written":
            account.people = range(PEOPLE)

    done = apply(ledger, hours(), account, checkpoint=appear)
    assert account.fields["SENDHOUR"] == expected(hours())
    assert (done.status, done.details["unreachable"]) == (Status.APPLIED, 0)


def test_who_sets_a_value_while_an_application_runs_keeps_it(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    edited = list(expected(hours()))[10]

    def edit(key: int) -> None:
        account.fields["SENDHOUR"].setdefault(edited, "mine")

    account.before_write = edit
    done = apply(ledger, hours(), account)
    assert account.fields["SENDHOUR"] == {**expected(hours()), edited: "mine"}
    assert (done.status, done.details["left"]) == (Status.APPLIED, 1)
    assert roll_back(ledger, hours(), account).details["put_back"]["writes"] == {
        Outcome.WRITTEN: len(expected(hours())) - 1
    }
    assert {key: value for key, value in account.fields["SENDHOUR"].items() if value} == {edited: "mine"}


def test_what_is_no_longer_proposed_is_stale_and_not_applied(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    with pytest.raises(NotApplicableError, match="is stale"):
        apply(ledger, hours(), account, standing=[hours(base_version="2")])
    assert ledger.record(hours().optimization_id).status is Status.STALE
    assert account.writes == 0


def test_newcomers_get_their_value_and_only_what_changed_is_written(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount(people=PEOPLE - 50)
    apply(ledger, hours(), account)
    written, account.people = account.writes, range(PEOPLE)
    reached = in_step(ledger, account)
    assert reached == (account.writes - written, 0)
    assert reached.written > 0
    assert in_step(ledger, account) == (0, 0)
    assert account.fields["SENDHOUR"] == expected(hours())


def in_step(ledger: Ledger, account: InMemoryAccount, **terms: Any) -> Any:
    return keep_in_step(ledger, hours().optimization_id, account, tables_tonight(), now=NOW, **terms)


@pytest.mark.parametrize("place", ["intended", "written", "settled"])
def test_keeping_in_step_that_was_cut_short_is_finished(ledger: Ledger, place: str) -> None:
    approved(ledger, hours())
    account = InMemoryAccount(people=PEOPLE - 50)
    apply(ledger, hours(), account)
    account.people = range(PEOPLE)
    with pytest.raises(PowerCut):
        in_step(ledger, account, checkpoint=cut_at(place))
    in_step(ledger, account)
    assert account.fields["SENDHOUR"] == expected(hours())
    assert ledger.verify() == []


def test_keeping_in_step_leaves_what_somebody_has_set_since(ledger: Ledger) -> None:
    """Of those written, and of those who held their value already when the change came."""
    approved(ledger, hours())
    account = InMemoryAccount()
    written, held = list(expected(hours()))[:2]
    account.fields["SENDHOUR"] = {held: expected(hours())[held]}
    apply(ledger, hours(), account)
    account.fields["SENDHOUR"] |= {written: "mine", held: "also mine"}
    assert in_step(ledger, account) == (0, 2)
    assert account.fields["SENDHOUR"] == {**expected(hours()), written: "mine", held: "also mine"}


def test_a_value_that_moves_with_the_publication_is_written_anew(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    account.fields["SENDHOUR"] = dict.fromkeys(range(PEOPLE), "9")
    apply(ledger, hours(), account)
    later = {**tables_tonight(), "send_time_assignments": HOURS.with_columns(pl.lit("7").alias("assigned_local_hour"))}
    keep_in_step(ledger, hours().optimization_id, account, later, now=NOW)
    assert {account.fields["SENDHOUR"][key] for key in expected(hours())} == {"7"}
    roll_back(ledger, hours(), account)
    assert set(account.fields["SENDHOUR"].values()) == {"9"}


def test_those_kept_out_are_marked_before_a_person_makes_the_change(ledger: Ledger) -> None:
    waiting = approved(ledger, by_hand())
    with pytest.raises(DecisionRefusedError, match="not marked yet"):
        review.mark_done(ledger, POLICY, Seen.of(waiting), actor="mara", now=NOW)
    account = InMemoryAccount(people=PEOPLE - 50)
    marked = apply(ledger, by_hand(), account)
    out = is_held_out(pl.Series(range(PEOPLE)), marked.optimization_id, 0.1)
    assert account.fields["KEEP"] == {key: "out" for key in range(PEOPLE - 50) if out[key]}
    assert (marked.status, marked.awaits_hand, marked.is_due) == (Status.APPLYING, True, False)
    # Whoever comes while a person is at it is drawn as well.
    account.people = range(PEOPLE)
    assert marked.is_kept_in_step
    keep_in_step(ledger, marked.optimization_id, account, tables_tonight(), now=NOW)
    assert account.fields["KEEP"] == {key: "out" for key in range(PEOPLE) if out[key]}
    done = review.mark_done(ledger, POLICY, Seen.of(ledger.record(marked.optimization_id)), actor="mara", now=NOW)
    assert (done.status, done.applied_day) == (Status.APPLIED, NOW.date())
    assert done.details["held_out"] == int(out[: PEOPLE - 50].sum())


def shrunk(ledger: Ledger, made: Proposal, share: float) -> None:
    stands = ledger.record(made.optimization_id)
    payload = {"watched_from_day": FIRST_DAY.isoformat(), "watch_share": share}
    event, revision = EventType.HOLDOUT_SHRUNK, stands.revision
    ledger.append(made.optimization_id, event, actor="driptune", now=NOW, expected_revision=revision, payload=payload)


@pytest.mark.parametrize(
    ("made", "field", "stays"), [(hours(), "SENDHOUR", None), (winner(), "ARM", "A"), (by_hand(), "KEEP", "out")]
)
def test_those_who_are_let_in_after_the_answer_get_the_change(
    ledger: Ledger, made: Proposal, field: str, stays: str | None
) -> None:
    approved(ledger, made)
    account = InMemoryAccount()
    applied = apply(ledger, made, account)
    if made.is_by_hand:
        review.mark_done(ledger, POLICY, Seen.of(applied), actor="mara", now=NOW)
    was_out, is_out = (is_held_out(pl.Series(range(PEOPLE)), made.optimization_id, share) for share in (0.1, 0.05))
    others = {key: account.fields[field].get(key) for key in range(PEOPLE) if not was_out[key]}
    shrunk(ledger, made, 0.05)
    let_in = int((was_out & ~is_out).sum())
    assert keep_in_step(ledger, made.optimization_id, account, tables_tonight(), now=NOW).written == let_in
    assert keep_in_step(ledger, made.optimization_id, account, tables_tonight(), now=NOW).written == 0
    held = {key: account.fields[field].get(key) for key in range(PEOPLE)}
    assert {held[key] for key in range(PEOPLE) if is_out[key]} == {stays}
    assert {key: held[key] for key in others} == others
    wanted = {key: str(key % 24) if field == "SENDHOUR" else "B" if field == "ARM" else "" for key in range(PEOPLE)}
    assert all(held[key] == wanted[key] for key in range(PEOPLE) if was_out[key] and not is_out[key])


@pytest.mark.parametrize("place", PLACES)
def test_marking_that_was_cut_short_is_finished(ledger: Ledger, place: str) -> None:
    approved(ledger, by_hand())
    account = InMemoryAccount()
    with pytest.raises(PowerCut):
        apply(ledger, by_hand(), account, checkpoint=cut_at(place))
    assert ledger.record(by_hand().optimization_id).is_due
    assert apply(ledger, by_hand(), account).is_holdout_set
    out = is_held_out(pl.Series(range(PEOPLE)), by_hand().optimization_id, 0.1)
    assert account.fields["KEEP"] == {key: "out" for key in range(PEOPLE) if out[key]}


def test_what_is_made_by_hand_is_not_applied_by_the_machine(ledger: Ledger) -> None:
    approved(ledger, proposal())
    with pytest.raises(NotApplicableError, match="is made by hand"):
        apply(ledger, proposal(), InMemoryAccount())


def test_of_two_who_apply_at_once_one_writes(open_ledger: Callable[[], Ledger]) -> None:
    """The second waits for the account, and then finds nothing left to apply."""
    first, second = open_ledger(), open_ledger()
    approved(first, hours())
    account = InMemoryAccount()

    def attempt(ledger: Ledger) -> str:
        try:
            return str(apply(ledger, hours(), account).status)
        except NotApplicableError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(attempt, [first, second]), key=len)
    assert told == ["applied", f"{hours().optimization_id} is applied; only what is approved is applied."]
    assert account.writes == len(expected(hours()))
    assert first.verify() == []


def test_a_record_that_moves_while_it_is_written_is_written_no_further(open_ledger: Callable[[], Ledger]) -> None:
    """Whoever moved it, such as a writer of another host after the lock was lost."""
    first, second = open_ledger(), open_ledger()
    approved(first, hours())
    account = InMemoryAccount()

    def move(place: str) -> None:
        if place == "written":
            record = second.record(hours().optimization_id)
            second.journal.settle(record, {(record.revision, 0): Outcome.CUT}, now=NOW)

    with pytest.raises(StaleRecordError):
        apply(first, hours(), account, checkpoint=move)
    assert account.writes < len(expected(hours()))
