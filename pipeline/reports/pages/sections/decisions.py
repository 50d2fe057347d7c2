"""What waits for a decision, and what was decided."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.common.words import counted, lift, worth
from pipeline.optimizations.realised import answer_in_words, in_a_word
from pipeline.optimizations.record import ASLEEP, IN_EFFECT, Record, most_urgent_first
from pipeline.reports.pages import INBOX_PATH, cells
from pipeline.reports.pages.model import Cell, Section
from pipeline.schemas.vocabulary import RecordStatus as Status

MOST_SHOWN = 8
"""Proposals that are shown at once; the others are a click away."""


def waiting(records: Sequence[Record]) -> Section:
    """Proposals that wait for a decision, each with a link to its record."""
    mine = most_urgent_first(record for record in records if record.status is Status.PENDING)
    rows = [
        [
            Cell(record.proposal.title, link=f"{INBOX_PATH}/{record.optimization_id}"),
            Cell(str(record.proposal.risk)),
            _promised(record),
            Cell(str(record.proposal.evidence.get("summary", ""))),
            Cell(str(record.proposal.evidence.get("answer", ""))),
        ]
        for record in mine
    ]
    told = counted(len(mine), "proposal waits", "proposals wait") if mine else "Nothing waits"
    words = (
        "The most urgent first. Nothing changes before a person approves it. Where nothing is promised, the "
        "gain is not known; where no answer stands, it will not be measured."
        if mine
        else "New proposals come with the next night."
    )
    header = ("proposal", "risk", "promised", "because", "answer")
    title, source = f"{told} for your decision", "the ledger, optimizations"
    return Section("waiting", title, words, header, rows, source=source, is_open=True, most_shown=MOST_SHOWN)


def decided(records: Sequence[Record], realised: pl.DataFrame) -> Section:
    """What was decided, what it promised, and what it brought according to rows of `realised_lift`."""
    mine = [record for record in records if record.status is not Status.PENDING and not _is_undecided(record)]
    mine.sort(key=lambda one: one.decided_at or one.created_at, reverse=True)
    brought = {row["optimization_id"]: row for row in in_a_word(realised).iter_rows(named=True)}
    rows = [
        [
            Cell(record.proposal.title, link=f"{INBOX_PATH}/{record.optimization_id}"),
            Cell(record.status.replace("_", " ")),
            Cell(record.decided_by or ""),
            Cell(f"{record.decided_at:%Y-%m-%d}" if record.decided_at else ""),
            _promised(record),
            *_brought(record, brought.get(record.optimization_id)),
            Cell(record.reason or ""),
        ]
        for record in mine
    ]
    in_effect = sum(record.status in IN_EFFECT for record in mine)
    words = (
        f"{len(mine)} decided, {in_effect} in effect. What a change brought is measured against the people kept out of "
        "it. Its 95% interval holds on all nights at once."
        if mine
        else "Nothing has been decided yet."
    )
    header = ("decision", "status", "by", "decided on", "promised", "brought", "answer", "measured on", "reason")
    source = "the ledger, optimizations, realised_lift"
    title = counted(in_effect, "change is in effect", "changes are in effect") if in_effect else "Decisions taken"
    return Section("decided", title, words, header, rows, source=source, is_open=True)


def _is_undecided(record: Record) -> bool:
    """Whether a record ended without anybody's decision: it lapsed, gave way, or is no longer proposed."""
    return record.status in ASLEEP and not record.approvals


def _brought(record: Record, row: Mapping[str, Any] | None) -> list[Cell]:
    if row is None:
        yet = "not measured yet" if record.proposal.holdout_share else "not measured: nobody was kept out"
        return [Cell(yet if record.status in IN_EFFECT else ""), Cell(""), Cell("")]
    people = f"{row['exposures']:,} with it and {row['held_out_exposures']:,} kept out"
    on = f"{row['metric'].replace('_', ' ')} of {people}, since {row['first_day']}"
    answer = Cell(answer_in_words(row))
    if row["realised_lift"] is None:
        return [Cell(row["status"]), answer, Cell(on)]
    found = Cell(f"{cells.lift(row, 'realised_lift').text}: {row['outcome']}", row["realised_lift"])
    return [found, answer, Cell(on)]


def _promised(record: Record) -> Cell:
    one = record.proposal
    if one.expected_lift is None:
        return Cell(worth(one.expected_gain), one.expected_gain) if one.expected_gain else Cell("")
    return Cell(lift(one.expected_lift, one.expected_lift_low, one.expected_lift_high), one.expected_lift)
