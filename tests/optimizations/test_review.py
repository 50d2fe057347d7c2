"""Who may decide, on what they saw; and any series of decisions leaves a ledger that agrees with itself."""

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.common.errors import LedgerError
from pipeline.optimizations import review
from pipeline.optimizations.approval_policy import ApprovalPolicy, AutomaticApproval
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import OPEN
from pipeline.optimizations.review import DecisionRefusedError, Seen
from pipeline.optimizations.states import replay
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW, POLICY, TOMORROW, proposal

ACTORS = ("mara", "noor", "lia", "stranger")


def seen(ledger: Ledger, **changes: object) -> Seen:
    ledger.propose([proposal(**changes)], now=NOW, approval_policy=POLICY)
    return Seen.of(ledger.record(proposal(**changes).optimization_id))


def test_a_stranger_decides_nothing(ledger: Ledger) -> None:
    for decide in (review.approve, review.mark_done):
        with pytest.raises(DecisionRefusedError, match="not among the approvers"):
            decide(ledger, POLICY, seen(ledger), actor="stranger", now=NOW)
    with pytest.raises(DecisionRefusedError, match="not among the approvers"):
        review.reject(ledger, POLICY, seen(ledger), actor="stranger", reason="no", now=NOW)


def test_an_approver_stays_below_their_risk(ledger: Ledger) -> None:
    with pytest.raises(DecisionRefusedError, match="mara may approve up to medium"):
        review.approve(ledger, POLICY, seen(ledger, risk=Risk.HIGH), actor="mara", now=NOW)


def test_high_risk_needs_two_people(ledger: Ledger) -> None:
    first = review.approve(ledger, POLICY, seen(ledger, risk=Risk.HIGH), actor="noor", now=NOW)
    assert first.status is Status.PENDING
    with pytest.raises(DecisionRefusedError, match="another person"):
        review.approve(ledger, POLICY, Seen.of(first), actor="noor", now=NOW)
    assert review.approve(ledger, POLICY, Seen.of(first), actor="lia", now=NOW).status is Status.APPROVED


def test_nobody_approves_what_they_proposed(ledger: Ledger) -> None:
    with pytest.raises(DecisionRefusedError, match="Nobody approves what they proposed"):
        review.approve(ledger, POLICY, seen(ledger, author="noor"), actor="noor", now=NOW)


def test_a_rejection_needs_a_reason(ledger: Ledger) -> None:
    with pytest.raises(DecisionRefusedError, match="A reason is needed"):
        review.reject(ledger, POLICY, seen(ledger), actor="mara", reason="  ", now=NOW)
    rejected = review.reject(ledger, POLICY, seen(ledger), actor="mara", reason="Not before May.", now=NOW)
    assert (rejected.status, rejected.reason, rejected.decided_by) == (Status.REJECTED, "Not before May.", "mara")


def test_what_nobody_decides_lapses(ledger: Ledger) -> None:
    waiting = seen(ledger)
    late = NOW + timedelta(days=POLICY.expiry_days)
    assert review.expire_due(ledger, late - timedelta(seconds=1)) == []
    with pytest.raises(DecisionRefusedError, match="lapsed on 2026-07-14"):
        review.approve(ledger, POLICY, waiting, actor="noor", now=late)
    assert review.expire_due(ledger, late) == [waiting.optimization_id]
    assert ledger.record(waiting.optimization_id).status is Status.EXPIRED


def test_only_what_is_made_by_hand_is_marked_as_done(ledger: Ledger) -> None:
    by_api = review.approve(ledger, POLICY, seen(ledger, apply_kind=ApplyKind.API_PATCH), actor="mara", now=NOW)
    with pytest.raises(DecisionRefusedError, match="driptune makes this change itself"):
        review.mark_done(ledger, POLICY, Seen.of(by_api), actor="mara", now=NOW)
    by_hand = review.approve(ledger, POLICY, seen(ledger, target="other"), actor="mara", now=NOW)
    done = review.mark_done(ledger, POLICY, Seen.of(by_hand), actor="mara", now=TOMORROW)
    assert (done.status, done.applied_day) == (Status.APPLIED, TOMORROW.date())


def test_a_decision_is_taken_back_by_who_gave_it(ledger: Ledger) -> None:
    rejected = review.reject(ledger, POLICY, seen(ledger), actor="mara", reason="Not before May.", now=NOW)
    with pytest.raises(DecisionRefusedError, match="noor has no decision"):
        review.undo(ledger, POLICY, Seen.of(rejected), actor="noor", now=NOW)
    waiting = review.undo(ledger, POLICY, Seen.of(rejected), actor="mara", now=NOW)
    assert (waiting.status, waiting.reason, waiting.decided_by) == (Status.PENDING, None, None)
    with pytest.raises(DecisionRefusedError, match="mara has no decision"):
        review.undo(ledger, POLICY, Seen.of(waiting), actor="mara", now=NOW)


