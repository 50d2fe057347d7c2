"""R14: the files of an older release, and everything made from the lake deleted and made anew."""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pipeline.optimizations import review
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.review import Seen
from pipeline.resources.publish import RUN_TABLES, Manifest
from pipeline.settings import PROJECT_ROOT
from tests.ingest.fake_account import NIGHT
from tests.ingest.loopback import serve
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.torture import Row
from tests.torture.installation import Installation
from tests.torture.victims import account

# The first release: lake, facts, performance, cohorts, timing, monitoring; no decisions, no ledger.
OLDER_RELEASE = "c78af3f"


def measure(quick: bool) -> Iterator[Row]:
    """An account with one night of the older release and one of today's."""
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        folder = Path(name)
        place = Installation(folder / "account", url)
        code = _older_code(folder / "older")
        if code is None:
            yield Row("R14", "files of an older release", "not tried: no git history here", "open", False)
            _must(place.nightly(NIGHT))
        else:
            _must(Installation(place.folder, url, code).nightly(NIGHT))
            said = place.nightly(NIGHT + timedelta(days=1))
            _must(place.run("verify")) if said[0] == 0 else print(said[1])
            reached = "opened, next night green" if said[0] == 0 else "failed"
            yield Row("R14", f"lake, working file and publication of release {OLDER_RELEASE}", reached, "open",
                      said[0] == 0)  # fmt: skip
        _decide(place)
        # Twice: what the first publication suggests is on record from the second one on.
        _must(place.nightly(NIGHT + timedelta(days=1)))
        _must(place.nightly(NIGHT + timedelta(days=1)))
        before, events = _tables(place), _events(place)
        for derived in (place.settings.working_file.parent, place.settings.published_dir):
            shutil.rmtree(derived)
        _must(place.nightly(NIGHT + timedelta(days=1)))
        after = _tables(place)
        different = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
        yield Row("R14", f"{len(before)} marts after warehouse and publications were deleted and rebuilt",
                  f"{len(different)} differ {' '.join(different)}".strip(), "0", not different)  # fmt: skip
        survived = _events(place) == events
        yield Row("R14", "the ledger over upgrade and rebuild", f"{len(events)} events" if survived else "changed",
                  "as it was", survived)  # fmt: skip


def _older_code(folder: Path) -> Path | None:
    archive = subprocess.run(["git", "archive", OLDER_RELEASE], cwd=PROJECT_ROOT, capture_output=True, check=False)
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _decide(place: Installation) -> None:
    """Have a decision on record."""
    ledger = Ledger.open(place.settings.ledger_address)
    ledger.propose([proposal()], now=NOW, policy=POLICY)
    review.approve(ledger, POLICY, Seen.of(ledger.record(proposal().optimization_id)), actor="mara", now=NOW)
    ledger.close()


def _events(place: Installation) -> list[str]:
    """Hashes of the ledger's events, which must be in order."""
    ledger = Ledger.open(place.settings.ledger_address)
    hashes = [*ledger.verify(), *(event.hash for event in ledger.events())]
    ledger.close()
    return hashes


def _tables(place: Installation) -> dict[str, str]:
    manifest = Manifest.read(place.settings.published_dir)
    assert manifest is not None
    return {table.name: table.sha256 for table in manifest.tables if table.name not in RUN_TABLES}


def _must(told: tuple[int, str]) -> None:
    if told[0]:
        raise RuntimeError(told[1])
