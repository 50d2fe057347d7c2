"""What follows every publication, whoever saw it first: proposals go on record, what nobody decided lapses, and the
pages of the morning are written.
"""

from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple

from pipeline.config.approvals import load_approvals
from pipeline.operations.unknown_names import event_line
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals import proposals_from
from pipeline.optimizations.record import Proposal, Status
from pipeline.optimizations.review import expire_due
from pipeline.optimizations.verification import verify_what_works
from pipeline.published.reader import published_table, read_publication
from pipeline.published.snapshot import Manifest
from pipeline.reports.digest import summary
from pipeline.reports.pages.site import write_pages
from pipeline.schemas.loop import RealisedLift
from pipeline.settings import Settings


class Followed(NamedTuple):
    """What came of a publication: ids of new, lapsed and verified records, and analyses that could not be read."""

    proposed: list[str]
    lapsed: list[str]
    verified: list[str]
    failures: list[str]


def follow_publication(settings: Settings, ledger: Ledger, *, now: datetime) -> Followed:
    """Put on record what the standing publication suggests; doing so again changes nothing.

    Reads the published tables alone, never the working file.

    Raises:
        DefinitionsError: if approvals.yaml has mistakes.
        LedgerError: if the ledger cannot be written.
    """
    policy = load_approvals(settings.definitions)
    lapsed = expire_due(ledger, now)
    found, failures = standing_proposals(settings)
    proposed = ledger.propose(found, now=now, policy=policy)
    verified = verify_what_works(ledger, published_table(settings.published_dir, RealisedLift), now=now)
    write_morning(settings, ledger)
    return Followed(proposed, lapsed, verified, failures)


def write_morning(settings: Settings, ledger: Ledger) -> list[str]:
    """Write the pages of the standing publication and of the ledger as it is; returns the files' names."""
    tables = read_publication(settings.published_dir)
    return write_pages(tables, ledger.records(), settings.reports_dir) if tables else []


def standing_proposals(settings: Settings) -> tuple[list[Proposal], list[str]]:
    """What the standing publication suggests, and analyses that could not be read."""
    manifest = Manifest.read(settings.published_dir)
    if manifest is None:
        return [], []
    tables = read_publication(settings.published_dir)
    return proposals_from(tables, data_version=manifest.data_version, code_version=version("driptune"))


def morning_lines(settings: Settings, ledger: Ledger) -> list[str]:
    """The morning in about ten lines; none if nothing is published."""
    tables = read_publication(settings.published_dir)
    waiting = len(ledger.records(Status.PENDING))
    return summary(tables, waiting, event_line(settings, tables)) if tables else []
