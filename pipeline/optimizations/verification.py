"""Records whose change is seen to work become verified, with what was measured: what is learnt stays in the ledger."""

from contextlib import suppress
from datetime import datetime
from typing import Any

import polars as pl

from pipeline.optimizations.chain import StaleRecordError
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.realised import in_a_word
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RealisedOutcome as Kept
from pipeline.schemas.vocabulary import RecordStatus as Status

MEASURER = "driptune"
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


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
