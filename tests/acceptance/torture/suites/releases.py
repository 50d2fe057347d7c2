"""R14: the files of an older release, and everything made from the lake deleted and made anew."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pipeline.optimizations import review
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.review import Seen
from pipeline.published.manifest import RUN_TABLES, Manifest
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.victims import account
from tests.checkout import PROJECT_ROOT
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve
from tests.optimizations.conftest import NOW, POLICY, proposal

# The first release: lake, facts, performance, cohorts, timing, monitoring; no decisions, no ledger.
OLDER_RELEASE = "c78af3f"
# The first release with a ledger: one table less, and fewer kinds of events.
OLDER_LEDGER = "654a26f"
DECIDE = """
import sys
from pipeline.optimizations import review
from pipeline.optimizations.ledger import Ledger
from tests.optimizations.conftest import NOW, POLICY, proposal
ledger = Ledger.open(sys.argv[1])
ledger.propose([proposal(), proposal(target="other")], now=NOW, policy=POLICY)
review.approve(ledger, POLICY, review.Seen.of(ledger.record(proposal().optimization_id)), actor="mara", now=NOW)
ledger.close()
"""


def measure(quick: bool) -> Iterator[Row]:
    """An older ledger; then an account with one night of an older release and one of today's."""
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        folder = Path(name)
        yield _older_ledger(folder / "ledger")
        place = Installation(folder / "account", url)
        code = _older_code(folder / "older", OLDER_RELEASE)
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


def _older_ledger(folder: Path) -> Row:
    """A ledger that an older release wrote, opened, read and written to by today's."""
    what, code = f"ledger of release {OLDER_LEDGER}", _older_code(folder / "older", OLDER_LEDGER)
    if code is None:
        return Row("R14", what, "not tried: no git history here", "whole", False)
    url = f"sqlite:///{folder}/ledger.sqlite"
    environment = {**os.environ, "PYTHONPATH": str(code)}
    subprocess.run([sys.executable, "-c", DECIDE, url], env=environment, cwd=folder, check=True)
    ledger = Ledger.open(url)
    statuses = {record.optimization_id: record.status for record in ledger.records()}
    other = proposal(target="other").optimization_id
    expected = {proposal().optimization_id: Status.APPROVED, other: Status.PENDING}
    events = len(ledger.events())
    review.reject(ledger, POLICY, Seen.of(ledger.record(other)), actor="noor", reason="Tried.", now=NOW)
    problems = ledger.verify()
    ledger.close()
    is_whole = statuses == expected and not problems
    reached = f"{events} events read, one added, chain whole" if is_whole else f"{statuses} {problems}"
    return Row("R14", what, reached, "whole", is_whole)


def _older_code(folder: Path, release: str) -> Path | None:
    archive = subprocess.run(["git", "archive", release], cwd=PROJECT_ROOT, capture_output=True, check=False)
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _decide(place: Installation) -> None:
    """Have a decision on record."""
    ledger = Ledger.open(place.settings.ledger_address)
    ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
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
    return {table.name: table.content for table in manifest.tables if table.name not in RUN_TABLES}


def _must(told: tuple[int, str]) -> None:
    if told[0]:
        raise RuntimeError(told[1])
