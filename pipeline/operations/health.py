"""What `driptune verify` and `driptune doctor` find. A finding is whether it is good, and what was seen or is to do."""

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from sqlalchemy.exc import DatabaseError

from pipeline.common.errors import (
    ContractBrokenError,
    DeadlineExceededError,
    DriptuneError,
    LedgerError,
    SourceError,
    UnavailableError,
    disk_trouble,
    scrub,
)
from pipeline.common.time import numbered_day
from pipeline.common.words import counted
from pipeline.config.approvals import load_approvals
from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.constraints import load_constraints
from pipeline.config.decisions import load_decisions
from pipeline.config.experiments import load_experiments
from pipeline.config.flow_map import load_flow_map
from pipeline.config.holdouts import load_holdouts
from pipeline.config.mutes import load_mutes
from pipeline.lake.inventory import DamagedInventoryError
from pipeline.lake.keys import KeyDamageError, load_keys
from pipeline.lake.store import Lake
from pipeline.mailchimp.answers import items_of
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.connection import connect
from pipeline.mailchimp.plan import SECONDS_A_CALL, first_night
from pipeline.mailchimp.pulls.journeys import JOURNEYS, LIST
from pipeline.mailchimp.pulls.members import LISTS, MEMBERS
from pipeline.mailchimp.pulls.narrowing import ids_of, projection
from pipeline.operations.soundness import damage_found, lost_events
from pipeline.operations.unknown_names import definition_findings, event_findings
from pipeline.optimizations.ledger import open_ledger
from pipeline.published.manifest import Manifest
from pipeline.published.reader import read_publication
from pipeline.published.snapshot import damages, kept_manifest, snapshots
from pipeline.schemas.lake import Sources
from pipeline.settings import Settings

Finding = tuple[bool, str]
# During a nightly the working file, the new publication and the old ones are on the disk at the same time.
LEAST_FREE_BYTES = 2_000_000_000
# Counts that differ and are named; the table `reconciliation` holds all.
COUNTS_NAMED = 10
# A night insists for minutes. A person who asks whether the account answers does not want to wait so long.
PATIENCE_SECONDS = 15.0
OTHER_DEFINITIONS = (
    load_constraints,
    load_mutes,
    load_experiments,
    load_holdouts,
    load_decisions,
    load_conflict_rules,
)
RESTORE_LEDGER = (
    "Put it back from a backup. If there is none, move the folder ledger away and run driptune repair: what was "
    "decided is lost, and changes that were applied can no longer be rolled back."
)
PACKAGES = ("dagster", "duckdb", "polars", "pandera")


def verification(settings: Settings) -> list[Finding]:
    """Whether publication, lake, key, working file and ledger are as they were written, and our counts Mailchimp's."""
    published = _publication(settings)
    findings = [*published, *_lake(settings), *_ledger(settings)]
    path = settings.published_dir / "parquet" / "reconciliation.parquet"
    if all(is_good for is_good, _ in published) and path.exists():
        findings.append(_reconciled(pl.read_parquet(path, glob=False)))
    return findings


