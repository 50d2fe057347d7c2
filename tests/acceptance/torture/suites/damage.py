"""R7: what is kept is changed, cut, emptied, deleted or exchanged, and the way back from a damaged publication."""

import json
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from pipeline.operations.health import verification
from pipeline.operations.soundness import note_ledger
from pipeline.optimizations.ledger import open_ledger
from pipeline.orchestration.resources.warehouse import session
from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import SNAPSHOT_NAME, publish, restore
from pipeline.settings import Settings
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve
from tests.optimizations.conftest import POLICY, proposal

LONGEST_RESTORE_SECONDS = 10.0
LARGE_ROWS = 2_000_000
# Of so many flipped bits one at least hits a page of the ledger that is in use.
BLIND_TRIALS = 40
SNAPSHOTS, WORKING_FILE = "a kept snapshot", "the working file"

Verify = Callable[[Settings], bool]
Files = Mapping[Path, bytes]


def measure(quick: bool) -> Iterator[Row]:
    """Damage one file, ask `driptune verify`, and make it whole again."""
    times = {"changed in one bit": 5 if quick else 100} | dict.fromkeys(
        ("cut", "emptied", "deleted", "exchanged for another"), 2 if quick else 20
    )
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        folder = Path(name)
        place = Installation(folder / "account", url)
        for night in (NIGHT, NIGHT + timedelta(days=1)):
            code, said = place.nightly(night)
            if code:
                raise RuntimeError(said)
        settings = place.settings
        with open_ledger(settings) as ledger:
            ledger.propose([proposal()], now=datetime.now(UTC), approval_policy=POLICY)
            note_ledger(settings, ledger)
        if _finds(settings):
            raise RuntimeError(f"Damaged before anything was done to it: {verification(settings)}")
        kinds = _kinds(settings)
        for kind in kinds:
            yield _row(settings, kinds, kind, times)
        yield from _blind(settings, kinds, times)
        yield _restoring(folder / "large", LARGE_ROWS // 10 if quick else LARGE_ROWS)


def _kinds(settings: Settings) -> Mapping[str, Sequence[Path]]:
    published = settings.published_dir
    return {
        "the published file": [published / SNAPSHOT_NAME],
        "its Parquet": sorted(published.glob("parquet/*.parquet")),
        "the manifest": [published / "manifest.json"],
        SNAPSHOTS: sorted(published.glob("snapshots/*.duckdb")),
        "the lake": sorted(settings.lake_dir.glob("*/day=*/*.parquet")),
        "the addresses": [settings.lake_dir / "addresses" / "addresses.parquet"],
        "the inventory": sorted((settings.data_dir / "lake_inventory").glob("*.json")),
        WORKING_FILE: [settings.working_file],
        "the ledger with its journal": [settings.data_dir / "ledger" / "ledger.sqlite"],
        "the key": [settings.data_dir / "secret.key"],
    }


def _row(settings: Settings, kinds: Mapping[str, Sequence[Path]], kind: str, times: Mapping[str, int]) -> Row:
    # Without an old snapshot a restore takes the next one, and the working file is rebuilt from the lake.
    leaves_nothing = kind in (SNAPSHOTS, WORKING_FILE)
    trials = {what: often for what, often in times.items() if what != "deleted" or not leaves_nothing}
    others = [file for each in kinds.values() for file in each]
    tried = {
        (what, seed): _try(settings, kinds[kind], others, what, seed, _finds)
        for what, often in trials.items()
        for seed in range(often)
    }
    unseen = {trial: told for trial, told in tried.items() if told not in ("found", "harmless")}
    if unseen:
        print(f"            {unseen}")
    counts = Counter(tried.values())
    reached = f"{counts['found']} found, {counts['harmless']} harmless, {len(unseen)} unseen"
    told = ", ".join(f"{what} {often} times" for what, often in trials.items())
    return Row("R7", f"{kind}: {told}", reached, "0 unseen", not unseen)


def _blind(settings: Settings, kinds: Mapping[str, Sequence[Path]], times: Mapping[str, int]) -> Iterator[Row]:
    """The same trials with a verify that finds nothing: each kind of damage to each kind of file must be missed."""
    others = [file for each in kinds.values() for file in each]
    blind = []
    for what in times:
        for kind, files in kinds.items():
            tried = (_try(settings, files, others, what, seed, lambda _: False) for seed in range(BLIND_TRIALS))
            if all(one == "harmless" for one in tried):
                blind.append(f"{kind} {what}")
    trials = len(kinds) * len(times)
    return iter([Row("R7", f"planted: a verify that finds nothing, {trials} kinds of damage, of which harmless",
                     ", ".join(blind) or "0", "0", not blind)])  # fmt: skip


def _finds(settings: Settings) -> bool:
    return not all(is_good for is_good, _ in verification(settings))


def _try(settings: Settings, files: Sequence[Path], others: Sequence[Path], what: str, seed: int, finds: Verify) -> str:
    """Damage one of the files, and make it whole again: 'found', 'harmless' or, at worst, its name."""
    draw = random.Random(seed)
    file = draw.choice(files)
    other = draw.choice([one for one in others if one.read_bytes() != file.read_bytes()])
    whole = {one: (one.read_bytes(), one.stat().st_mode) for one in (file, other)}
    before = _read(file, settings)
    for one, content in _damaged(file, other, what, draw).items():
        one.chmod(0o600)
        one.unlink() if content is None else one.write_bytes(content)
    try:
        if finds(settings):
            return "found"
        return "harmless" if _read(file, settings) == before else file.name
    finally:
        for one, (content, mode) in whole.items():
            one.unlink(missing_ok=True)
            one.write_bytes(content)
            one.chmod(mode)
        for remains in (settings.data_dir / "ledger").glob("ledger.sqlite-*"):
            remains.unlink()


def _damaged(file: Path, other: Path, what: str, draw: random.Random) -> Mapping[Path, bytes | None]:
    """What is to stand in the files; none = the file is deleted."""
    whole = file.read_bytes()
    place, bit = draw.randrange(len(whole)), draw.randrange(8)
    if what == "deleted":
        return {file: None}
    if what == "exchanged for another":
        return {file: other.read_bytes(), other: whole}
    changed = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
    return {file: {"changed in one bit": changed, "cut": whole[:place], "emptied": b""}[what]}


def _read(file: Path, settings: Settings) -> object:
    """What a reader gets out of the file; none if it gets nothing."""
    if not file.exists():
        return None
    try:
        if file.suffix == ".parquet":
            # Polars ends the whole process on some damaged files.
            return sorted(map(repr, duckdb.read_parquet(str(file), hive_partitioning=False).fetchall()))
        if file.suffix == ".sqlite":
            with sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True) as connection:
                names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"'))) for name in names}
        if file.suffix == ".duckdb":
            with duckdb.connect(str(file), read_only=True) as connection:
                tables = "SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL"
                names = [f'"{schema}"."{name}"' for schema, name in connection.execute(tables).fetchall()]
                return {name: sorted(map(repr, connection.sql(f"FROM {name}").fetchall())) for name in names}
        return json.loads(file.read_bytes()) if file.suffix == ".json" else file.read_bytes()
    except (duckdb.Error, sqlite3.Error, OSError, ValueError):
        return None


def _restoring(folder: Path, rows: int) -> Row:
    """A damaged publication of large tables brought back from the kept snapshot."""
    folder.mkdir()
    published = folder / "published"
    with session(folder / "working.duckdb") as connection:
        for value in range(2):
            connection.execute("CREATE SCHEMA IF NOT EXISTS marts")
            rows_of = f"SELECT range AS a, range * {value} AS b, md5(range::VARCHAR) AS c FROM range({rows})"
            connection.execute(f"CREATE OR REPLACE TABLE marts.step_metrics AS {rows_of}")
            publish(connection, published, Manifest.of(connection, f"run-{value}", NIGHT), keep=1)
    snapshot = published / SNAPSHOT_NAME
    size = snapshot.stat().st_size / 1024**2
    snapshot.unlink()
    snapshot.write_bytes(b"damaged")
    started = time.perf_counter()
    restore(published)
    seconds = time.perf_counter() - started
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        [(back,)] = connection.execute("SELECT count(*) FROM marts.step_metrics").fetchall()
    holds = back == rows and seconds <= LONGEST_RESTORE_SECONDS
    return Row("R7", f"a damaged publication of {size:.0f} MB restored", f"{seconds:.1f} s", "<= 10 s", holds)
