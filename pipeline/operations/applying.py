"""Applying approved changes to the configured account. The command does this, and the job that the sensor starts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.config.approvals import load_approvals
from pipeline.lake.store import Lake
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.connection import connect
from pipeline.operations.after_publication import standing_proposals
from pipeline.operations.soundness import refuse_damaged_lake
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account import rollback as rollbacks
from pipeline.optimizations.account.refusals import NotApplicableError
from pipeline.optimizations.account.writing import NotConfirmedError, plan
from pipeline.optimizations.chain import StaleRecordError
from pipeline.optimizations.changes import ChangePlan, Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, Proposal, Record, in_charge
from pipeline.optimizations.review import Seen
from pipeline.published.manifest import Manifest
from pipeline.published.reader import Tables, published_table, read_publication
from pipeline.schemas.journeys.marts import PublishedJourneys
from pipeline.schemas.lake import Automations
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings

Tell = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """The account, the standing publication, and the first day on which what is written now is in effect."""

    settings: Settings
    account: MailchimpAccount
    tables: Tables
    first_day: date

    @cached_property
    def standing(self) -> list[Proposal]:
        """What the standing publication suggests."""
        return standing_proposals(self.settings)[0]


@contextmanager
def reach(settings: Settings) -> Iterator[World]:
    """The configured account and the standing publication, until the block ends.

    Raises:
        NotApplicableError: if nothing is published.
        SourceError: if the account cannot be reached.
        DamageError: if the addresses are not as they were written.
    """
    refuse_damaged_lake(settings)
    as_of = _published_night(settings)
    clock = account_clock(settings, as_of)
    with connect(settings, as_of) as client:
        account = MailchimpAccount(client, Lake(settings.lake_dir).addresses(), clock, audiences_of_flows(settings))
        yield World(settings, account, read_publication(settings.published_dir), _first_day(as_of, clock))


def _first_day(as_of: date, clock: Callable[[], datetime]) -> date:
    """The first day on which what is written, or taken back, now is in effect."""
    return max(as_of + timedelta(days=1), clock().date())


def _published_night(settings: Settings) -> date:
    manifest = Manifest.read(settings.published_dir)
    if manifest is None:
        raise NotApplicableError("Nothing is published yet. Run driptune nightly first.")
    return date.fromisoformat(manifest.as_of)


def audiences_of_flows(settings: Settings) -> dict[str, str]:
    """The audience of each journey and classic automation that tells one, by the id of its workflow."""
    journeys = published_table(settings.published_dir, PublishedJourneys).filter("is_current")
    automations = Lake(settings.lake_dir).latest(Automations).collect()
    told = pl.concat([one.select("workflow_id", "audience_id") for one in (automations, journeys)])
    return dict(told.drop_nulls().filter(pl.col("audience_id") != "").iter_rows())


def account_clock(settings: Settings, as_of: date) -> Callable[[], datetime]:
    """The clock of the account. It stands at the end of the night for the sample account, and where one is set."""
    if settings.is_sample or settings.as_of is not None:
        stands = datetime.combine(as_of + timedelta(days=1), time(), UTC)
        return lambda: stands
    return lambda: datetime.now(UTC)


def dry_run(settings: Settings, ledger: Ledger, optimization_id: str) -> ChangePlan:
    """What applying a record would change now. Nothing is written."""
    with reach(settings) as world:
        return plan(ledger, ledger.record(optimization_id), world.account, world.tables)


def apply_one(settings: Settings, ledger: Ledger, optimization_id: str, *, now: datetime) -> Record:
    """Apply an approved record, or finish an application that was cut short."""
    with reach(settings) as world:
        return _apply(ledger, optimization_id, world, now)


def roll_back(
    settings: Settings, ledger: Ledger, optimization_id: str, *, actor: str, reason: str, now: datetime
) -> Record:
    """Put back what stood before a record was applied."""
    with reach(settings) as world:
        return rollbacks.roll_back(
            ledger, optimization_id, world.account, actor=actor, reason=reason, first_day=world.first_day, now=now
        )


def take_back(settings: Settings, ledger: Ledger, seen: Seen, *, actor: str, reason: str, now: datetime) -> Record:
    """Note that an applied change goes back, for `apply_due` to put back what stood before.

    To put it back may take minutes, and a browser waits for the answer.
    """
    policy, as_of = load_approvals(settings.definitions), _published_night(settings)
    day = _first_day(as_of, account_clock(settings, as_of))
    return review.take_back(ledger, policy, seen, actor=actor, reason=reason, first_day=day, now=now)


def apply_due(settings: Settings, ledger: Ledger, *, now: datetime, tell: Tell) -> None:
    """Apply everything approved, finish what was cut short, and keep what is in effect in step.

    A record that cannot be written keeps no other from it.

    Raises:
        NotConfirmedError: at the end, if the account did not hold what was written for a record.
        AccountBusyError: if another process writes to the account for too long.
        SourceError: if Mailchimp cannot be reached.
    """
    records = ledger.records(Status.APPROVED, Status.APPLYING, Status.ROLLING_BACK, *IN_EFFECT)
    kept = [record.optimization_id for record in in_charge(records)]
    due = [record for record in records if record.is_due]
    if not due and not kept:
        return
    unconfirmed: list[NotConfirmedError] = []
    with reach(settings) as world:
        for name in kept:
            with _told(tell, unconfirmed):
                reached = applications.keep_in_step(ledger, name, world.account, world.tables, now=now)
                tell(f"{name}: {reached.written:,} kept in step{_left_in_words(reached.left)}")
        for record in due:
            name = record.optimization_id
            with _told(tell, unconfirmed):
                if record.status is Status.ROLLING_BACK:
                    done = rollbacks.resume_rollback(ledger, name, world.account, now=now)
                    tell(f"{name}: rolled back; {put_back_in_words(done)}")
                else:
                    done = _apply(ledger, name, world, now)
                    tell(f"{name}: applied; {written_in_words(done)}")
    if unconfirmed:
        raise unconfirmed[0]


@contextmanager
def _told(tell: Tell, unconfirmed: list[NotConfirmedError]) -> Iterator[None]:
    """Tell why one record was left, and go on: it is not due any more, or its writes did not stand."""
    try:
        yield
    except (NotApplicableError, StaleRecordError) as error:
        tell(str(error))
    except NotConfirmedError as error:
        tell(str(error))
        unconfirmed.append(error)


def written_in_words(record: Record) -> str:
    """What an application wrote, and what it left."""
    kept_out = record.details.get("kept_out", 0)
    told = _in_words(record.details, "nothing had to be written, it stands so already")
    return told + (f"; {kept_out:,} kept out by holdouts.yaml" if kept_out else "")


def put_back_in_words(record: Record) -> str:
    """What a rollback put back, and what it left."""
    return _in_words(record.details["put_back"], "nothing had to be put back")


def _in_words(details: Mapping[str, Any], nothing: str) -> str:
    # Those whose value somebody else has set are told as left.
    writes = {outcome: count for outcome, count in details["writes"].items() if outcome != Outcome.TAKEN}
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(writes.items())) or nothing
    return told + _left_in_words(details["left"])


def _left_in_words(left: int) -> str:
    return f"; {left:,} left, because somebody has set another value since" if left else ""


def _apply(ledger: Ledger, optimization_id: str, world: World, now: datetime) -> Record:
    return applications.apply(
        ledger,
        optimization_id,
        world.account,
        world.tables,
        approval_policy=load_approvals(world.settings.definitions),
        standing=world.standing,
        first_day=world.first_day,
        now=now,
    )
