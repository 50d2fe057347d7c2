"""Applying approved changes to the configured account. The command does this, and the job that the sensor starts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pipeline.lake.store import Lake
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.connection import connect
from pipeline.operations.after_publication import standing_proposals
from pipeline.optimizations import apply as applications
from pipeline.optimizations.apply import Checkpoint, NotApplicableError
from pipeline.optimizations.changes import ChangePlan
from pipeline.optimizations.ledger import Ledger, StaleRecordError
from pipeline.optimizations.record import IN_EFFECT, Kind, Record, Status
from pipeline.published.reader import Tables, read_publication
from pipeline.published.snapshot import Manifest
from pipeline.settings import Settings

Tell = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """The account, the standing publication, and the first day that the publication does not cover."""

    account: MailchimpAccount
    tables: Tables
    first_day: date


@contextmanager
def reach(settings: Settings) -> Iterator[World]:
    """The configured account and the standing publication, until the block ends.

    Raises:
        NotApplicableError: if nothing is published.
        SourceError: if the account cannot be reached.
    """
    manifest = Manifest.read(settings.published_dir)
    if manifest is None:
        raise NotApplicableError("Nothing is published yet. Run driptune nightly first.")
    as_of = date.fromisoformat(manifest.as_of)
    with connect(settings, as_of) as client:
        account = MailchimpAccount(client, Lake(settings.lake_dir).addresses())
        yield World(account, read_publication(settings.published_dir), as_of + timedelta(days=1))


def dry_run(settings: Settings, ledger: Ledger, optimization_id: str) -> ChangePlan:
    """What applying a record would change now. Nothing is written."""
    with reach(settings) as world:
        return applications.plan(ledger.journal, ledger.record(optimization_id), world.account, world.tables)


def apply_one(
    settings: Settings,
    ledger: Ledger,
    optimization_id: str,
    *,
    now: datetime,
    checkpoint: Checkpoint = lambda place: None,
) -> Record:
    """Apply an approved record, or finish an application that was cut short."""
    with reach(settings) as world:
        return _apply(settings, ledger, optimization_id, world, now, checkpoint)


def roll_back(
    settings: Settings, ledger: Ledger, optimization_id: str, *, actor: str, reason: str, now: datetime
) -> Record:
    """Put back what stood before a record was applied."""
    with reach(settings) as world:
        return applications.roll_back(
            ledger, optimization_id, world.account, actor=actor, reason=reason, first_day=world.first_day, now=now
        )


def is_due(record: Record) -> bool:
    """Whether driptune itself has something to write for the record."""
    is_open = record.status in (Status.APPROVED, Status.APPLYING) and not record.is_holdout_set
    return is_open and not record.proposal.is_all_by_hand


def is_kept_in_step(record: Record) -> bool:
    """Whether subscribers who join later are to get the record's value too, or to be marked as held out."""
    proposal = record.proposal
    is_standing = proposal.writes_field and proposal.kind is not Kind.ROLLBACK
    return is_standing and (record.status in IN_EFFECT or (record.is_holdout_set and record.status is Status.APPLYING))


def apply_due(settings: Settings, ledger: Ledger, *, now: datetime, tell: Tell) -> None:
    """Apply everything that is approved, finish what was cut short, and give newcomers the values in effect."""
    due = [record for record in ledger.records(Status.APPROVED, Status.APPLYING) if is_due(record)]
    kept = [record for record in ledger.records(Status.APPLYING, *IN_EFFECT) if is_kept_in_step(record)]
    if not due and not kept:
        return
    with reach(settings) as world:
        for record in kept:
            with _told(tell):
                written = applications.keep_in_step(ledger, record, world.account, world.tables, now=now)
                tell(f"{record.optimization_id}: {written:,} values written for newcomers.")
        for record in due:
            with _told(tell):
                done = _apply(settings, ledger, record.optimization_id, world, now, lambda place: None)
                tell(f"{done.optimization_id}: applied; {written_in_words(done)}.")


@contextmanager
def _told(tell: Tell) -> Iterator[None]:
    """Tell why a record was left alone, and go on. It is no longer due, or another process is writing it."""
    try:
        yield
    except (NotApplicableError, StaleRecordError) as error:
        tell(str(error))


def written_in_words(record: Record) -> str:
    """What an application wrote."""
    writes = record.details["writes"]
    if not writes:
        return "nothing had to be written, because the account already has these values"
    return ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(writes.items()))


def _apply(
    settings: Settings, ledger: Ledger, optimization_id: str, world: World, now: datetime, checkpoint: Checkpoint
) -> Record:
    standing, _ = standing_proposals(settings)
    return applications.apply(
        ledger,
        optimization_id,
        world.account,
        world.tables,
        standing=standing,
        first_day=world.first_day,
        now=now,
        checkpoint=checkpoint,
    )
