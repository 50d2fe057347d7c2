"""The inbox as tests open it: in a browser, with records to decide about."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
from starlette.testclient import TestClient

from pipeline.optimizations import review
from pipeline.optimizations.approval_policy import ApprovalPolicy, Approver
from pipeline.optimizations.changes import ChangePlan
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Record
from pipeline.optimizations.review import Seen
from pipeline.schemas.base import empty
from pipeline.schemas.loop import RealisedLift
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.serving.guard import Guard
from pipeline.serving.inbox.app import PREFIX, Inbox
from pipeline.serving.inbox.links import Links
from pipeline.serving.inbox.next_steps import Timetable
from pipeline.serving.inbox.sessions import Sessions
from tests.optimizations.conftest import proposal

HOST = "127.0.0.1:3000"
TIMETABLE = Timetable(60, lambda now: datetime(2026, 7, 1, 3, 30, tzinfo=UTC))
POLICY = ApprovalPolicy(approvers=(Approver("mara", Risk.MEDIUM), Approver("noor", Risk.HIGH)))
EVIDENCE = {"summary": "Forty-eight hours convert best.", "n": 9, "rows": [{"delay": 48, "rate": 0.25}]}
WRITES_B = {"apply_kind": ApplyKind.MEMBER_FIELDS, "after": {"field": "SUBJECT", "value": "B", "holdout_value": "A"}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def browser(
    ledger: Ledger,
    sessions: Sessions,
    links: Links,
    policy: ApprovalPolicy = POLICY,
    preview: Callable[[str], ChangePlan] = lambda subject: ChangePlan(()),
    realised: pl.DataFrame = empty(RealisedLift),  # noqa: B008 - a frame without rows never changes
) -> TestClient:
    def take_back(seen: Seen, actor: str, reason: str) -> Record:
        now = datetime.now(UTC)
        return review.take_back(ledger, policy, seen, actor=actor, reason=reason, first_day=now.date(), now=now)

    inbox = Inbox(ledger, lambda: policy, sessions, links, lambda: realised, preview, take_back, TIMETABLE)
    return TestClient(Guard(inbox.app(), frozenset({HOST})), base_url=f"http://{HOST}")


def propose(ledger: Ledger, **changes: Any) -> str:
    made = proposal(**{"evidence": EVIDENCE, **changes})
    ledger.propose([made], now=datetime.now(UTC), approval_policy=POLICY)
    return made.optimization_id


def form_of(page: str) -> str:
    return re.findall(r'name="form" value="([^"]+)"', page)[0]


def decide(client: TestClient, subject: str, decision: str, form: str | None = None, **more: str) -> Any:
    form = form_of(client.get(f"{PREFIX}/{subject}").text) if form is None else form
    return client.post(f"{PREFIX}/{subject}", data={"form": form, "decision": decision, **more})
