"""What the journal says that members hold, and for how long: what was served is told by this, and by nothing else.

Pure. What is written and how it is judged belongs to `changes`; the journal itself to `journal`.
"""

from collections.abc import Sequence

import polars as pl

from pipeline.common.time import DAY_US, to_date
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.record import Record
from pipeline.schemas.base import conform
from pipeline.schemas.core import CoreWrittenValues
from pipeline.schemas.loop import Deliveries

_STANDS = [Outcome.WRITTEN, Outcome.HELD]
"""Outcomes after which the value of a line stands."""
_ORDER = ["means", "subscriber_key", "from_us"]


def written_values(settled: pl.DataFrame, records: Sequence[Record]) -> pl.DataFrame:
    """Every value with the time for which it stood.

    Args:
        settled: rows of `Journal.settled`.
        records: the ledger's records.

    Returns:
        Rows of `core.written_values`. A value stands from when the account was read back and held it, which is after
        it was written. It ends when another one is read back, of whatever record, or when it was seen that somebody
        else had set the field.
    """
    lines = _of_members(settled, records).filter(pl.col("outcome").is_in([*_STANDS, Outcome.TAKEN]))
    told = lines.select(
        "means", "optimization_id", "proposed_kind", "target",
        subscriber_key=pl.col("subject").cast(pl.Int64),
        from_us="read_us",
        value=pl.when(pl.col("outcome") != Outcome.TAKEN).then("after"),
    )  # fmt: skip
    last = told.sort(_ORDER, maintain_order=True).unique(_ORDER, keep="last", maintain_order=True)
    spans = last.with_columns(until_us=pl.col("from_us").shift(-1).over("means", "subscriber_key"))
    return conform(spans.drop_nulls("value"), CoreWrittenValues)


def deliveries(settled: pl.DataFrame, records: Sequence[Record]) -> pl.DataFrame:
    """To how many members which value was written, by record, day and outcome (rows of `deliveries`)."""
    lines = _of_members(settled, records).with_columns(day=pl.col("read_us") // DAY_US, value="after")
    group = ["optimization_id", "proposed_kind", "target", "means", "day", "value", "outcome"]
    counted = lines.group_by(group).agg(subscribers=pl.len()).with_columns(to_date("day"))
    return conform(counted.sort("optimization_id", "day", "value", "outcome"), Deliveries)


def _of_members(settled: pl.DataFrame, records: Sequence[Record]) -> pl.DataFrame:
    """The lines about members, with what their record changes; those about an e-mail are left out."""
    writers = [
        (record.optimization_id, str(record.proposal.kind), record.proposal.target)
        for record in records
        if record.proposal.writes_field
    ]
    schema = ("optimization_id", "proposed_kind", "target")
    named = pl.DataFrame(writers, schema=dict.fromkeys(schema, pl.String), orient="row")
    return settled.rename({"field": "means"}).join(named, on="optimization_id", how="inner", maintain_order="left")