def diagnosis(settings: Settings, tell: Callable[[str], None]) -> list[Finding]:
    """Versions, folders, disk, definitions and access to Mailchimp; `tell` is told what takes long."""
    return [
        (sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"),
        (True, ", ".join(f"{name} {version(name)}" for name in PACKAGES)),
        _disk(settings.data_dir),
        _definitions(settings),
        *_names(settings),
        *_mailchimp(settings, tell),
        *_sources(settings),
    ]


def _publication(settings: Settings) -> list[Finding]:
    folder = settings.published_dir
    try:
        manifest = Manifest.read(folder)
    except DriptuneError as error:
        return [(False, str(error))]
    if manifest is None:
        return [(False, f"Nothing is published in {folder}. Run driptune nightly.")]
    findings = [
        (damage is None, f"{name} {damage}. Run driptune restore." if damage else f"{name} is as published")
        for name, damage in damages(folder, manifest).items()
    ]
    findings += [
        (False, f"snapshots/{path.name} is damaged. Delete it: an earlier night cannot be restored from it.")
        for path in snapshots(folder)
        if kept_manifest(path) is None
    ]
    return findings


def _lake(settings: Settings) -> list[Finding]:
    """Whether lake and working file are as they were written, and the key the one by which people are known."""
    if found := damage_found(settings):
        return [(False, text) for text in found]
    try:
        with open_ledger(settings) as ledger:
            load_keys(settings, ledger.key_fingerprint())
    except KeyDamageError as error:
        return [(False, str(error))]
    except (DatabaseError, LedgerError):
        pass  # The finding on the ledger tells.
    files = sum(1 for _ in settings.lake_dir.glob("*/day=*/*.parquet"))
    return [(True, f"lake: {files} files, the addresses, the key and the working file are as they were written")]


def _reconciled(reconciliation: pl.DataFrame) -> Finding:
    unexplained = reconciliation.filter(pl.col("reason") == "unexplained")
    later = reconciliation.filter(pl.col("reason") == "after tonight")
    told = f"{reconciliation.height} counts were compared with Mailchimp's reports; "
    differences = counted(unexplained.height, "difference is", "differences are")
    told += f"{differences} unexplained{_named(unexplained)}"
    if later.height:
        told += f"; {later.height} hold what came after tonight{_named(later)}"
    return unexplained.is_empty(), told


def _named(counts: pl.DataFrame) -> str:
    """Which counts these are; the first few by name."""
    named = [f"{metric} of {source}" for source, metric in counts.select("campaign_id", "metric").iter_rows()]
    more = f" and {len(named) - COUNTS_NAMED} more" if len(named) > COUNTS_NAMED else ""
    return f" ({', '.join(named[:COUNTS_NAMED])}{more})" if named else ""


def _ledger(settings: Settings) -> list[Finding]:
    """Whether every event of the ledger follows from the one before, and all published events are still in it."""
    try:
        with open_ledger(settings) as ledger:
            problems, hashes = ledger.verify(), {event.hash for event in ledger.events()}
            lost = lost_events(settings, ledger)
    except (DatabaseError, LedgerError, ValueError) as error:
        if trouble := disk_trouble(error):
            return [(False, f"ledger: it cannot be read. {trouble}")]
        return [(False, f"ledger: it is damaged and cannot be read. {RESTORE_LEDGER}")]
    except DamagedInventoryError as error:
        return [(False, f"ledger: {error}")]
    if lost:
        return [(False, lost)]
    path = settings.published_dir / "parquet" / "optimization_events.parquet"
    try:
        published = set(pl.read_parquet(path, columns=["hash"], glob=False)["hash"]) if path.exists() else set()
    except pl.exceptions.PolarsError:
        published = set()  # The finding on the file tells that it is damaged.
    if gone := len(published - hashes):
        problems.append(f"{gone} events that were published are no longer in the ledger.")
    if problems:
        return [(False, f"ledger: {problem} {RESTORE_LEDGER}") for problem in problems]
    return [(True, f"ledger: {len(hashes)} events, of which none was changed or is missing")]


def _disk(data_dir: Path) -> Finding:
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free
    return free >= LEAST_FREE_BYTES, f"{free / 1e9:.1f} GB are free in {data_dir}"


def _definitions(settings: Settings) -> Finding:
    try:
        flow_map = load_flow_map(settings.definitions)
        approvals = load_approvals(settings.definitions)
        for load in OTHER_DEFINITIONS:
            load(settings.definitions)
    except SourceError as error:
        return False, str(error)
    defined = f"{len(flow_map.flows)} flows and {len(approvals.approvers)} approvers"
    return True, f"{defined} are defined in {settings.definitions}"


def _sources(settings: Settings) -> list[Finding]:
    """What could not be read on the last night, and what went away, as far as it is not read again."""
    # Whether journeys can be read at all is asked anew by `_mailchimp`.
    is_told = (pl.col("state") != "read") & (pl.col("kind") != LIST)
    has_unread = (pl.col("kind") == "feeds") & (pl.col("detail") != "")
    try:
        held = Lake(settings.lake_dir).latest(Sources).filter(is_told | has_unread).sort("kind", "source_id").collect()
    except (OSError, pl.exceptions.PolarsError):
        return [(False, "What was noted of the sources cannot be read. Run driptune verify.")]
    failed = (pl.col("kind") == "journey") & (pl.col("state") == "failed")
    findings = [
        (row["state"] != "failed", f"{_named_source(row)}: {_found(row)}")
        for row in held.filter(~failed).iter_rows(named=True)
    ]
    # Journeys are a probe: what fails of them is one line, and no fault.
    journeys = held.filter(failed)
    if journeys.height:
        findings.append((True, f"{journeys.height} journeys: {_found(journeys.row(0, named=True))}"))
    return findings


def _named_source(row: dict[str, Any]) -> str:
    return str(row["kind"]) if row["kind"] == row["source_id"] else f"{row['kind']} {row['name'] or row['source_id']}"


def _found(row: dict[str, Any]) -> str:
    since = "" if row["since_day"] is None else f" since {numbered_day(row['since_day'])}"
    if row["state"] == "failed":
        return f"not read{since}. {row['detail']}"
    if row["state"] == "read":
        return f"{row['announced'] - row['unread']:,} of {row['announced']:,} people read. {row['detail']}"
    return f"no longer in Mailchimp{since}; what was read of it stays"


def _names(settings: Settings) -> list[Finding]:
    """Names that match nothing, in the definitions and in the event files. Before the first night none is known."""
    try:
        tables = read_publication(settings.published_dir)
        return [*definition_findings(settings, tables), *event_findings(settings, tables)] if tables else []
    except SourceError:
        return []  # the definitions have mistakes, which are told above
    except (ValueError, KeyError, OSError, pl.exceptions.PolarsError):
        return [(False, f"What is published in {settings.published_dir} cannot be read. Run driptune verify.")]


def _mailchimp(settings: Settings, tell: Callable[[str], None]) -> list[Finding]:
    """Whether the account answers, and whether its journeys can be read."""
    where = urlsplit(settings.mailchimp_url or "").hostname or "Mailchimp"
    if settings.is_sample:
        tell("Starting the sample account.")
    else:
        patience = min(PATIENCE_SECONDS, settings.retry_budget_seconds)
        settings = settings.model_copy(update={"retry_budget_seconds": patience, "call_deadline_seconds": patience})
    try:
        with connect(settings, settings.resolve_as_of()) as client:
            # Only now is it known that the address may be asked.
            if not settings.is_sample:
                tell(f"Waiting for {where} to answer, at most {PATIENCE_SECONDS:.0f} s.")
            name = client.get("/", {"fields": "account_name"}).get("account_name")
            if not isinstance(name, str):
                advice = "This is not Mailchimp's API. Check DRIPTUNE_MAILCHIMP_URL."
                raise ContractBrokenError("/", "this is missing or no text", advice, "account_name")
            journeys = _journeys(client)
            plan = [(True, line) for line in _plan(client, settings)]
    except (DeadlineExceededError, UnavailableError) as error:
        return [(False, f"{where}: {error.what}. Check the network and DRIPTUNE_MAILCHIMP_URL, then run it again.")]
    except SourceError as error:
        return [(False, str(error))]
    who = "the sample account answers" if settings.is_sample else f"Mailchimp answers for the account '{scrub(name)}'"
    return [(True, who), (True, journeys), *plan]


def _plan(client: MailchimpClient, settings: Settings) -> list[str]:
    """What the first night takes, before it has been run: it expects messages one by one for every member."""
    if Lake(settings.lake_dir).files(Sources):
        return []
    try:
        audiences = sorted(ids_of(client.listing("/lists", "lists", {"fields": projection("lists", "id")})))
        counts = [client.count(MEMBERS, one, list_id=audience_id) for audience_id in audiences for one in LISTS]
        reports = client.listing("/reports", "reports", {"fields": projection("reports", "id,emails_sent")})
    except SourceError as error:
        return [f"first night: what it takes cannot be told. {error}"]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return ["first night: what it takes cannot be told. Mailchimp announces no number of members."]
    sent = [one["emails_sent"] for one in reports if isinstance(one, dict) and isinstance(one.get("emails_sent"), int)]
    return [
        f"first night, {one.source}: at most {one.calls:,} calls, {one.minutes:,.0f} minutes at "
        f"{settings.max_connections} connections and {SECONDS_A_CALL} s a call"
        + (f", over {one.nights} nights" if one.nights > 1 else "")
        for one in first_night(sum(known), sent, sum(known), settings)
    ]


def _journeys(client: MailchimpClient) -> str:
    try:
        items_of(client.probe(JOURNEYS, {"count": 1}), "journeys", JOURNEYS)
    except SourceError as error:
        return f"journeys: cannot be read. {error} Flows come from flows.yaml and from what earlier nights read."
    return "journeys: Mailchimp answers, so flows are read by themselves"
