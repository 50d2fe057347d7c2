"""An approval binds everything it rests on: what has grown worse, lapsed or lost its approvers is asked anew."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.optimizations import review
from pipeline.optimizations.account.refusals import NotApplicableError
from pipeline.optimizations.approval_policy import ApprovalPolicy, Approver, AutomaticApproval
from pipeline.optimizations.binding import grown_worse
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal
from pipeline.optimizations.review import DecisionRefusedError, Seen
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.schemas.vocabulary import Risk
from tests.optimizations.conftest import NOW, POLICY, TOMORROW, proposal
from tests.worlds.writing import BATCH, InMemoryAccount, PowerCut, apply, approved, cut_at, expected, hours

PROMISE = {"expected_lift": 0.3, "expected_lift_low": 0.1, "expected_lift_high": 0.5}
EFFECT = {"effect": 0.3, "effect_low": 0.1, "effect_high": 0.5, "identification": "randomised"}
GUARD = {"name": "complaint", "detail": "", "status": "ok"}


def promising(evidence: dict[str, Any] | None = None, **changes: Any) -> Proposal:
    return hours(
        **{**PROMISE, "risk": Risk.MEDIUM, "evidence": {**EFFECT, "guardrails": [GUARD], **(evidence or {})}, **changes}
    )


WORSE = [
    (promising(risk=Risk.HIGH), "It is of high risk now and was approved as medium."),
    (promising(expected_lift=0.05, expected_lift_low=0.01), "The promise has become worse: +0.05 (+0.01 to +0.5) now"),
    (promising(expected_lift=None), "The promise has become worse: it cannot be told now"),
    (promising(expected_lift_low=-0.1), "The promise has become worse"),
    (promising({"effect": -0.2}), "The evidence has become worse: -0.2 (+0.1 to +0.5) now"),
    (promising({"effect": None}), "The evidence has become worse: it cannot be told now"),
    (promising({"identification": "observational"}), "its effect is observational now and was randomised"),
    (promising({"guardrails": [{**GUARD, "status": "stop"}]}), "The guardrail 'complaint' says stop now and said ok"),
]
NO_WORSE = [
    promising(),
    promising({"n": 99_999, "data_version": "v2"}),
    promising(expected_lift=0.2, expected_lift_low=0.05),
    promising({"effect": 0.12}),
    promising(expected_lift=0.9),
    promising(risk=Risk.LOW),
]


@pytest.mark.parametrize(("today", "said"), WORSE)
def test_what_has_grown_worse_since_the_approval_asks_anew(ledger: Ledger, today: Proposal, said: str) -> None:
    approved(ledger, promising())
    account = InMemoryAccount()
    with pytest.raises(NotApplicableError, match="waits for approval anew"):
        apply(ledger, promising(), account, standing=[today])
    asked = ledger.record(today.optimization_id)
    assert (asked.status, asked.approvals, asked.decided_by) == (Status.PENDING, (), None)
    assert asked.proposal == today
    assert asked.approvals_required == POLICY.approvals_required(today.risk)
    assert said in str(asked.reason)
    assert account.writes == 0


@pytest.mark.parametrize("today", NO_WORSE)
def test_evidence_that_is_only_newer_is_applied(ledger: Ledger, today: Proposal) -> None:
    approved(ledger, promising())
    assert apply(ledger, promising(), InMemoryAccount(), standing=[today]).status is Status.APPLIED


@given(approved=st.floats(-1, 1), low=st.floats(0, 1), high=st.floats(0, 1), moved=st.floats(-2, 2))
def test_within_the_interval_that_was_approved_nothing_is_worse_and_beyond_zero_everything_is(
    approved: float, low: float, high: float, moved: float
) -> None:
    ends = {"expected_lift_low": approved - low, "expected_lift_high": approved + high}
    before = proposal(expected_lift=approved, **ends)
    assert grown_worse(before, before) is None
    worse = grown_worse(before, proposal(expected_lift=moved, expected_lift_low=None, expected_lift_high=None))
    if ends["expected_lift_low"] <= moved <= ends["expected_lift_high"] or approved == 0:
        assert worse is None
    elif moved * approved < 0:
        assert worse is not None


def test_an_approval_past_its_expiry_is_not_applied(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    late = NOW + timedelta(days=60)
    with pytest.raises(NotApplicableError, match=r"is expired and is not applied. Its approval lapsed on 2026-07-14"):
        apply(ledger, hours(), account, now=late)
    assert ledger.record(hours().optimization_id).status is Status.EXPIRED
    assert account.writes == 0


def without(name: str) -> ApprovalPolicy:
    return dataclasses.replace(POLICY, approvers=tuple(one for one in POLICY.approvers if one.name != name))


@pytest.mark.parametrize(
    ("today", "said"),
    [
        (without("mara"), "0 of those given stand, that of mara no longer counts"),
        (dataclasses.replace(POLICY, approvers=(Approver("mara", Risk.LOW),)), "0 of those given stand"),
        (dataclasses.replace(POLICY, four_eyes_from=Risk.MEDIUM), "takes 2 approvals; 1 of those given stand."),
    ],
)
def test_todays_approval_policy_decides_whether_an_approval_stands(
    ledger: Ledger, today: ApprovalPolicy, said: str
) -> None:
    approved(ledger, promising())
    with pytest.raises(NotApplicableError, match="waits for approval anew"):
        apply(ledger, promising(), InMemoryAccount(), approval_policy=today)
    asked = ledger.record(promising().optimization_id)
    assert (asked.status, said in str(asked.reason)) == (Status.PENDING, True)


def test_what_passed_by_itself_stands_only_within_todays_bounds(ledger: Ledger) -> None:
    bounds = AutomaticApproval(frozenset({Kind.SEND_TIME}), largest_lift=0.3)
    open_policy = dataclasses.replace(POLICY, automatic=bounds)
    ledger.propose([hours()], now=NOW, approval_policy=open_policy)
    narrow = dataclasses.replace(bounds, largest_lift=0.1)
    with pytest.raises(NotApplicableError, match=r"that of approvals.yaml no longer counts"):
        apply(ledger, hours(), InMemoryAccount(), approval_policy=dataclasses.replace(open_policy, automatic=narrow))


def test_what_was_approved_anew_is_applied(ledger: Ledger) -> None:
    approved(ledger, promising())
    account = InMemoryAccount()
    today = promising(expected_lift=0.05)
    with pytest.raises(NotApplicableError):
        apply(ledger, promising(), account, standing=[today])
    seen = Seen.of(ledger.record(today.optimization_id))
    assert seen.evidence_hash == today.evidence_hash
    review.approve(ledger, POLICY, seen, actor="noor", now=TOMORROW)
    assert apply(ledger, today, account, now=TOMORROW).status is Status.APPLIED


@pytest.mark.parametrize(
    ("terms", "ends_as"),
    [
        ({"now": NOW + timedelta(days=60)}, Status.EXPIRED),
        ({"standing": []}, Status.STALE),
        ({"approval_policy": without("mara")}, Status.PENDING),
    ],
)
def test_an_interrupted_application_whose_approval_lapsed_is_put_back(
    ledger: Ledger, terms: dict[str, Any], ends_as: Status
) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    account.fields["SENDHOUR"] = {7: "9"}
    with pytest.raises(PowerCut):
        apply(ledger, hours(), account, checkpoint=cut_at("written"))
    assert account.writes == BATCH
    with pytest.raises(NotApplicableError, match=f"is {ends_as} and is not applied"):
        apply(ledger, hours(), account, **terms)
    assert {key: value for key, value in account.fields["SENDHOUR"].items() if value} == {7: "9"}
    after = ledger.record(hours().optimization_id)
    assert (after.status, after.details["put_back"]["writes"]) == (ends_as, {"written": BATCH})
    assert ledger.verify() == []


def test_an_interrupted_application_that_has_nothing_left_to_write_ends(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    with pytest.raises(PowerCut):
        apply(ledger, hours(), account, checkpoint=cut_at("before the record"))
    done = apply(ledger, hours(), account, standing=[])
    assert (done.status, account.fields["SENDHOUR"]) == (Status.APPLIED, expected(hours()))


def test_a_change_made_by_hand_is_not_marked_as_done_with_too_few_approvals(ledger: Ledger) -> None:
    waiting = approved(ledger, proposal())
    tight = dataclasses.replace(POLICY, four_eyes_from=Risk.LOW)
    with pytest.raises(DecisionRefusedError, match="waits for approval anew"):
        review.mark_done(ledger, tight, Seen.of(waiting), actor="mara", now=NOW)
    assert ledger.record(waiting.optimization_id).status is Status.PENDING
