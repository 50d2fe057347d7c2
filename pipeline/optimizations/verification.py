"""What the ledger learns from realised lifts: which changes work, and whose plan has its answer.

What works becomes verified, with what was measured. After an answer fewer people are kept out.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pipeline.optimizations.chain import StaleRecordError
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.measurement.sizing import watch_share
from pipeline.optimizations.realised import in_a_word
from pipeline.optimizations.record import IN_EFFECT
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RealisedOutcome as Kept
from pipeline.schemas.vocabulary import RecordStatus as Status

MEASURER = "driptune"
UNTIL_WATCHED = timedelta(days=2)
"""People are let in on the day after the night that has the answer, so the next day is the first whole one."""
MEASURED = ("as_of_day", "metric", "exposures", "held_out_exposures", "realised_lift", "realised_lift_low",
            "realised_lift_high", "promised_lift")  # fmt: skip


def verify_what_works(ledger: Ledger, realised: pl.DataFrame, *, now: datetime) -> list[str]:
    """Note that applied changes raise what they promised to raise; returns the ids.

    Args:
        ledger: where the records stand.
        realised: rows of `realised_lift`.
        now: the time.
    """
    working = in_a_word(realised).filter(pl.col("outcome") == Kept.WORKS)
    found = {row["optimization_id"]: row for row in working.iter_rows(named=True)}
    applied = [record for record in ledger.records(Status.APPLIED) if record.optimization_id in found]
    verified = []
    for record in applied:
        details = {name: _plain(found[record.optimization_id][name]) for name in MEASURED}
        # A record that is being written right now moves on meanwhile; the next night verifies it.
        with suppress(StaleRecordError):
            ledger.append(
                record.optimization_id,
                EventType.VERIFIED,
                actor=MEASURER,
                now=now,
                expected_revision=record.revision,
                payload={"details": {"realised": details}},
            )
            verified.append(record.optimization_id)
    return verified


def shrink_holdouts(ledger: Ledger, realised: pl.DataFrame, *, now: datetime) -> list[str]:
    """Keep fewer people out of the changes in effect whose plan has its answer; returns the ids.

    Those who are let in get the change when the record is next kept in step. Nobody is let into what does harm.

    Args:
        ledger: where the records stand.
        realised: rows of `realised_lift`.
        now: the time.
    """
    harmful = in_a_word(realised).filter(pl.col("outcome") == Kept.HARM)["optimization_id"].implode()
    answered = realised.filter("is_latest", pl.col("answered_day").is_not_null())
    found = dict(
        answered.filter(~pl.col("optimization_id").is_in(harmful)).select("optimization_id", "as_of_day").rows()
    )
    shrunk = []
    for record in ledger.records(*IN_EFFECT):
        if record.optimization_id not in found or record.watched_from_day is not None:
            continue
        payload = {
            "watched_from_day": (found[record.optimization_id] + UNTIL_WATCHED).isoformat(),
            "watch_share": watch_share(record.proposal.holdout_share),
        }
        # As above: the next night shrinks it.
        with suppress(StaleRecordError):
            ledger.append(
                record.optimization_id,
                EventType.HOLDOUT_SHRUNK,
                actor=MEASURER,
                now=now,
                expected_revision=record.revision,
                payload=payload,
            )
            shrunk.append(record.optimization_id)
    return shrunk


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
