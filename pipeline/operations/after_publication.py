"""What follows every publication: its proposals are recorded and published, old ones lapse, and pages are written.

The command that published does this, and so does the sensor that sees the publication.
"""

from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple

from pipeline.common.lock import WarehouseBusyError, exclusive
from pipeline.config.approvals import load_approvals
from pipeline.operations.soundness import note_ledger, refuse_lost_events
from pipeline.operations.unknown_names import event_line
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals import proposals_from
from pipeline.optimizations.published import optimization_events, optimizations
from pipeline.optimizations.record import Proposal
from pipeline.optimizations.review import expire_due
from pipeline.optimizations.verification import shrink_holdouts, verify_what_works
from pipeline.published.manifest import Manifest
from pipeline.published.reader import published_table, read_publication
from pipeline.published.snapshot import renew
from pipeline.reports.digest import summary
from pipeline.reports.pages.site import write_pages
from pipeline.schemas.base import identity
from pipeline.schemas.loop import OptimizationEvents, Optimizations, RealisedLift
from pipeline.schemas.monitoring import AnalysisFailures
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings


class Followed(NamedTuple):
    """What came of a publication: ids of new, lapsed and verified records, and analyses that could not be read."""

    proposed: list[str]
    lapsed: list[str]
    verified: list[str]
    failures: list[str]


def follow_publication(settings: Settings, ledger: Ledger, *, now: datetime) -> Followed:
    """Record what the standing publication suggests. Doing so again changes nothing.

    Only the published tables are read, never the working file.

    Raises:
        PublishError: if the disk refuses the tables of records; the publication stays as it is.
        DefinitionsError: if approvals.yaml has mistakes.
        LedgerError: if the ledger cannot be written.
        DamageError: if it lacks events that it had on the last night.
    """
    refuse_lost_events(settings, ledger)
    approval_policy = load_approvals(settings.definitions)
    lapsed = expire_due(ledger, now)
    found, failures = standing_proposals(settings)
    proposed = ledger.propose(found, now=now, approval_policy=approval_policy)
    if not failures and _is_whole(settings):
        ledger.let_go(found, now=now)
    realised = published_table(settings.published_dir, RealisedLift)
    verified = verify_what_works(ledger, realised, now=now)
    shrink_holdouts(ledger, realised, now=now)
    note_ledger(settings, ledger)
    _publish_records(settings, ledger)
    write_all_pages(settings, ledger)
    return Followed(proposed, lapsed, verified, failures)


def _is_whole(settings: Settings) -> bool:
    """Whether something is published, and every analysis has said what it has to say."""
    is_published = Manifest.read(settings.published_dir) is not None
    return is_published and published_table(settings.published_dir, AnalysisFailures).is_empty()


def _publish_records(settings: Settings, ledger: Ledger) -> None:
    """Publish the records as they are now: a night closes its tables before its own proposals are made."""
    fresh = {identity(Optimizations).name: optimizations(ledger.records())}
    fresh[identity(OptimizationEvents).name] = optimization_events(ledger.events())
    # A night that is at work publishes them itself.
    with suppress(WarehouseBusyError), exclusive(settings.working_file.with_suffix(".lock"), wait_seconds=0):
        renew(settings.published_dir, fresh)


def write_all_pages(settings: Settings, ledger: Ledger) -> list[str]:
    """Write the pages of the standing publication and of the ledger as it is now, and return the files' names."""
    tables = read_publication(settings.published_dir)
    return write_pages(tables, ledger.records(), settings.reports_dir, settings.address) if tables else []


def standing_proposals(settings: Settings) -> tuple[list[Proposal], list[str]]:
    """What the standing publication suggests, and the analyses that could not be read."""
    manifest = Manifest.read(settings.published_dir)
    if manifest is None:
        return [], []
    tables = read_publication(settings.published_dir)
    # What an analysis said on an earlier night is no reason for a change today.
    if failed := published_table(settings.published_dir, AnalysisFailures)["table_name"].to_list():
        tables = {**tables, **{name: tables[name].clear() for name in failed}}
    return proposals_from(tables, data_version=manifest.data_version, code_version=version("driptune"))


def digest_lines(settings: Settings, ledger: Ledger) -> list[str]:
    """The digest in about ten lines. There are none if nothing is published."""
    tables = read_publication(settings.published_dir)
    waiting = len(ledger.records(Status.PENDING))
    return summary(tables, waiting, event_line(settings, tables)) if tables else []
