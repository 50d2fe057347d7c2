"""R2: two nightlies started at once, on an installation where nothing ran before and on one with the same input."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.ingest.fake_account import NIGHT
from tests.ingest.loopback import serve
from tests.torture import Row
from tests.torture.installation import Installation
from tests.torture.victims import account

# What tells of runs and of the ledger, into which the first night puts its proposals; the rest follows from the input.
OF_THE_NIGHT = {"runs", "optimizations", "optimization_events"}


def measure(quick: bool) -> Iterator[Row]:
    """Two race for everything there is to create; two more find it all done."""
    rounds = 1 if quick else 3
    failed = different = published_again = 0
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder, serve(account().answer) as url:
        for number in range(rounds):
            place = Installation(Path(folder) / str(number), url)
            failed += _fail_of_two(place)
            first = place.publication()
            failed += _fail_of_two(place)
            second = place.publication()
            names = {name for name in first.keys() | second.keys() if name.removesuffix(".parquet") not in OF_THE_NIGHT}
            published_again += first != second
            different += sum(first.get(name) != second.get(name) for name in names)
    yield Row(
        "R2",
        f"{rounds} times two nightlies at once in a new folder, then two more of the same input",
        f"{failed} failed, {published_again} published again, {different} files with other bytes",
        "0",
        failed + published_again + different == 0,
    )


def _fail_of_two(place: Installation) -> int:
    both = [place.start("nightly", "--as-of", NIGHT.isoformat()) for _ in range(2)]
    said = [one.communicate(timeout=300) for one in both]
    failed = [words for one, words in zip(both, said, strict=True) if one.returncode]
    for words in failed:
        print(*words)
    return len(failed)
