"""What `driptune verify` and `driptune doctor` find. A finding is whether it is good, and what was seen or is to do."""

import shutil
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy.exc import DatabaseError

from pipeline.common.errors import ContractBrokenError, LedgerError, SourceError, disk_trouble
from pipeline.common.time import numbered_day
from pipeline.config.approvals import load_approvals
from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.constraints import load_constraints
from pipeline.config.decisions import load_decisions
from pipeline.config.experiments import load_experiments
from pipeline.config.flow_map import load_flow_map
from pipeline.config.mutes import load_mutes
from pipeline.lake.store import Lake, is_whole
from pipeline.mailchimp.connection import connect
from pipeline.operations.unknown_names import definition_findings, event_findings
from pipeline.optimizations.ledger import open_ledger
from pipeline.published.reader import read_publication
from pipeline.published.snapshot import SNAPSHOT_NAME, Manifest, content_hash
from pipeline.schemas.lake import Sources
from pipeline.settings import Settings

Finding = tuple[bool, str]
# During a nightly the working file, the new publication and the old ones are on the disk at the same time.
LEAST_FREE_BYTES = 2_000_000_000
# Counts that differ and are named; the table `reconciliation` holds all.
COUNTS_NAMED = 10
OTHER_DEFINITIONS = (load_constraints, load_mutes, load_experiments, load_decisions, load_conflict_rules)
PACKAGES = ("dagster", "duckdb", "polars", "pandera")


def verification(settings: Settings) -> list[Finding]:
    """Whether publication, lake and ledger are as they were written, and our counts agree with Mailchimp's."""
    try:
        manifest = Manifest.read(settings.published_dir)
    except (ValueError, TypeError, KeyError):
        return [(False, "manifest.json is damaged and cannot be read. Run driptune restore.")]
    if manifest is None:
        return [(False, f"Nothing is published in {settings.published_dir}. Run driptune nightly.")]
    findings = [_parquet_matches(settings.published_dir, table.name, table.sha256) for table in manifest.tables]
    findings.append(_snapshot_matches(settings.published_dir / SNAPSHOT_NAME, manifest))
    findings += [_lake(settings), _addresses(settings)]
    if all(is_good for is_good, _ in findings) and "reconciliation" in {table.name for table in manifest.tables}:
        findings.append(_reconciled(pl.read_parquet(settings.published_dir / "parquet" / "reconciliation.parquet")))
    return [*findings, *_ledger(settings)]


def diagnosis(settings: Settings) -> list[Finding]:
    """Versions, folders, disk, definitions and access to Mailchimp."""
    return [
        (sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"),
        (True, ", ".join(f"{name} {version(name)}" for name in PACKAGES)),
        _disk(settings.data_dir),
        _definitions(settings),
        *_names(settings),
        _mailchimp(settings),
        *_sources(settings),
    ]


def _parquet_matches(published_dir: Path, name: str, expected: str) -> Finding:
    import duckdb

    path = published_dir / "parquet" / f"{name}.parquet"
    try:
        # Polars ends the whole process on some damaged files, so DuckDB reads first. Polars reads parts of a file that
        # DuckDB does not, and these can be damaged, too.
        with duckdb.connect() as connection:
            rows = connection.sql("SELECT * FROM read_parquet($file)", params={"file": str(path)}).pl()
        is_equal = content_hash(rows) == expected and content_hash(pl.read_parquet(path)) == expected
    except Exception:  # Readers raise errors of every kind on damaged bytes.
        return False, f"{name}.parquet cannot be read. Run driptune nightly to publish anew."
    damage = "differs from the manifest: it is damaged. Run driptune restore."
    return is_equal, f"{name}.parquet {'is as published' if is_equal else damage}"


def _snapshot_matches(path: Path, manifest: Manifest) -> Finding:
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            held = Manifest.of(connection, manifest.run_id, date.fromisoformat(manifest.as_of))
        if held != manifest or manifest.as_text() != (path.parent / "manifest.json").read_text():
            return False, f"{path.name} differs from the manifest: one of the two is damaged. Run driptune restore."
    except (duckdb.Error, ValueError):
        return False, f"{path.name} is damaged and cannot be opened. Run driptune restore."
    return True, f"{path.name} is as published"


def _lake(settings: Settings) -> Finding:
    files = Lake(settings.lake_dir).all_files()
    damaged = [file for file in files if not is_whole(file)]
    if damaged:
        return False, f"lake: {len(damaged)} files are damaged, such as {damaged[0].name}. Restore them from a backup."
    return True, f"lake: {len(files)} files are as they were written"


def _addresses(settings: Settings) -> Finding:
    """Whether the private table of addresses is as it was written."""
    try:
        is_whole = Lake(settings.lake_dir).addresses_are_whole()
    except (OSError, ValueError):
        is_whole = False
    damage = "is damaged. Restore it from a backup, or delete it: the next nightly reads it anew."
    return is_whole, f"lake: addresses.parquet {'is as it was written' if is_whole else damage}"


def _reconciled(reconciliation: pl.DataFrame) -> Finding:
    unexplained = reconciliation.filter(pl.col("reason") == "unexplained")
    later = reconciliation.filter(pl.col("reason") == "after tonight")
    told = f"{reconciliation.height} counts were compared with Mailchimp's reports; "
    told += f"{unexplained.height} differences are unexplained{_named(unexplained)}"
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
    except (DatabaseError, LedgerError, ValueError) as error:
        if trouble := disk_trouble(error):
            return [(False, f"ledger: it cannot be read. {trouble}")]
        return [(False, "ledger: it is damaged and cannot be read. Restore it from a backup.")]
    path = settings.published_dir / "parquet" / "optimization_events.parquet"
    try:
        published = set(pl.read_parquet(path, columns=["hash"])["hash"]) if path.exists() else set()
    except pl.exceptions.PolarsError:
        published = set()  # The finding on the file tells that it is damaged.
    if gone := len(published - hashes):
        problems.append(f"{gone} events that were published are no longer in the ledger.")
    if problems:
        return [(False, f"ledger: {problem} Restore it from a backup.") for problem in problems]
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
    held = Lake(settings.lake_dir).latest(Sources).filter(pl.col("state") != "read").sort("kind", "source_id").collect()
    return [
        (row["state"] != "failed", f"{row['kind']} {row['name'] or row['source_id']}: {_found(row)}")
        for row in held.iter_rows(named=True)
    ]


def _found(row: dict[str, Any]) -> str:
    since = "" if row["since_day"] is None else f" since {numbered_day(row['since_day'])}"
    if row["state"] == "failed":
        return f"not read{since}. {row['detail']}"
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


def _mailchimp(settings: Settings) -> Finding:
    try:
        with connect(settings, settings.resolve_as_of()) as client:
            name = client.get("/", {"fields": "account_name"}).get("account_name")
            if not isinstance(name, str):
                advice = "This is not Mailchimp's API. Check DRIPTUNE_MAILCHIMP_URL."
                raise ContractBrokenError("/", "this is missing or no text", advice, "account_name")
    except SourceError as error:
        return False, str(error)
    return True, "the sample account answers" if settings.is_sample else f"Mailchimp answers for the account '{name}'"