def test_the_approvals_of_others_outlive_one_that_is_taken_back(ledger: Ledger) -> None:
    first = review.approve(ledger, POLICY, seen(ledger, risk=Risk.HIGH), actor="noor", now=NOW)
    both = review.approve(ledger, POLICY, Seen.of(first), actor="lia", now=NOW)
    left = review.undo(ledger, POLICY, Seen.of(both), actor="noor", now=NOW)
    assert (left.status, [one.actor for one in left.approvals]) == (Status.PENDING, ["lia"])
    assert review.approve(ledger, POLICY, Seen.of(left), actor="noor", now=NOW).status is Status.APPROVED


def test_what_passed_by_the_policy_alone_is_stopped_by_any_approver(ledger: Ledger) -> None:
    bounds = AutomaticApproval(frozenset({Kind.DELAY}), 0.5)
    lenient = ApprovalPolicy(approvers=POLICY.approvers, automatic=bounds)
    ledger.propose([proposal()], now=NOW, approval_policy=lenient)
    passed = ledger.record(proposal().optimization_id)
    assert passed.status is Status.APPROVED
    stopped = review.undo(ledger, lenient, Seen.of(passed), actor="mara", now=NOW)
    assert (stopped.status, stopped.approvals) == (Status.PENDING, ())
    ledger.propose([proposal()], now=TOMORROW, approval_policy=lenient)
    assert ledger.record(stopped.optimization_id).status is Status.PENDING


def test_a_rejection_is_not_taken_back_once_another_proposal_stands_in_its_place(ledger: Ledger) -> None:
    rejected = review.reject(ledger, POLICY, seen(ledger), actor="mara", reason="Too short.", now=NOW)
    impatient = ApprovalPolicy(approvers=POLICY.approvers, cool_down_days=1)
    newer = proposal(after={"delay_hours": 60}, evidence={"n": 2})
    ledger.propose([newer], now=TOMORROW, approval_policy=impatient)
    with pytest.raises(DecisionRefusedError, match=f"{newer.optimization_id} has taken the place"):
        review.undo(ledger, POLICY, Seen.of(rejected), actor="mara", now=TOMORROW)
    with pytest.raises(DecisionRefusedError, match="lapsed on"):
        review.undo(ledger, POLICY, Seen.of(rejected), actor="mara", now=rejected.expires_at)


def test_what_was_made_meanwhile_is_not_undone(ledger: Ledger) -> None:
    approved = review.approve(ledger, POLICY, seen(ledger), actor="mara", now=NOW)
    review.mark_done(ledger, POLICY, Seen.of(approved), actor="noor", now=NOW)
    with pytest.raises(DecisionRefusedError, match="has changed since you saw it"):
        review.undo(ledger, POLICY, Seen.of(approved), actor="mara", now=NOW)


class AnySeries(RuleBasedStateMachine):
    """Proposals, decisions and waiting in any order."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(f"sqlite:///{Path(self.folder.name)}/ledger.sqlite")
        self.now = NOW

    @rule(
        step=st.sampled_from("ab"),
        hours=st.sampled_from([24, 48]),
        n=st.sampled_from([1, 2]),
        risk=st.sampled_from(Risk),
    )
    def propose(self, step: str, hours: int, n: int, risk: Risk) -> None:
        made = proposal(target=step, after={"delay_hours": hours}, evidence={"n": n}, risk=risk)
        self.ledger.propose([made], now=self.now, approval_policy=POLICY)

    @rule(
        decision=st.sampled_from(["approve", "reject", "undo", "mark_done", "withdraw"]),
        actor=st.sampled_from(ACTORS),
        data=st.data(),
    )
    def decide(self, decision: str, actor: str, data: st.DataObject) -> None:
        records = self.ledger.records()
        if not records:
            return
        before = data.draw(st.sampled_from(records))
        events = len(self.ledger.events())
        terms = {"actor": actor, "now": self.now}
        if decision in ("reject", "withdraw"):
            terms["reason"] = "a reason"
        try:
            after = getattr(review, decision)(self.ledger, POLICY, Seen.of(before), **terms)
        except LedgerError:
            assert len(self.ledger.events()) == events
            return
        assert after.revision > before.revision
        assert actor in POLICY_NAMES

    @rule(days=st.integers(1, 20))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)
        review.expire_due(self.ledger, self.now)

    @invariant()
    def the_ledger_agrees_with_itself(self) -> None:
        assert self.ledger.verify() == []
        records = self.ledger.records()
        for record in records:
            assert replay(self.ledger.events(record.optimization_id)) == record
            approvers = {approval.actor for approval in record.approvals}
            if record.status in (Status.APPROVED, Status.APPLIED):
                assert len(approvers) == record.approvals_required
        open_targets = [(one.proposal.kind, one.proposal.target) for one in records if one.status in OPEN]
        assert len(open_targets) == len(set(open_targets))

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()


POLICY_NAMES = {one.name for one in POLICY.approvers}
TestAnySeries = AnySeries.TestCase
TestAnySeries.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
