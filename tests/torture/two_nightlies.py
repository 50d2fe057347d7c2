"""R2: two nightlies started at once, and the same night once more."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.resources.publish import Manifest
from tests.ingest.fake_account import NIGHT
from tests.ingest.loopback import serve
from tests.torture import Row
from tests.torture.installation import Installation
from tests.torture.victims import account


def measure(quick: bool) -> Iterator[Row]:
    """On an installation where nothing ran before, so that they race for everything there is to create."""
    rounds = 1 if quick else 4
    failed = published_again = different = 0
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder, serve(account().answer) as url:
        for number in range(rounds):
            place = Installation(Path(folder) / str(number), url)
            both = [place.start("nightly", "--as-of", NIGHT.isoformat()) for _ in range(2)]
            said = [one.communicate(timeout=300) for one in both]
            failed += sum(one.returncode != 0 for one in both)
            if any(one.returncode for one in both):
                print(said)
            # A second publication would have kept the first one's snapshot.
            published_again += len(list(place.settings.published_dir.glob("snapshots/*")))
            before = place.publication()
            manifest = Manifest.read(place.settings.published_dir)
            failed += place.nightly(NIGHT)[0] != 0
            different += place.publication() != before or Manifest.read(place.settings.published_dir) != manifest
    yield Row(
        "R2",
        f"{rounds} times two nightlies at once, then the same night again",
        f"{failed} failed, {published_again} published twice, {different} with other bytes",
        "0, one publication, equal bytes",
        failed + published_again + different == 0,
    )
