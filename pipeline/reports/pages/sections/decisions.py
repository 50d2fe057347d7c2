"""What waits for a person, and what persons decided."""

from collections.abc import Sequence

from pipeline.optimizations.record import IN_EFFECT, Record, Status
from pipeline.reports.pages import cells
from pipeline.reports.pages.model import Cell, Section

INBOX = "/inbox/"
"""Where `driptune up` serves the inbox, on the same host as the pages."""


def waiting(records: Sequence[Record]) -> Section:
    """Proposals that wait for a decision, each with the way to its record."""
    mine = [record for record in records if record.status is Status.PENDING]
    mine.sort(key=lambda one: (-(one.proposal.expected_value or 0), -(one.proposal.expected_lift or 0)))
    rows = [
        [
            Cell(record.proposal.title, link=f"{INBOX}{record.optimization_id}"),
            Cell(str(record.proposal.risk)),
            _promised(record),
            Cell(str(record.proposal.evidence.get("summary", ""))),
            Cell(f"driptune show {record.optimization_id}"),
        ]
        for record in mine
    ]
    words = f"{len(mine)} proposals wait; nothing changes before a person approves." if mine else "Nothing waits."
    header = ("proposal", "risk", "promised", "because", "evidence and decision")
    return Section("waiting", "Waiting for your decision", words, header, rows, source="the ledger", is_open=True)


def decided(records: Sequence[Record]) -> Section:
    """What was decided, with what it promised."""
    mine = [record for record in records if record.status is not Status.PENDING]
    rows = [
        [
            Cell(record.proposal.title, link=f"{INBOX}{record.optimization_id}"),
            Cell(record.status.replace("_", " ")),
            Cell(record.decided_by or ""),
            _promised(record),
            Cell(record.reason or ""),
        ]
        for record in mine
    ]
    in_effect = sum(record.status in IN_EFFECT for record in mine)
    words = f"{len(mine)} decided, {in_effect} in effect." if mine else "Nothing has been decided yet."
    return Section("decided", "Decisions taken", words, ("proposal", "status", "by", "promised", "reason"), rows)


def _promised(record: Record) -> Cell:
    one = record.proposal
    return cells.lift(one.expected_lift, one.expected_lift_low, one.expected_lift_high)
