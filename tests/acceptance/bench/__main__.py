"""`python -m tests.acceptance.bench`: measure, print the table and, if asked, write it into docs/measured.md.

Everything lives in a temporary folder; the user's data are never touched. Peers that are installed run beside ours:
pandas always, dbt and chdb after `make peers`, Spark after `make spark`, PostgreSQL from Debian's package.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.acceptance.bench import rows
from tests.acceptance.bench.analyses import analyses
from tests.acceptance.bench.delivery import delivery
from tests.acceptance.bench.limits import check_disk
from tests.acceptance.bench.orchestration import dagster_share
from tests.acceptance.bench.pages import pages_of_many_flows
from tests.acceptance.bench.peers.rows import beside_peers, equal_on_spark, whole_processes
from tests.acceptance.bench.people import per_person
from tests.acceptance.bench.rows import Account, Row
from tests.acceptance.markers import MEASURED, write_between_markers

DEFAULT_SCALES = (1_000_000, 10_000_000)
PEOPLE = (1_000_000, 3_000_000)


def measure(scales: Iterable[int], folder: Path) -> Iterator[Row]:
    """Every row, at every scale, smallest first."""
    before: tuple[Account, rows.Measured] | None = None
    for events in sorted(scales):
        account = Account(events, folder / str(events))
        account.write()
        table, spent, file = rows.full_rebuild(account)
        yield from table
        yield whole_processes(account)
        if before is not None:
            yield rows.growth(*before, account, spent)
        before = (account, spent)
        yield from beside_peers(account, file)
        yield rows.join_order(account, file)
        yield rows.publishing(account, file)
        yield from rows.increments(account)
        yield equal_on_spark(account)
        shutil.rmtree(account.folder)
    yield from analyses()
    yield from per_person(PEOPLE)
    yield delivery()
    yield dagster_share(folder / "empty")
    yield pages_of_many_flows()


def as_markdown(table: Iterable[Row]) -> str:
    """The table as docs/measured.md shows it."""
    lines = ["| measure | measured | hold to | holds |", "|---|---|---|---|"]
    words = {True: "yes", False: "no", None: "not judged"}
    return "\n".join(
        [*lines, *(f"| {row.measure} | {row.measured} | {row.hold_to} | {words[row.holds]} |"
                   for row in table)]
    )  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.bench", description=__doc__)
    parser.add_argument("--scale", type=int, nargs="+", default=DEFAULT_SCALES, help="rows of the synthetic lakes")
    parser.add_argument("--write", type=Path, nargs="?", const=MEASURED, help="file with markers")
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory(prefix="driptune-bench-") as folder:
        print(check_disk(arguments.scale, Path(folder)), flush=True)
        for row in measure(arguments.scale, Path(folder)):
            table.append(row)
            print(f"{row.number:4} {row.measure}: {row.measured} (hold to {row.hold_to})", flush=True)
    print(as_markdown(table))
    if arguments.write:
        write_between_markers("performance", f"`make bench`\n\n{as_markdown(table)}", arguments.write)


if __name__ == "__main__":
    main()
