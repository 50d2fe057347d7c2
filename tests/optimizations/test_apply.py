"""Applying: only what is approved, once, over crashes and refusals, and back again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl
import pytest

from pipeline.operations.applying import is_due, is_kept_in_step
from pipeline.optimizations import apply as applications
from pipeline.optimizations import review
from pipeline.optimizations.apply import BATCH, NotApplicableError
from pipeline.optimizations.changes import Change, is_held_out
from pipeline.optimizations.journal import WRITTEN
from pipeline.optimizations.ledger import Ledger, StaleRecordError
from pipeline.optimizations.record import ApplyKind, Kind, Proposal, Record, Status
from pipeline.optimizations.review import DecisionRefusedError, Seen
from tests.optimizations.conftest import NOW, POLICY, proposal

PEOPLE = 2 * BATCH + 100
FIRST_DAY, LATER = date(2026, 6, 30), date(2026, 7, 14)
PLACES = ("started", "intended", "written", "settled", "before the record")
REFUSED = "refused: Mailchimp answered 400"


class PowerCut(BaseException):
    """Ends the process where it stands."""


def cut_at(place: str, times: int = 1) -> Callable[[str], None]:
    """A power cut when the place is reached that many times."""
    left = times

    def cut(reached: str) -> None:
        nonlocal left
        if reached == place:
            left -= 1
            if left == 0:
                raise PowerCut

    return cut


class InMemoryAccount:
    """An account that counts what it is asked to write."""

    def __init__(self, people: int = PEOPLE, refused: frozenset[int] = frozenset()) -> None:
        self.fields: dict[str, dict[int, str]] = {}
        self.people = people
        self.refused = refused
        self.emails: dict[str, dict[str, Any]] = {"mail": {"status": "paused", "delay": {"amount": 1, "type": "day"}}}
        self.writes = 0

    def members(self, field: str) -> pl.DataFrame:
        held = self.fields.get(field, {})
        rows = [(key, held.get(key)) for key in range(self.people)]
        return pl.DataFrame(rows, schema={"subscriber_key": pl.Int64, "current": pl.String}, orient="row")

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        return self.emails[email_id]

    def ensure_field(self, field: str) -> None:
        self.fields.setdefault(field, {})

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        outcomes = []
        for change in changes:
            if int(change.subject) in self.refused:
                outcomes.append(REFUSED)
                continue
            self.writes += 1
            self.fields[change.field][int(change.subject)] = change.after
            outcomes.append(WRITTEN)
        return outcomes

    def write_email(self, workflow_id: str, change: Change) -> str:
        self.writes += 1
        self.emails[change.subject]["status"] = change.after
        return WRITTEN


HOURS = pl.DataFrame({"subscriber_key": range(PEOPLE), "assigned_local_hour": [key % 24 for key in range(PEOPLE)]})
TABLES = {"send_time_assignments": HOURS}


def hours(**changes: Any) -> Proposal:
    after = {"field": "SENDHOUR", "source": "send_time_assignments", "column": "assigned_local_hour"}
    return proposal(kind=Kind.SEND_TIME, target="account", apply_kind=ApplyKind.MEMBER_FIELDS, after=after, **changes)


def winner() -> Proposal:
    after = {"field": "ARM", "value": "B", "holdout_value": "A"}
    return proposal(kind=Kind.EXPERIMENT_WINNER, target="test", apply_kind=ApplyKind.MEMBER_FIELDS, after=after)


def start() -> Proposal:
    after = {"operation": "start", "workflow_id": "cart", "email_id": "mail"}
    return proposal(kind=Kind.STUCK, target="cart", apply_kind=ApplyKind.API_PATCH, after=after)


def approved(ledger: Ledger, made: Proposal) -> Record:
    ledger.propose([made], now=NOW, policy=POLICY)
    return review.approve(ledger, POLICY, Seen.of(ledger.record(made.optimization_id)), actor="mara", now=NOW)


def apply(ledger: Ledger, made: Proposal, account: InMemoryAccount, **terms: Any) -> Record:
    given = {"standing": [made], "first_day": FIRST_DAY, "now": NOW, **terms}
    return applications.apply(ledger, made.optimization_id, account, TABLES, **given)


def expected(made: Proposal) -> dict[int, str]:
    out = is_held_out(HOURS["subscriber_key"], made.optimization_id, made.holdout_share)
    return {key: str(hour) for (key, hour), is_out in zip(HOURS.rows(), out, strict=True) if not is_out}


@pytest.mark.parametrize("decide", [lambda ledger: None, lambda ledger: reject(ledger)])
def test_nothing_is_written_without_an_approved_record(ledger: Ledger, decide: Callable[[Ledger], None]) -> None:
    ledger.propose([hours()], now=NOW, policy=POLICY)
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
    told = applications.plan(ledger.journal, approved(ledger, hours()), account, TABLES)
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
    assert done.details["writes"] == {WRITTEN: len(expected(hours()))}


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
    assert done.details["writes"] == {WRITTEN: account.writes}
    assert ledger.verify() == []


def test_one_refused_of_a_thousand_is_counted_and_keeps_no_other_from_it(ledger: Ledger) -> None:
    approved(ledger, hours())
    [unlucky] = list(expected(hours()))[:1]
    account = InMemoryAccount(refused=frozenset({unlucky}))
    done = apply(ledger, hours(), account)
    assert done.details["writes"] == {WRITTEN: len(expected(hours())) - 1, REFUSED: 1}
    assert unlucky not in account.fields["SENDHOUR"]


def test_what_is_no_longer_proposed_is_stale_and_not_applied(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    with pytest.raises(NotApplicableError, match="is stale"):
        apply(ledger, hours(), account, standing=[hours(base_version="2")])
    assert ledger.record(hours().optimization_id).status is Status.STALE
    assert account.writes == 0


def test_the_way_back_restores_what_stood_before_and_nothing_else(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    before = dict.fromkeys(range(0, PEOPLE, 2), "9")
    account.fields["SENDHOUR"] = dict(before)
    apply(ledger, hours(), account)
    back = applications.roll_back(
        ledger, hours().optimization_id, account, actor="noor", reason="Complaints rose.", first_day=LATER, now=NOW
    )
    assert (back.status, back.reason) == (Status.ROLLED_BACK, "Complaints rose.")
    assert {key: value for key, value in account.fields["SENDHOUR"].items() if value} == before
    with pytest.raises(NotApplicableError, match="is rolled_back"):
        applications.roll_back(
            ledger, hours().optimization_id, account, actor="noor", reason="again", first_day=LATER, now=NOW
        )


def test_newcomers_get_their_value_and_only_what_changed_is_written(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount(people=PEOPLE - 50)
    done = apply(ledger, hours(), account)
    written, account.people = account.writes, PEOPLE
    assert applications.keep_in_step(ledger, done, account, TABLES, now=NOW) == account.writes - written > 0
    again = ledger.record(hours().optimization_id)
    assert applications.keep_in_step(ledger, again, account, TABLES, now=NOW) == 0
    assert account.fields["SENDHOUR"] == expected(hours())


def test_an_email_is_started_once(ledger: Ledger) -> None:
    approved(ledger, start())
    account = InMemoryAccount()
    apply(ledger, start(), account)
    assert (account.emails["mail"]["status"], account.writes) == ("sending", 1)
    applications.roll_back(
        ledger, start().optimization_id, account, actor="noor", reason="a try", first_day=LATER, now=NOW
    )
    assert account.emails["mail"]["status"] == "paused"


def by_hand() -> Proposal:
    return proposal(after={"delay_hours": 48, "field": "KEEP", "holdout_value": "out"})


def test_those_kept_out_are_marked_before_a_person_makes_the_change(ledger: Ledger) -> None:
    waiting = approved(ledger, by_hand())
    with pytest.raises(DecisionRefusedError, match="not marked yet"):
        review.mark_done(ledger, POLICY, Seen.of(waiting), actor="mara", now=NOW)
    account = InMemoryAccount(people=PEOPLE - 50)
    marked = apply(ledger, by_hand(), account)
    out = is_held_out(pl.Series(range(PEOPLE)), marked.optimization_id, 0.1)
    assert account.fields["KEEP"] == {key: "out" for key in range(PEOPLE - 50) if out[key]}
    assert (marked.status, marked.awaits_hand, is_due(marked)) == (Status.APPLYING, True, False)
    # Whoever comes while a person is at it is drawn as well.
    account.people = PEOPLE
    assert is_kept_in_step(marked)
    applications.keep_in_step(ledger, marked, account, TABLES, now=NOW)
    assert account.fields["KEEP"] == {key: "out" for key in range(PEOPLE) if out[key]}
    done = review.mark_done(ledger, POLICY, Seen.of(ledger.record(marked.optimization_id)), actor="mara", now=NOW)
    assert (done.status, done.applied_day) == (Status.APPLIED, NOW.date())
    assert done.details["held_out"] == int(out[: PEOPLE - 50].sum())


@pytest.mark.parametrize("place", PLACES)
def test_marking_that_was_cut_short_is_finished(ledger: Ledger, place: str) -> None:
    approved(ledger, by_hand())
    account = InMemoryAccount()
    with pytest.raises(PowerCut):
        apply(ledger, by_hand(), account, checkpoint=cut_at(place))
    assert is_due(ledger.record(by_hand().optimization_id))
    assert apply(ledger, by_hand(), account).is_holdout_set
    out = is_held_out(pl.Series(range(PEOPLE)), by_hand().optimization_id, 0.1)
    assert account.fields["KEEP"] == {key: "out" for key in range(PEOPLE) if out[key]}


def test_what_a_person_has_changed_is_not_taken_back_by_the_machine(ledger: Ledger) -> None:
    """Its marks alone would go, and the record would say that the change has."""
    approved(ledger, by_hand())
    account = InMemoryAccount()
    marked = apply(ledger, by_hand(), account)
    review.mark_done(ledger, POLICY, Seen.of(marked), actor="mara", now=NOW)
    before = dict(account.fields["KEEP"])
    terms = {"actor": "noor", "reason": "Complaints rose.", "first_day": LATER, "now": NOW}
    with pytest.raises(NotApplicableError, match="is made by hand"):
        applications.roll_back(ledger, marked.optimization_id, account, **terms)
    assert account.fields["KEEP"] == before
    assert ledger.record(marked.optimization_id).status is Status.APPLIED


def rollback_of(record: Record) -> Proposal:
    after = {"roll_back": record.optimization_id, "field": "SENDHOUR"}
    return proposal(kind=Kind.ROLLBACK, target=record.optimization_id, apply_kind=ApplyKind.MEMBER_FIELDS, after=after)


@pytest.mark.parametrize("place", [None, *PLACES])
def test_an_approved_rollback_restores_what_stood_and_ends_the_change(ledger: Ledger, place: str | None) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    before = dict.fromkeys(range(0, PEOPLE, 2), "9")
    account.fields["SENDHOUR"] = dict(before)
    back = rollback_of(apply(ledger, hours(), account))
    approved(ledger, back)
    if place is not None:
        with pytest.raises(PowerCut):
            apply(ledger, back, account, checkpoint=cut_at(place))
    done = apply(ledger, back, account, first_day=LATER)
    assert {key: value for key, value in account.fields["SENDHOUR"].items() if value} == before
    ended = ledger.record(hours().optimization_id)
    assert (ended.status, ended.rolled_back_day) == (Status.ROLLED_BACK, LATER)
    assert ended.reason == f"Taken back by {back.optimization_id}."
    # Nobody is given the hour again, nor the way back a second time.
    assert not is_kept_in_step(ended)
    assert not is_kept_in_step(done)


def test_a_rollback_by_hand_ends_the_change_when_it_is_done(ledger: Ledger) -> None:
    approved(ledger, proposal())
    review.mark_done(ledger, POLICY, Seen.of(ledger.record(proposal().optimization_id)), actor="mara", now=NOW)
    subject = proposal().optimization_id
    back = proposal(kind=Kind.ROLLBACK, target=subject, after={"roll_back": subject, "instructions": ["Put it back."]})
    waiting = approved(ledger, back)
    review.mark_done(ledger, POLICY, Seen.of(waiting), actor="mara", now=NOW)
    assert ledger.record(subject).status is Status.ROLLED_BACK


def test_what_is_made_by_hand_is_not_applied_by_the_machine(ledger: Ledger) -> None:
    approved(ledger, proposal())
    with pytest.raises(NotApplicableError, match="is made by hand"):
        apply(ledger, proposal(), InMemoryAccount())


def test_of_two_appliers_one_records_it(open_ledger: Callable[[], Ledger]) -> None:
    first, second = open_ledger(), open_ledger()
    approved(first, hours())
    account = InMemoryAccount()

    def overtake(place: str) -> None:
        if place == "before the record":
            apply(second, hours(), account)

    with pytest.raises(StaleRecordError):
        apply(first, hours(), account, checkpoint=overtake)
    assert account.writes == len(expected(hours()))
    assert first.verify() == []
