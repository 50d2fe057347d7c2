"""Who was let into flows and who waits, counted from the journal, tonight's plan and what was sent since.

Pure. Letting people in belongs to `releasing`.
"""

from collections.abc import Callable, Sequence

import polars as pl

from pipeline.common.time import HOUR_US
from pipeline.decisions.releases import moments
from pipeline.optimizations.account.releasing import NOT_SENT, of_flow, releases_in_charge, taken
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
    messages: pl.DataFrame,
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
    lines = {one.proposal.target: noted(of_flow(one.proposal.target)) for one in ever}
    in_charge = releases_in_charge(ever)
    parts = [_called(one, lines[one.proposal.target], messages, steps) for one in ever]
    parts += [_waiting(one, lines[one.proposal.target], plan) for one in in_charge]
    if not parts:
        return empty(Releases)
    counts = pl.concat(parts).group_by(_GROUP).agg(subscribers=pl.len())
    return conform(counts.sort(_GROUP), Releases)


def _called(record: Record, noted: pl.DataFrame, messages: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """A row for everybody whom a call was made for under a record."""
    proposal = record.proposal
    place = steps.filter((pl.col("workflow_id") == proposal.target) & (pl.col("step_id") == proposal.step_id))
    got = (
        messages.join(place.select("step_key"), on="step_key", how="semi")
        .group_by("subscriber_key")
        .agg(pl.col("sent_us").max())
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
    hour = pl.col("noted_at").dt.replace_time_zone(None).dt.truncate(_AN_HOUR)
    return _rows(record, lines.with_columns(outcome=word, hour=hour))


def _waiting(record: Record, noted: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """A row for everybody of tonight's plan who was not let in yet."""
    proposal, gone = record.proposal, pl.DataFrame({"subscriber_key": taken(noted)})
    people = plan.filter(pl.col("workflow_id") == proposal.target).join(gone, on="subscriber_key", how="anti")
    planned = moments(people, record.optimization_id, proposal.holdout_share)
    others = people.filter(pl.col("status") != "planned").with_columns(
        outcome=pl.when(pl.col("status").is_in([str(ReleaseOutcome.LATE), str(ReleaseOutcome.KEPT_OUT)]))
        .then("status")
        .otherwise(pl.lit(str(ReleaseOutcome.WAITING)))
    )
    waiting = planned.select(hour="at", outcome=pl.lit(str(ReleaseOutcome.WAITING)))
    both = pl.concat([waiting, others.select(hour="planned_at", outcome="outcome")])
    return _rows(record, both.with_columns(pl.col("hour").dt.truncate(_AN_HOUR)))


def _rows(record: Record, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "hour",
        "outcome",
        optimization_id=pl.lit(record.optimization_id),
        workflow_id=pl.lit(record.proposal.target),
    ).select(_GROUP)
