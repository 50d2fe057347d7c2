"""Letting people into the flows that driptune releases. The command does this, and the job of the schedule."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date, timedelta

import polars as pl

from pipeline.common.words import counted
from pipeline.config.constraints import load_constraints
from pipeline.lake.store import Lake
from pipeline.mailchimp.connection import connect
from pipeline.mailchimp.release import MailchimpDoor
from pipeline.operations.applying import Tell, account_clock, audiences_of_flows
from pipeline.operations.soundness import refuse_damaged_lake
from pipeline.optimizations.account.lock import AccountBusyError
from pipeline.optimizations.account.refusals import NotApplicableError
from pipeline.optimizations.account.releasing import (
    Door,
    Terms,
    expected_by_hour,
    release,
    releases_in_charge,
    still_planned,
)
from pipeline.optimizations.chain import StaleRecordError
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, Record
from pipeline.published.manifest import Manifest
from pipeline.published.reader import published_table
from pipeline.schemas.loop import ReleasePlan, ReleaseStarts
from pipeline.settings import Settings

NOTHING = "No release is in effect."


def release_due(settings: Settings, ledger: Ledger, tell: Tell) -> None:
    """Let in everybody who is due, under each record in effect.

    Raises:
        SourceError: if Mailchimp cannot be reached.
        LedgerError: if the ledger was edited.
        DefinitionsError: if constraints.yaml has mistakes.
    """
    records = releases_in_charge(ledger.records(*IN_EFFECT))
    manifest = Manifest.read(settings.published_dir)
    if not records or manifest is None:
        tell(NOTHING)
        return
    as_of = date.fromisoformat(manifest.as_of)
    now = account_clock(settings, as_of)()
    with ExitStack() as stack:

        def door(record: Record, people: Sequence[int]) -> Door:
            refuse_damaged_lake(settings)
            client = stack.enter_context(connect(settings, as_of))
            addresses = Lake(settings.lake_dir).addresses().filter(pl.col("subscriber_key").is_in(list(people)))
            audience = audiences_of_flows(settings).get(record.proposal.workflow_id or "")
            return MailchimpDoor(client, addresses, record.proposal.after["start"], audience)

        for record, terms in _bounded(settings, ledger, records, tell):
            try:
                came = str(release(ledger, record.optimization_id, door, terms, now=now))
            except (AccountBusyError, NotApplicableError, StaleRecordError) as error:
                came = f"nobody was let in. {error} The next look goes on."
            tell(f"{record.optimization_id}: {came}")


def expected_releases(settings: Settings, ledger: Ledger, tell: Tell) -> None:
    """Tell how many people would be let in within each of the next 24 hours. Nobody is let in."""
    records = releases_in_charge(ledger.records(*IN_EFFECT))
    manifest = Manifest.read(settings.published_dir)
    if not records or manifest is None:
        tell(NOTHING)
        return
    now = account_clock(settings, date.fromisoformat(manifest.as_of))()
    for record, terms in _bounded(settings, ledger, records, tell):
        by_hour = expected_by_hour(ledger, record, terms, now)
        tell(f"{record.optimization_id}: {counted(sum(by_hour), 'person', 'people')} within 24 hours")
        for number, people in enumerate(by_hour):
            if people:
                tell(f"  {now + timedelta(hours=number):%Y-%m-%d %H:%M} UTC  {people:,}")


def stop(settings: Settings) -> None:
    """Let nobody in from now on, whatever runs."""
    settings.stop_file.parent.mkdir(parents=True, exist_ok=True)
    settings.stop_file.touch()


def go(settings: Settings) -> None:
    """Let people in again."""
    settings.stop_file.unlink(missing_ok=True)


def _bounded(
    settings: Settings, ledger: Ledger, records: Sequence[Record], tell: Tell
) -> Iterator[tuple[Record, Terms]]:
    """The records whose flow is as it was approved, with what bounds them: the approval, and today's constraints.yaml.

    Raises:
        DefinitionsError: if constraints.yaml has mistakes.
    """
    plan = published_table(settings.published_dir, ReleasePlan)
    starts = published_table(settings.published_dir, ReleaseStarts)
    caps = load_constraints(settings.definitions).of_steps(starts)
    tonight = starts.drop("hourly_cap").join(caps, on=["workflow_id", "step_id"])
    rows = {row["workflow_id"]: row for row in tonight.iter_rows(named=True)}
    for record in records:
        approved, row = record.proposal.after, rows.get(record.proposal.workflow_id)
        if row is None or (json.loads(row["start"]), row["step_id"]) != (approved["start"], record.proposal.step_id):
            tell(
                f"{record.optimization_id}: nobody is let in. The flow is not released by this start any more, or its "
                "first e-mail does not send now. Look at flows.yaml and at what is pending."
            )
            continue
        # The one who approved saw a cap. Today's may be lower, and is not higher.
        cap = min(int(approved["hourly_cap"]), row["hourly_cap"] or int(approved["hourly_cap"]))
        of_flow = plan.filter(pl.col("workflow_id") == record.proposal.workflow_id)
        if row["wait_field"] is not None:
            of_flow = still_planned(of_flow, ledger.journal.settled(row["wait_field"]))
        yield record, Terms(of_flow, cap, settings.stop_file.exists)
