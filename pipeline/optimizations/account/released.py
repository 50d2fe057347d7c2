"""Who was let into flows and who waits, counted from the journal, tonight's plan and what was sent since.

Pure. Letting people in belongs to `releasing`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import polars as pl

from pipeline.common.time import HOUR_US
from pipeline.optimizations.account.releasing import NOT_SENT, moments_of, of_flow, releases_in_charge, taken
from pipeline.optimizations.changes import REFUSED
from pipeline.optimizations.record import Record
from pipeline.schemas.base import conform, empty
from pipeline.schemas.loop import Releases
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import ReleaseOutcome

_GROUP = ["optimization_id", "workflow_id", "hour", "outcome"]
_AN_HOUR = "1h"


def released(
    records: Sequence[Record],
    noted: Callable[[str], pl.DataFrame],
    plan: pl.DataFrame,
    messages: pl.LazyFrame,
    steps: pl.DataFrame,
) -> pl.DataFrame:
    """How many people were let in or wait, by record, hour and outcome (rows of `releases`).

    Args:
        records: the ledger's records.
        noted: the journal's lines about a field, as `Journal.noted` gives them.
        plan: tonight's `release_plan`.
        messages: `core.messages`. Whoever got the e-mail after a call whose answer nobody heard was let in by it.
        steps: `core.steps`.
    """
    ever = [one for one in records if one.proposal.kind is Kind.RELEASE and one.applied_day]
    lines = {one.proposal.workflow_id: noted(of_flow(one.proposal.workflow_id)) for one in ever}
    parts = [_called(one, lines[one.proposal.workflow_id], messages, steps) for one in ever]
    for workflow_id, records_of_flow in _by_flow(releases_in_charge(ever)):
        gone = pl.DataFrame({"subscriber_key": taken(lines[workflow_id])})
        people = plan.filter(pl.col("workflow_id") == workflow_id).join(gone, on="subscriber_key", how="anti")
        parts += _waiting(records_of_flow, people)
    if not parts:
        return empty(Releases)
    counts = pl.concat(parts).group_by(_GROUP).agg(subscribers=pl.len())
    return conform(counts.sort(_GROUP), Releases)


def _called(record: Record, noted: pl.DataFrame, messages: pl.LazyFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """A row for everybody whom a call was made for under a record."""
    proposal = record.proposal
    place = steps.filter((pl.col("workflow_id") == proposal.workflow_id) & (pl.col("step_id") == proposal.step_id))
    got = (
        messages.filter(pl.col("step_key").is_in(place["step_key"].implode()))
        .group_by("subscriber_key")
        .agg(pl.col("sent_us").max())
        .collect()
    )
    outcome = pl.col("outcome").fill_null(ReleaseOutcome.UNKNOWN)
    own = noted.filter((pl.col("optimization_id") == record.optimization_id) & ~outcome.str.starts_with(NOT_SENT))
    lines = own.with_columns(subscriber_key=pl.col("subject").cast(pl.Int64), outcome=outcome).join(
        got, on="subscriber_key", how="left"
    )
    # The account's clock may be some minutes behind this machine's.
    came = (pl.col("sent_us") > pl.col("noted_at").dt.epoch("us") - HOUR_US).fill_null(False)
    word = (
        pl.when(outcome.str.starts_with(REFUSED))
        .then(pl.lit(str(ReleaseOutcome.REFUSED)))
        .when((outcome == ReleaseOutcome.UNKNOWN) & came)
        .then(pl.lit(str(ReleaseOutcome.RELEASED)))
        .otherwise(outcome)
    )
    hour = pl.col("noted_at").dt.replace_time_zone(None)
    return _rows(record, lines.with_columns(outcome=word, hour=hour))


def _by_flow(records: Iterable[Record]) -> Iterator[tuple[str | None, list[Record]]]:
    """The records of each flow: first the one about everybody, whose target is the flow, then that about the late."""
    flow = attrgetter("proposal.workflow_id")
    ordered = sorted(records, key=lambda one: (flow(one), one.proposal.target != flow(one)))
    for workflow_id, found in groupby(ordered, flow):
        yield workflow_id, list(found)


def _waiting(records: Sequence[Record], people: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A row for everybody of a flow's plan who was not let in yet, under the record that lets them in.

    Whom no record lets in counts under the first one, with the reason.
    """
    left = people
    for record in records:
        planned = moments_of(record, people)
        left = left.join(planned, on="subscriber_key", how="anti")
        yield _rows(record, planned.select(hour="at", outcome=pl.lit(str(ReleaseOutcome.WAITING))))
    is_told = pl.col("status").is_in([str(ReleaseOutcome.LATE), str(ReleaseOutcome.KEPT_OUT)])
    outcome = pl.when(is_told).then("status").otherwise(pl.lit(str(ReleaseOutcome.WAITING)))
    yield _rows(records[0], left.select(hour="planned_at", outcome=outcome))


def _rows(record: Record, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        pl.col("hour").dt.truncate(_AN_HOUR),
        "outcome",
        optimization_id=pl.lit(record.optimization_id),
        workflow_id=pl.lit(record.proposal.workflow_id),
    ).select(_GROUP)
