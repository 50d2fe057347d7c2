"""R2: two nightlies started at once, on an installation where nothing ran before and on one with the same input."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

# What tells of runs and of the ledger, into which the first night puts its proposals; the rest follows from the input.
OF_THE_NIGHT = {"runs", "optimizations", "optimization_events"}


def measure(quick: bool) -> Iterator[Row]:
    """Two race for everything there is to create; two more find it all done."""
    rounds = 1 if quick else 3
    failed = different = published_again = compared = 0
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder, serve(account().answer) as url:
        for number in range(rounds):
            place = Installation(Path(folder) / str(number), url)
            failed += _fail_of_two(place)
            first = place.publication()
            # What the first night proposes is on record, and published, from the next one on.
            failed += place.nightly(NIGHT)[0] != 0
            settled = place.publication()
            failed += _fail_of_two(place)
            second = place.publication()
            published_again += settled != second
            names = {
                name.removesuffix(".parquet") for name in first.keys() | second.keys() if name.endswith(".parquet")
            }
            compared += len(names - OF_THE_NIGHT)
            different += sum(_bytes(first, name) != _bytes(second, name) for name in names - OF_THE_NIGHT)
    yield Row(
        "R2",
        f"{rounds} times two nightlies at once in a new folder, then two more of the same input",
        f"{failed} failed, {published_again} published again, {different} of {compared} marts with other bytes",
        "0",
        failed + published_again + different == 0 and compared > 0,
    )


def _bytes(publication: dict[str, tuple[int, bytes]], mart: str) -> bytes:
    return publication.get(f"{mart}.parquet", (0, b""))[1]


def _fail_of_two(place: Installation) -> int:
    both = [place.start("nightly", "--as-of", NIGHT.isoformat()) for _ in range(2)]
    said = [one.communicate(timeout=300) for one in both]
    failed = [words for one, words in zip(both, said, strict=True) if one.returncode]
    for words in failed:
        print(*words)
    return len(failed)
