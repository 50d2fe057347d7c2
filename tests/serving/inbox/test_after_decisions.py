"""What the inbox offers once somebody has decided: what happens next, undoing, the next record, the way back."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.review import Seen
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.serving.inbox.app import PREFIX
from pipeline.serving.inbox.sessions import Sessions
from tests.serving.inbox.browsing import EVIDENCE, WRITES_B, decide, form_of, propose


def test_after_a_decision_the_page_says_what_happens_next_and_when(mara: TestClient, ledger: Ledger) -> None:
    written, by_hand, refused = propose(ledger, **WRITES_B), propose(ledger, target="b"), propose(ledger, target="c")
    assert (
        "begins at its next look, within 60 seconds, to write it to Mailchimp" in decide(mara, written, "approve").text
    )
    assert "Wednesday, 1 July, 03:30 UTC" in mara.get(f"{PREFIX}/{written}").text
    assert "A person makes this change" in decide(mara, by_hand, "approve").text
    assert "not proposed again before" in decide(mara, refused, "reject", reason="No.").text
    on_the_way = mara.get(f"{PREFIX}/").text
    assert on_the_way.count("within 60 seconds") == 1
    assert "measures what it brings" in decide(mara, by_hand, "done").text


def test_every_record_leads_to_the_next_one_that_waits(mara: TestClient, ledger: Ledger) -> None:
    first, second, third = (propose(ledger, target=name, expected_gain=worth) for name, worth in NEXT)
    following = re.compile(rf'<p><a href="{PREFIX}/(\w+)">')
    assert [following.findall(mara.get(f"{PREFIX}/{one}").text) for one in (first, second, third)] == [
        [second],
        [third],
        [first],
    ]
    assert following.findall(decide(mara, second, "approve").text) == [third]
    decide(mara, first, "approve")
    assert "Nothing else waits" in decide(mara, third, "approve").text


NEXT = (("a", 30.0), ("b", 20.0), ("c", 10.0))


@pytest.mark.parametrize(("decision", "reason"), [("approve", ""), ("reject", "Not in summer.")])
def test_a_decision_is_undone_as_long_as_nothing_is_written(
    mara: TestClient, ledger: Ledger, decision: str, reason: str
) -> None:
    subject = propose(ledger)
    assert ">Undo" not in mara.get(f"{PREFIX}/{subject}").text
    assert ">Undo" in decide(mara, subject, decision, reason=reason).text
    assert decide(mara, subject, "undo").status_code == 200
    record = ledger.record(subject)
    assert (record.status, record.decided_by, record.reason, record.approvals) == (Status.PENDING, None, None, ())
    assert decide(mara, subject, "approve").status_code == 200


def test_what_is_being_written_is_not_undone_by_an_older_form(mara: TestClient, ledger: Ledger) -> None:
    subject = propose(ledger, **WRITES_B)
    form = form_of(decide(mara, subject, "approve").text)
    stands = ledger.record(subject).revision
    ledger.append(subject, EventType.APPLICATION_STARTED, actor="x", now=datetime.now(UTC), expected_revision=stands)
    answer = decide(mara, subject, "undo", form)
    assert (answer.status_code, ledger.record(subject).status) == (409, Status.APPLYING)
    assert ">Undo" not in answer.text


def applied(ledger: Ledger, **changes: Any) -> str:
    subject = propose(ledger, **changes)
    for event in (EventType.APPROVED, EventType.APPLICATION_STARTED, EventType.APPLIED):
        stands, day = ledger.record(subject).revision, {"applied_day": "2026-06-30"}
        ledger.append(subject, event, actor="x", now=datetime.now(UTC), expected_revision=stands, payload=day)
    return subject


def test_an_applied_change_is_taken_back_with_a_reason_and_a_form_of_ones_own(mara: TestClient, ledger: Ledger) -> None:
    subject = applied(ledger, **WRITES_B)
    assert "Roll back this change" in mara.get(f"{PREFIX}/{subject}").text
    assert decide(mara, subject, "take_back", reason=" ").status_code == 409
    assert decide(mara, subject, "take_back", form="stolen", reason="Complaints rose.").status_code == 403
    assert ledger.record(subject).status is Status.APPLIED
    answer = decide(mara, subject, "take_back", reason="Complaints rose.")
    assert "begins at its next look, within 60 seconds, to put back" in answer.text
    record = ledger.record(subject)
    assert (record.status, record.reason, record.is_due) == (Status.ROLLING_BACK, "Complaints rose.", True)
    assert "Roll back this change" not in answer.text


def test_what_a_person_made_is_not_rolled_back_by_a_button(
    mara: TestClient, ledger: Ledger, sessions: Sessions
) -> None:
    subject = applied(ledger)
    assert "Roll back this change" not in mara.get(f"{PREFIX}/{subject}").text
    form = sessions.form_token(mara.cookies[sessions.cookie_name], Seen.of(ledger.record(subject)))
    answer = decide(mara, subject, "take_back", form=form, reason="No.")
    assert (answer.status_code, "is made by hand" in answer.text) == (409, True)
    assert ledger.record(subject).status is Status.APPLIED


def test_alarms_come_first_and_wear_their_severity(mara: TestClient, ledger: Ledger) -> None:
    best = propose(ledger, target="best", expected_gain=900.0)
    grave = {"kind": Kind.ANOMALY, "evidence": {**EVIDENCE, "rows": [{"severity": "high"}, {"severity": "critical"}]}}
    alarm = propose(ledger, target="cause", expected_gain=None, **grave)
    page = mara.get(f"{PREFIX}/").text
    assert re.findall(rf'<h2><a href="{PREFIX}/(\w+)"', page) == [alarm, best]
    assert page.count(">critical alarm<") == 1
    assert "2 changes wait for a decision" in page
