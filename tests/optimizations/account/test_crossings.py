"""Apply, rollback and keep-in-step crossed with decisions, edits, expiry, policies, failures and crashes, in any order.

Two records write a field each. A model beside them knows what every person holds: what stood before the record, what
the record gave them, or what they set themselves since it did.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.common.errors import LedgerError, SourceError, UnavailableError
from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account import rollback as rollbacks
from pipeline.optimizations.account import writing
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, Proposal, Record
from pipeline.optimizations.review import Seen
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.worlds.holdouts import holdouts
from tests.worlds.writing import FIRST_DAY, PLACES, InMemoryAccount, PowerCut, cut_at

PEOPLE = 8
KINDS = {Kind.SEND_TIME: "SENDHOUR", Kind.EXPERIMENT_WINNER: "ARM"}
LIFTS = {"good": (0.3, 0.2, 0.4), "newer": (0.25, 0.15, 0.35), "worse": (0.1, 0.02, 0.3)}
ENDED = (Status.REJECTED, Status.EXPIRED, Status.STALE, Status.ROLLED_BACK, Status.SUPERSEDED)
kinds = st.sampled_from(list(KINDS))
accidents = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(PLACES), st.integers(1, 3)),
    st.integers(1, PEOPLE).map(lambda write: ("no answer", write)),
)


def made(kind: Kind, base: int, lift: str, risk: Risk) -> Proposal:
    after: dict[str, Any] = {"field": KINDS[kind]}
    if kind is Kind.SEND_TIME:
        after |= {"source": "hours", "column": "hour"}
    else:
        after |= {"value": "B", "holdout_value": "A"}
    middle, low, high = LIFTS[lift]
    return proposal(
        kind=kind,
        target="all",
        after=after,
        apply_kind=ApplyKind.MEMBER_FIELDS,
        base_version=str(base),
        evidence={"lift": lift},
        expected_lift=middle,
        expected_lift_low=low,
        expected_lift_high=high,
        risk=risk,
        holdout_share=0.3,
    )


class Crossings(RuleBasedStateMachine):
    """The product beside the model."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(f"sqlite:///{Path(self.folder.name)}/ledger.sqlite")
        self.now, self.policy = NOW, POLICY
        self.account = InMemoryAccount(people=PEOPLE)
        self.account.people = list(range(PEOPLE))
        self.account.fields = {field: {0: "old", 1: "B"} for field in KINDS.values()}
        self.shift = self.edits = 0
        self.base = dict.fromkeys(KINDS, 0)
        self.standing: dict[Kind, Proposal] = {}
        # What the model knows, by kind and person: what stood before, what they set since, what the record gave them.
        self.before: dict[tuple[Kind, int], str] = {}
        self.own: dict[tuple[Kind, int], str] = {}
        self.given: dict[tuple[Kind, int], str] = {}
        self.seen: dict[Kind, set[int]] = {kind: set() for kind in KINDS}
        self.unknown: set[tuple[Kind, int]] = set()
        for kind in KINDS:
            self.have_approved(kind)

    def held(self, kind: Kind, key: int) -> str:
        return self.account.fields[KINDS[kind]].get(key, "")

    def record(self, kind: Kind) -> Record | None:
        records = [one for one in self.ledger.records() if one.proposal.kind is kind]
        return records[-1] if records else None

    def are_any(self, *statuses: Status) -> bool:
        return any((record := self.record(kind)) and record.status in statuses for kind in KINDS)

    def one_of(self, data: st.DataObject, *statuses: Status) -> tuple[Kind, Record]:
        found = [(kind, record) for kind in KINDS if (record := self.record(kind)) and record.status in statuses]
        return data.draw(st.sampled_from(found))

    def tables(self) -> dict[str, pl.DataFrame]:
        return {
            "holdouts": holdouts(),
            "hours": pl.DataFrame({"subscriber_key": range(PEOPLE), "hour": [k + self.shift for k in range(PEOPLE)]}),
        }

    # What happens in the world

    @rule(kind=kinds)
    def have_approved(self, kind: Kind) -> None:
        """The usual course of a change, so that most of what follows meets one that was approved."""
        self.publish(kind, "good", Risk.LOW)
        self.approve(kind, {"mara", "noor", "lia"})

    @rule(kind=kinds, data=st.data(), what=st.sampled_from(["publish", "retract", "move", "wait", "policy", "decide"]))
    def change_the_world(self, kind: Kind, data: st.DataObject, what: str) -> None:
        if what == "publish":
            risk = data.draw(st.sampled_from([Risk.LOW, Risk.MEDIUM, Risk.HIGH]))
            self.publish(kind, data.draw(st.sampled_from(list(LIFTS))), risk)
        elif what == "retract":
            self.standing.pop(kind, None)
        elif what == "move":
            self.shift += 1
        elif what == "wait":
            self.now += timedelta(days=data.draw(st.integers(1, 10)))
            if data.draw(st.booleans()):
                review.expire_due(self.ledger, self.now)
        elif what == "policy":
            absent = data.draw(st.sampled_from(["", "mara", "noor"]))
            there = tuple(one for one in POLICY.approvers if one.name != absent)
            four_eyes = data.draw(st.sampled_from(Risk))
            self.policy = dataclasses.replace(POLICY, four_eyes_from=four_eyes, approvers=there)
        else:
            self.approve(kind, data.draw(st.sets(st.sampled_from(["mara", "noor", "lia"]))))

    @rule(kind=kinds, keys=st.sets(st.integers(0, PEOPLE - 1), min_size=1, max_size=3))
    def edit(self, kind: Kind, keys: set[int]) -> None:
        for key in keys:
            self.edits += 1
            value = f"own {self.edits}"
            self.account.fields[KINDS[kind]][key] = value
            (self.own if key in self.seen[kind] else self.before)[kind, key] = value

    @rule(key=st.integers(0, PEOPLE - 1))
    def leave_or_come_back(self, key: int) -> None:
        people = set(self.account.people) ^ {key}
        self.account.people = sorted(people) or [key]

    def publish(self, kind: Kind, lift: str, risk: Risk) -> None:
        stands = self.record(kind)
        if stands is not None and stands.status in ENDED:
            self.base[kind] += 1
        self.standing[kind] = made(kind, self.base[kind], lift, risk)
        self.ledger.propose(self.standing.values(), now=self.now, approval_policy=self.policy)

    def approve(self, kind: Kind, actors: set[str]) -> None:
        """Everybody says yes; where nobody does, one says no."""
        for actor in sorted(actors) or ["lia"]:
            if record := self.record(kind):
                decide = review.approve if actors else partial(review.reject, reason="No.")
                with suppress(LedgerError):
                    decide(self.ledger, self.policy, Seen.of(record), actor=actor, now=self.now)

    # What driptune writes

    @precondition(lambda self: self.are_any(Status.APPROVED, Status.APPLYING))
    @rule(data=st.data(), accident=accidents)
    def apply(self, data: st.DataObject, accident: Any) -> None:
        kind, record = self.one_of(data, Status.APPROVED, Status.APPLYING)
        was_approved = record.status is Status.APPROVED
        may_write = was_approved and self.approval_holds(record)

        def work(checkpoint: Callable[[str], None]) -> None:
            applications.apply(
                self.ledger,
                record.optimization_id,
                self.account,
                self.tables(),
                approval_policy=self.policy,
                standing=list(self.standing.values()),
                first_day=FIRST_DAY,
                now=self.now,
                checkpoint=checkpoint,
            )

        is_done = self.cross(kind, record, accident, work)
        after = self.ledger.record(record.optimization_id)
        if was_approved and not may_write:
            assert after.status in (Status.PENDING, Status.EXPIRED, Status.STALE)
            assert after.reason != record.reason
        if is_done:
            assert after.status is Status.APPLIED
            self.give(kind, after)

    @precondition(lambda self: self.are_any(*IN_EFFECT))
    @rule(data=st.data(), accident=accidents)
    def keep_in_step(self, data: st.DataObject, accident: Any) -> None:
        kind, record = self.one_of(data, *IN_EFFECT)

        def work(checkpoint: Callable[[str], None]) -> None:
            applications.keep_in_step(
                self.ledger, record.optimization_id, self.account, self.tables(), now=self.now, checkpoint=checkpoint
            )

        if self.cross(kind, record, accident, work):
            assert record.status in IN_EFFECT
            self.give(kind, record)

    @precondition(lambda self: self.are_any(Status.APPLYING, *IN_EFFECT, Status.ROLLING_BACK))
    @rule(data=st.data(), accident=accidents)
    def roll_back(self, data: st.DataObject, accident: Any) -> None:
        kind, record = self.one_of(data, Status.APPLYING, *IN_EFFECT, Status.ROLLING_BACK)

        def work(checkpoint: Callable[[str], None]) -> None:
            rollbacks.roll_back(
                self.ledger,
                record.optimization_id,
                self.account,
                actor="noor",
                reason="Tried.",
                first_day=FIRST_DAY,
                now=self.now,
                checkpoint=checkpoint,
            )

        if self.cross(kind, record, accident, work):
            assert self.ledger.record(record.optimization_id).status is Status.ROLLED_BACK

    @precondition(lambda self: self.are_any(*IN_EFFECT))
    @rule(data=st.data())
    def approve_and_apply_the_way_back(self, data: st.DataObject) -> None:
        kind, record = self.one_of(data, *IN_EFFECT)
        after = {"roll_back": record.optimization_id, "field": KINDS[kind]}
        back = proposal(
            kind=Kind.ROLLBACK, target=record.optimization_id, apply_kind=ApplyKind.MEMBER_FIELDS, after=after
        )
        self.ledger.propose([back], now=self.now, approval_policy=POLICY)
        seen = Seen.of(self.ledger.record(back.optimization_id))
        with suppress(LedgerError):
            review.approve(self.ledger, POLICY, seen, actor="noor", now=self.now)
        if self.ledger.record(back.optimization_id).status is not Status.APPROVED:
            return

        def work(checkpoint: Callable[[str], None]) -> None:
            terms = {"approval_policy": POLICY, "standing": [back], "first_day": FIRST_DAY, "now": self.now}
            applications.apply(self.ledger, back.optimization_id, self.account, self.tables(), **terms)

        self.cross(kind, record, None, work)

    @rule(kind=kinds, key=st.integers(0, PEOPLE - 1))
    def forget(self, kind: Kind, key: int) -> None:
        self.ledger.forget(str(key), now=self.now)
        self.account.people = [one for one in self.account.people if one != key] or [(key + 1) % PEOPLE]
        self.unknown |= {(one, key) for one in KINDS}

    def cross(self, kind: Kind, record: Record, accident: Any, work: Callable[[Callable[[str], None]], None]) -> bool:
        """Do the work, with an accident; whether it was done. The model then learns whom the record has met."""
        stood = {key: self.held(kind, key) for key in range(PEOPLE)}
        checkpoint: Callable[[str], None] = lambda place: None  # noqa: E731
        if accident is not None and accident[0] == "no answer":
            self.account.before_write = unheard(accident[1])
        elif accident is not None:
            checkpoint = cut_at(*accident)
        try:
            work(checkpoint)
            is_done = True
        except (PowerCut, SourceError, LedgerError):
            is_done = False
        self.account.before_write = lambda key: None
        met = {int(one.subject) for one in self.ledger.journal.writes(record.optimization_id) if one.subject}
        for key in met - self.seen[kind]:
            self.before[kind, key] = stood[key]
            self.own.pop((kind, key), None)
        self.seen[kind] |= met
        after = self.ledger.record(record.optimization_id)
        if after.status in (*ENDED, Status.PENDING):
            if met:
                # Who was away when it was put back keeps what they had.
                away = set(range(PEOPLE)) - set(self.account.people)
                self.unknown |= {(kind, key) for key in away & met}
            self.given = {place: value for place, value in self.given.items() if place[0] is not kind}
            if after.status in ENDED:
                self.end(kind)
        return is_done

    def end(self, kind: Kind) -> None:
        """The next record of the kind meets everybody anew."""
        for key in self.seen[kind]:
            self.before[kind, key] = self.own.pop((kind, key), self.before[kind, key])
        self.seen[kind] = set()

    def give(self, kind: Kind, record: Record) -> None:
        """What everybody who gets mail now is to hold, as the record was approved."""
        keys = pl.Series(list(self.account.people), dtype=pl.Int64)
        out = is_held_out(keys, record.optimization_id, record.proposal.holdout_share)
        for key, is_out in zip(keys, out, strict=True):
            if kind is Kind.EXPERIMENT_WINNER:
                self.given[kind, key] = "A" if is_out else "B"
            elif not is_out:
                self.given[kind, key] = str(key + self.shift)

    def approval_holds(self, record: Record) -> bool:
        today = self.standing.get(record.proposal.kind)
        if today is None or today.optimization_id != record.optimization_id or self.now >= record.expires_at:
            return False
        levels = list(Risk)
        risk = levels.index(record.proposal.risk)
        names = {one.name: levels.index(one.highest_risk) for one in self.policy.approvers}
        standing = {one.actor for one in record.approvals if names.get(one.actor, -1) >= risk}
        required = 2 if risk >= levels.index(self.policy.four_eyes_from) else 1
        was_low = record.proposal.expected_lift_low or 0.0
        is_worse = levels.index(today.risk) > risk or (today.expected_lift or 0.0) < was_low
        return len(standing) >= required and not is_worse

    # What must always hold

    @invariant()
    def the_ledger_agrees_with_itself(self) -> None:
        assert self.ledger.verify() == []

    @invariant()
    def nothing_of_a_persons_own_is_overwritten(self) -> None:
        for (kind, key), value in self.own.items():
            if (kind, key) not in self.unknown:
                assert self.held(kind, key) == value

    @invariant()
    def account_and_ledger_agree(self) -> None:
        for kind in KINDS:
            record = self.record(kind)
            status = record.status if record else Status.PENDING
            if status in (Status.APPLYING, Status.ROLLING_BACK):
                continue
            for key in range(PEOPLE):
                if (kind, key) in self.unknown or (kind, key) in self.own:
                    continue
                stood = self.before.get((kind, key), {0: "old", 1: "B"}.get(key, ""))
                if status not in IN_EFFECT:
                    assert self.held(kind, key) == stood
                elif key in self.account.people and (kind, key) in self.given:
                    assert self.held(kind, key) in (self.given[kind, key], self.wanted_now(kind, key))

    def wanted_now(self, kind: Kind, key: int) -> str:
        """What a keeping in step that was cut short may have given already."""
        return str(key + self.shift) if kind is Kind.SEND_TIME else self.given[kind, key]

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


def unheard(writes: int) -> Callable[[int], None]:
    """Mailchimp does not answer the write of that number, nor those after it."""
    left = writes

    def before_write(key: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise UnavailableError("/lists/{list_id}/members/{member_id}", "no answer", "Run again later.")

    return before_write


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH", 3)


TestCrossings = Crossings.TestCase
TestCrossings.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
