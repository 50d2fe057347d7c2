"""Rolling back: what stood before comes back, once, over crashes; what a person has set since stays theirs."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from pipeline.common.errors import LedgerError
from pipeline.optimizations import review
from pipeline.optimizations.account.apply import keep_in_step
from pipeline.optimizations.account.refusals import NotApplicableError
from pipeline.optimizations.account.rollback import resume_rollback
from pipeline.optimizations.account.writing import NotConfirmedError
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.review import Seen
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.worlds.writing import (
    LATER,
    PEOPLE,
    PLACES,
    InMemoryAccount,
    PowerCut,
    apply,
    approved,
    by_hand,
    cut_at,
    expected,
    hours,
    roll_back,
    rollback_of,
    start,
    tables_tonight,
)

BEFORE = dict.fromkeys(range(0, PEOPLE, 2), "9")


@pytest.fixture
def account(ledger: Ledger) -> InMemoryAccount:
    """An account to which hours were applied; every second member held another one before."""
    made = InMemoryAccount()
    made.fields["SENDHOUR"] = dict(BEFORE)
    approved(ledger, hours())
    apply(ledger, hours(), made)
    return made


def held(account: InMemoryAccount) -> dict[int, str]:
    return {key: value for key, value in account.fields["SENDHOUR"].items() if value}


def test_the_way_back_restores_what_stood_before_and_nothing_else(ledger: Ledger, account: InMemoryAccount) -> None:
    back = roll_back(ledger, hours(), account)
    assert (back.status, back.reason, back.rolled_back_day) == (Status.ROLLED_BACK, "Complaints rose.", LATER)
    assert held(account) == BEFORE
    with pytest.raises(NotApplicableError, match="is rolled_back"):
        roll_back(ledger, hours(), account)


def test_what_somebody_has_set_since_is_left_and_told(ledger: Ledger, account: InMemoryAccount) -> None:
    first, second = list(expected(hours()))[:2]
    account.fields["SENDHOUR"] |= {first: "mine", second: ""}
    back = roll_back(ledger, hours(), account)
    assert held(account) == {**{key: value for key, value in BEFORE.items() if key != second}, first: "mine"}
    put_back = back.details["put_back"]
    assert (put_back["left"], put_back["unreachable"]) == (2 if second in BEFORE else 1, 0)
    told = ledger.history(back.optimization_id)[-1].payload["reason"]
    assert f"{put_back['left']} left, because somebody has set another value since" in told


def test_who_gets_no_mail_any_more_is_counted(ledger: Ledger, account: InMemoryAccount) -> None:
    gone = next(iter(expected(hours())))
    account.people = [key for key in range(PEOPLE) if key != gone]
    assert roll_back(ledger, hours(), account).details["put_back"]["unreachable"] == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("times", [1, 2])
def test_a_rollback_that_was_cut_short_is_finished_and_kept_in_step_no_more(
    ledger: Ledger, account: InMemoryAccount, place: str, times: int
) -> None:
    try:
        roll_back(ledger, hours(), account, checkpoint=cut_at(place, times))
    except PowerCut:
        assert ledger.record(hours().optimization_id).is_due
        with pytest.raises(NotApplicableError, match="not kept in step any more"):
            keep_in_step(ledger, hours().optimization_id, account, tables_tonight(), now=NOW)
        done = resume_rollback(ledger, hours().optimization_id, account, now=NOW)
        assert done.reason == "Complaints rose."
    else:
        assert times == 2
    assert ledger.record(hours().optimization_id).status is Status.ROLLED_BACK
    assert held(account) == BEFORE
    assert ledger.verify() == []


def test_an_edit_between_a_cut_rollback_and_its_end_is_left(ledger: Ledger, account: InMemoryAccount) -> None:
    """Even one to the very value that the record had written: it was put back before."""
    with pytest.raises(PowerCut):
        roll_back(ledger, hours(), account, checkpoint=cut_at("settled"))
    edited = next(key for key, hour in expected(hours()).items() if hour != BEFORE.get(key, ""))
    account.fields["SENDHOUR"][edited] = expected(hours())[edited]
    resume_rollback(ledger, hours().optimization_id, account, now=NOW)
    assert held(account) == {**BEFORE, edited: expected(hours())[edited]}


def test_a_rollback_waits_for_the_application_and_takes_back_all_of_it(
    open_ledger: Callable[[], Ledger],
) -> None:
    applying, rolling = open_ledger(), open_ledger()
    approved(applying, hours())
    account = InMemoryAccount()
    account.fields["SENDHOUR"] = dict(BEFORE)
    ended: list[Status] = []
    other = threading.Thread(target=lambda: ended.append(roll_back(rolling, hours(), account).status))

    def cross(place: str) -> None:
        if place == "written" and not other.is_alive() and not ended:
            other.start()

    done = apply(applying, hours(), account, checkpoint=cross)
    other.join()
    assert (done.status, ended) == (Status.APPLIED, [Status.ROLLED_BACK])
    assert held(account) == BEFORE
    assert applying.verify() == []


def test_what_does_not_come_back_is_not_said_to_be_back(ledger: Ledger, account: InMemoryAccount) -> None:
    account.is_deaf = True
    with pytest.raises(NotConfirmedError, match="not there when read back"):
        roll_back(ledger, hours(), account)
    assert ledger.record(hours().optimization_id).status is Status.ROLLING_BACK
    account.is_deaf, account.refused = False, frozenset(range(PEOPLE))
    with pytest.raises(NotConfirmedError, match="put nothing back"):
        roll_back(ledger, hours(), account)
    account.refused = frozenset()
    assert roll_back(ledger, hours(), account).status is Status.ROLLED_BACK
    assert held(account) == BEFORE


def test_an_edited_before_is_found_and_never_written_back(
    ledger: Ledger, ledger_url: str, account: InMemoryAccount
) -> None:
    stands = dict(account.fields["SENDHOUR"])
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ledger_journal SET before = 'evil' WHERE position = 0"))
    engine.dispose()
    with pytest.raises(LedgerError, match=r"journal of .* was edited.*nothing is written by it"):
        roll_back(ledger, hours(), account)
    assert account.fields["SENDHOUR"] == stands


def test_an_email_goes_back_to_paused_unless_somebody_has_set_it(ledger: Ledger) -> None:
    approved(ledger, start())
    account = InMemoryAccount()
    # One that was never started: a pause is the only way back that there is.
    account.emails["mail"]["status"] = "save"
    account.write_email = started_by(account)  # type: ignore[method-assign]
    apply(ledger, start(), account)
    assert account.emails["mail"]["status"] == "sending"
    roll_back(ledger, start(), account)
    assert account.emails["mail"]["status"] == "paused"


def started_by(account: InMemoryAccount) -> Callable[..., str]:
    def write_email(workflow_id: str, change: object) -> str:
        account.emails["mail"]["status"] = change.after  # type: ignore[attr-defined]
        return Outcome.WRITTEN

    return write_email


def test_what_a_person_has_changed_is_not_taken_back_by_the_machine(ledger: Ledger) -> None:
    """Its marks alone would go, and the record would say that the change has."""
    approved(ledger, by_hand())
    account = InMemoryAccount()
    marked = apply(ledger, by_hand(), account)
    review.mark_done(ledger, POLICY, Seen.of(marked), actor="mara", now=NOW)
    before = dict(account.fields["KEEP"])
    with pytest.raises(NotApplicableError, match="is made by hand"):
        roll_back(ledger, by_hand(), account)
    assert account.fields["KEEP"] == before
    assert ledger.record(marked.optimization_id).status is Status.APPLIED


@pytest.mark.parametrize("place", [None, *PLACES])
def test_an_approved_rollback_restores_what_stood_and_ends_the_change(
    ledger: Ledger, account: InMemoryAccount, place: str | None
) -> None:
    back = rollback_of(ledger.record(hours().optimization_id))
    approved(ledger, back)
    if place is not None:
        with pytest.raises(PowerCut):
            apply(ledger, back, account, first_day=LATER, checkpoint=cut_at(place))
    done = apply(ledger, back, account, first_day=LATER)
    ended = ledger.record(hours().optimization_id)
    assert (done.status, ended.status, ended.rolled_back_day) == (Status.APPLIED, Status.ROLLED_BACK, LATER)
    assert ended.reason == f"Taken back by {done.optimization_id}."
    assert held(account) == BEFORE
    # Nobody is given the hour again, nor the way back a second time.
    assert not ended.is_kept_in_step
    assert not done.is_kept_in_step
    with pytest.raises(NotApplicableError, match="is a rollback itself"):
        roll_back(ledger, back, account)


def test_a_rollback_by_hand_ends_the_change_when_it_is_done(ledger: Ledger) -> None:
    approved(ledger, proposal())
    review.mark_done(ledger, POLICY, Seen.of(ledger.record(proposal().optimization_id)), actor="mara", now=NOW)
    subject = proposal().optimization_id
    back = proposal(kind=Kind.ROLLBACK, target=subject, after={"roll_back": subject, "instructions": ["Put it back."]})
    waiting = approved(ledger, back)
    review.mark_done(ledger, POLICY, Seen.of(waiting), actor="mara", now=NOW)
    assert ledger.record(subject).status is Status.ROLLED_BACK
