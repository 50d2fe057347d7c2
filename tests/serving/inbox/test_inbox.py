"""The inbox: one link lets one person in once; decisions are taken as seen, by POST of the inbox's own form only."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.common.errors import UnavailableError
from pipeline.optimizations.approval_policy import ApprovalPolicy
from pipeline.optimizations.changes import Change, ChangePlan
from pipeline.optimizations.ledger import Ledger
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.serving.inbox.app import PREFIX
from pipeline.serving.inbox.links import LINK_SECONDS, READER, Links
from pipeline.serving.inbox.sessions import COOKIE, Sessions
from tests.serving.inbox.browsing import EVIDENCE, POLICY, WRITES_B, Clock, browser, decide, form_of, propose
from tests.worlds.published import row

WICKED = "<script>alert(1)</script> & <b>bold</b>"
CHART = {
    "data": {"values": [{"x": 1, "y": 2}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


def test_without_a_link_nothing_is_shown(ledger: Ledger, sessions: Sessions, links: Links) -> None:
    subject = propose(ledger)
    client = browser(ledger, sessions, links)
    for path in (f"{PREFIX}/", f"{PREFIX}/{subject}"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert "Forty-eight" not in answer.text


def test_a_link_lets_in_once_and_not_for_ever(ledger: Ledger, sessions: Sessions, links: Links, clock: Clock) -> None:
    token = links.issue("mara")
    first, second, late = (browser(ledger, sessions, links) for _ in range(3))
    assert "lets you in once" in first.get(f"{PREFIX}/login?token={token}").text
    assert first.post(f"{PREFIX}/login", data={"token": token}).status_code == 200
    assert second.post(f"{PREFIX}/login", data={"token": token}).status_code == 403
    old = links.issue("mara")
    clock.now = LINK_SECONDS + 1
    assert late.post(f"{PREFIX}/login", data={"token": old}).status_code == 403


def test_the_cookie_is_kept_from_scripts_and_other_sites(ledger: Ledger, sessions: Sessions, links: Links) -> None:
    client = browser(ledger, sessions, links)
    entered = client.post(f"{PREFIX}/login", data={"token": links.issue("mara")}, follow_redirects=False)
    cookie = entered.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", f"path={PREFIX}"))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("works", "It works"),
        ("harm", "It does harm"),
        ("measuring", "Still measuring"),
        ("ended without an answer", "The plan has ended without an answer"),
    ],
)
def test_what_a_change_brought_stands_beside_its_promise(
    ledger: Ledger, sessions: Sessions, links: Links, outcome: str, words: str
) -> None:
    subject = propose(ledger)
    night = {"optimization_id": subject, "metric": "conversion", "role": "primary", "is_latest": True, "status": "ok"}
    lifts = {"promised_lift": 0.3, "promised_lift_low": None, "promised_lift_high": None}
    lifts |= {"realised_lift": 0.21, "realised_lift_low": 0.12, "realised_lift_high": 0.34}
    lifts |= {"answered_day": None, "expected_answer_day": date(2026, 8, 9)}
    brought = row("realised_lift", **night, **lifts, outcome=outcome, exposures=12_345)
    client = browser(ledger, sessions, links, realised=brought)
    client.post(f"{PREFIX}/login", data={"token": links.issue("mara")})
    page = client.get(f"{PREFIX}/{subject}").text
    assert words in page
    assert "+21% (+12% to +34%)" in page
    assert "12,345 people" in page
    assert "expected by 2026-08-09" in page
    decide(client, subject, "reject", reason="No.")
    listed = client.get(f"{PREFIX}/").text
    assert f"+21% (+12% to +34%) · {outcome}" in listed
    assert "expected by 2026-08-09" in listed


def test_what_would_be_written_is_shown_before_anybody_decides(
    ledger: Ledger, sessions: Sessions, links: Links
) -> None:
    changes = [Change(str(key), "SUBJECT", "", "B") for key in range(1_234)]
    client = browser(
        ledger, sessions, links, preview=lambda subject: ChangePlan(tuple(changes), unchanged=7, held_out=99)
    )
    client.post(f"{PREFIX}/login", data={"token": links.issue("mara")})
    subject = propose(ledger, **WRITES_B)
    page = decide(client, subject, "preview").text
    assert "1,234 to write, 7 hold the value already, 99 held out" in page
    assert "SUBJECT: nothing -&gt; B (1,234 times)" in page
    assert ledger.record(subject).status is Status.PENDING
    assert decide(client, subject, "preview", form="stolen").status_code == 403


def test_an_account_that_does_not_answer_is_told(ledger: Ledger, sessions: Sessions, links: Links) -> None:
    def unavailable(subject: str) -> ChangePlan:
        raise UnavailableError("/lists", "Mailchimp answered 503", "Try again later.")

    client = browser(ledger, sessions, links, preview=unavailable)
    client.post(f"{PREFIX}/login", data={"token": links.issue("mara")})
    answer = decide(client, propose(ledger, **WRITES_B), "preview")
    assert answer.status_code == 409
    assert "Mailchimp answered 503" in answer.text


def test_what_happens_every_night_takes_one_line_of_the_history(ledger: Ledger, mara: TestClient) -> None:
    subject = propose(ledger)
    for event in (EventType.APPROVED, EventType.APPLICATION_STARTED, *[EventType.KEPT_IN_STEP] * 3):
        stands = ledger.record(subject)
        ledger.append(subject, event, actor="mara", now=datetime.now(UTC), expected_revision=stands.revision)
    page = mara.get(f"{PREFIX}/{subject}").text
    assert page.count("kept in step") == 1
    assert "3 times" in page


def test_what_would_be_written_is_told_in_words(ledger: Ledger, mara: TestClient) -> None:
    after = {"field": "SUBJECT", "value": "B", "holdout_value": "A"}
    subject = propose(ledger, before={"arms": {"A": 0.5, "B": 0.5}}, after=after, apply_kind=ApplyKind.MEMBER_FIELDS)
    page = mara.get(f"{PREFIX}/{subject}").text
    assert "merge field SUBJECT" in page
    assert "B for everybody; A for those kept out" in page
    assert "A 0.5, B 0.5" in page


def test_what_was_seen_is_approved_by_whom_it_was_seen(mara: TestClient, ledger: Ledger) -> None:
    subject = propose(ledger)
    page = mara.get(f"{PREFIX}/{subject}").text
    assert "Wait 48 h instead of 72 h before tips" in page
    assert "Forty-eight hours convert best." in page
    assert decide(mara, subject, "approve").status_code == 200
    record = ledger.record(subject)
    assert (record.status, record.decided_by) == (Status.APPROVED, "mara")
    assert decide(mara, subject, "done").status_code == 200
    assert ledger.record(subject).status is Status.APPLIED


def test_a_no_needs_its_reason(mara: TestClient, ledger: Ledger) -> None:
    subject = propose(ledger)
    assert decide(mara, subject, "reject", reason=" ").status_code == 409
    assert decide(mara, subject, "reject", reason="Not in summer.").status_code == 200
    assert ledger.record(subject).reason == "Not in summer."


def test_newer_evidence_is_not_approved_unseen(mara: TestClient, ledger: Ledger) -> None:
    subject = propose(ledger)
    form = form_of(mara.get(f"{PREFIX}/{subject}").text)
    propose(ledger, evidence={**EVIDENCE, "n": 10})
    answer = decide(mara, subject, "approve", form)
    assert (answer.status_code, "has changed since you saw it" in answer.text) == (409, True)
    assert ledger.record(subject).status is Status.PENDING


def test_a_form_is_of_one_session_and_one_record(
    mara: TestClient, ledger: Ledger, sessions: Sessions, links: Links
) -> None:
    subject, other = propose(ledger), propose(ledger, target="other")
    form = form_of(mara.get(f"{PREFIX}/{subject}").text)
    noor = browser(ledger, sessions, links)
    noor.post(f"{PREFIX}/login", data={"token": links.issue("noor")})
    assert decide(noor, subject, "approve", form).status_code == 403
    assert decide(mara, other, "approve", form).status_code == 403
    assert decide(mara, subject, "approve", "").status_code == 403
    assert decide(mara, subject, "approve", form[:-2] + "xx").status_code == 403
    assert {record.status for record in ledger.records()} == {Status.PENDING}


def test_nothing_is_decided_by_a_get_nor_from_another_site(mara: TestClient, ledger: Ledger) -> None:
    subject = propose(ledger)
    form = form_of(mara.get(f"{PREFIX}/{subject}").text)
    mara.get(f"{PREFIX}/{subject}", params={"form": form, "decision": "approve"})
    data = {"form": form, "decision": "approve"}
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert mara.post(f"{PREFIX}/{subject}", data=data, headers=headers).status_code == 403
    assert ledger.record(subject).status is Status.PENDING


def test_a_made_up_cookie_is_nobody(ledger: Ledger, sessions: Sessions, links: Links) -> None:
    client = browser(ledger, sessions, links)
    for cookie in ("mara", '["mara","x"]', "x.y.z"):
        client.cookies.set(sessions.cookie_name, cookie, path=PREFIX)
        assert client.get(f"{PREFIX}/").status_code == 401


def test_planted_cookies_of_another_port_lock_nobody_out(
    ledger: Ledger, sessions: Sessions, links: Links, mara: TestClient
) -> None:
    name, session = next(iter(mara.cookies.items()))
    assert name not in {Sessions().cookie_name, COOKIE}
    elsewhere = Sessions()
    stranger = elsewhere.cookie("mara")
    for planted in (f"{name}=x", f"{name}={stranger}", f'{name}="', f"{COOKIE}=x; {name}", f"{name}==;;"):
        for cookies in (f"{planted}; {name}={session}", f"{name}={session}; {planted}"):
            answer = browser(ledger, sessions, links).get(f"{PREFIX}/", headers={"Cookie": cookies})
            assert answer.status_code == 200
        assert browser(ledger, sessions, links).get(f"{PREFIX}/", headers={"Cookie": planted}).status_code == 401


def test_somebody_taken_off_the_list_is_out_at_once(ledger: Ledger, sessions: Sessions, links: Links) -> None:
    client = browser(ledger, sessions, links, ApprovalPolicy())
    client.post(f"{PREFIX}/login", data={"token": links.issue("mara")})
    assert client.get(f"{PREFIX}/").status_code == 401


def test_a_trusted_proxy_says_who_it_is_only_where_it_is_named(
    ledger: Ledger, sessions: Sessions, links: Links
) -> None:
    header = {"X-Forwarded-User": "mara"}
    assert browser(ledger, sessions, links).get(f"{PREFIX}/", headers=header).status_code == 401
    trusting = ApprovalPolicy(approvers=POLICY.approvers, trusted_proxy_header="X-Forwarded-User")
    assert browser(ledger, sessions, links, trusting).get(f"{PREFIX}/", headers=header).status_code == 200


def test_names_are_text_and_nothing_runs_or_is_fetched(mara: TestClient, ledger: Ledger) -> None:
    evidence = {**EVIDENCE, "summary": WICKED, "chart": CHART, "rows": [{WICKED: WICKED}]}
    subject = propose(ledger, title=WICKED, evidence=evidence, before={WICKED: WICKED})
    for path in (f"{PREFIX}/", f"{PREFIX}/{subject}"):
        answer = mara.get(path)
        assert answer.status_code == 200
        assert "<script" not in answer.text
        assert "<b>bold" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"]
    assert 'role="img"' in answer.text


def test_a_link_of_another_process_lets_in_and_is_used_up_for_both(
    ledger: Ledger, sessions: Sessions, links: Links, tmp_path: Path, clock: Clock
) -> None:
    token = Links(tmp_path / "logins", clock).issue("mara")
    assert token not in "".join(path.name + path.read_text() for path in (tmp_path / "logins").iterdir())
    client = browser(ledger, sessions, links)
    assert client.post(f"{PREFIX}/login", data={"token": token}).status_code == 200
    assert Links(tmp_path / "logins", clock).redeem(token) is None


def test_who_may_only_look_sees_everything_and_decides_nothing(
    ledger: Ledger, sessions: Sessions, links: Links
) -> None:
    subject = propose(ledger)
    reader = browser(ledger, sessions, links, ApprovalPolicy())
    assert reader.post(f"{PREFIX}/login", data={"token": links.issue(READER)}).status_code == 200
    page = reader.get(f"{PREFIX}/{subject}").text
    assert "Forty-eight" in page
    assert "approvals.yaml" in page
    assert 'name="decision"' not in page
    refused = reader.post(f"{PREFIX}/{subject}", data={"decision": "approve"})
    assert (refused.status_code, ledger.record(subject).status) == (403, Status.PENDING)


def test_an_empty_name_of_a_proxy_is_no_reader(ledger: Ledger, sessions: Sessions, links: Links) -> None:
    trusting = ApprovalPolicy(approvers=POLICY.approvers, trusted_proxy_header="X-Forwarded-User")
    client = browser(ledger, sessions, links, trusting)
    assert client.get(f"{PREFIX}/", headers={"X-Forwarded-User": ""}).status_code == 401
