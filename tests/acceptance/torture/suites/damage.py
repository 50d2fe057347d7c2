"""R7: single bits flipped in what is kept, and the way back from a damaged publication."""

import random
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl

from pipeline.operations.health import verification
from pipeline.optimizations.ledger import Ledger
from pipeline.orchestration.resources.warehouse import session
from pipeline.published.snapshot import SNAPSHOT_NAME, Manifest, publish, restore
from pipeline.settings import Settings
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

LONGEST_RESTORE_SECONDS = 10.0
LARGE_ROWS = 2_000_000


def measure(quick: bool) -> Iterator[Row]:
    """Flip one bit, ask `driptune verify`, flip it back."""
    flips = 20 if quick else 150
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        folder = Path(name)
        place = Installation(folder / "account", url)
        for night in (NIGHT, NIGHT + timedelta(days=1)):
            code, said = place.nightly(night)
            if code:
                raise RuntimeError(said)
        settings = place.settings
        published = settings.published_dir
        parquet = sorted(published.glob("parquet/*.parquet"))
        kinds = {
            "the published file": [published / SNAPSHOT_NAME],
            "its Parquet": parquet,
            "the manifest": [published / "manifest.json"],
            "the lake": sorted(settings.lake_dir.rglob("*.parquet")),
            "the ledger": [settings.data_dir / "ledger" / "ledger.sqlite"],
        }
        for kind, files in kinds.items():
            flipped = [_flip(settings, files, seed) for seed in range(flips)]
            found, unseen = flipped.count("found"), flipped.count("changed")
            yield Row("R7", f"{flips} single bits flipped in {kind}: found by verify, or harmless",
                      f"{found} found, {unseen} changed a value unseen", "0 unseen", unseen == 0)  # fmt: skip
        yield _restoring(folder / "large", LARGE_ROWS // 10 if quick else LARGE_ROWS)


def _flip(settings: Settings, files: list[Path], seed: int) -> str:
    """Flip a bit of one of the files and back: 'found' by verify, 'harmless' or, at worst, 'changed' and not found."""
    draw = random.Random(seed)
    file = draw.choice(files)
    whole, mode, before = file.read_bytes(), file.stat().st_mode, _read(file, settings)
    place, bit = draw.randrange(len(whole)), draw.randrange(8)
    file.chmod(0o600)
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    try:
        if not all(is_good for is_good, _ in verification(settings)):
            return "found"
        return "harmless" if _read(file, settings) == before else "changed"
    finally:
        file.write_bytes(whole)
        file.chmod(mode)


def _read(file: Path, settings: Settings) -> object:
    """What a reader gets out of the file."""
    if file.suffix == ".parquet":
        return pl.read_parquet(file, hive_partitioning=False).to_dicts()
    if file.suffix == ".sqlite":
        ledger = Ledger.open(settings.ledger_address)
        try:
            return [event.model_dump() for event in ledger.events()]
        finally:
            ledger.close()
    return Manifest.read(settings.published_dir)  # verify has read every row of the published file


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
