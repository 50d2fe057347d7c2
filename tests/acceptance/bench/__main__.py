"""`python -m tests.acceptance.bench`: measure, print the table and, if asked, write it into the README.

Everything lives in a temporary folder; the user's data are never touched.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.acceptance.bench import rows
from tests.acceptance.bench.analyses import analyses
from tests.acceptance.bench.orchestration import dagster_share
from tests.acceptance.bench.pages import pages_of_many_flows
from tests.acceptance.bench.rows import Account, Row
from tests.checkout import PROJECT_ROOT

DEFAULT_SCALES = (1_000_000, 10_000_000)
START, END = "<!-- performance -->", "<!-- end of performance -->"


def measure(scales: Iterable[int], folder: Path) -> Iterator[Row]:
    """Every row, at every scale, smallest first."""
    before: tuple[Account, rows.Measured] | None = None
    for events in sorted(scales):
        account = Account(events, folder / str(events))
        account.write()
        table, spent, file = rows.full_rebuild(account)
        yield from table
        if before is not None:
            yield rows.growth(*before, account, spent)
        before = (account, spent)
        yield from rows.peers(account, file)
        yield rows.join_order(account, file)
        yield rows.publishing(account, file)
        yield from rows.increments(account)
    yield from analyses()
    yield dagster_share(folder / "empty")
    yield pages_of_many_flows()


def as_markdown(table: Iterable[Row]) -> str:
    """The table as the README shows it."""
    lines = ["| # | measure | measured | hold to | holds |", "|---|---|---|---|---|"]
    words = {True: "yes", False: "no", None: "larger scale only"}
    return "\n".join(
        [*lines, *(f"| {row.number} | {row.measure} | {row.measured} | {row.hold_to} | {words[row.holds]} |"
                   for row in table)]
    )  # fmt: skip


def write_between_markers(text: str, path: Path) -> None:
    """Replace what stands between the markers of a file.

    Raises:
        ValueError: if the file has no markers.
    """
    head, start, rest = path.read_text().partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{path.name} has no '{START}' followed by '{END}'. Add both lines.")
    path.write_text(f"{head}{START}\n{text}\n{END}{tail}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.bench", description=__doc__)
    parser.add_argument("--scale", type=int, nargs="+", default=DEFAULT_SCALES, help="rows of the synthetic lakes")
    parser.add_argument("--write", type=Path, nargs="?", const=PROJECT_ROOT / "README.md", help="file with markers")
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory(prefix="driptune-bench-") as folder:
        for row in measure(arguments.scale, Path(folder)):
            table.append(row)
            print(f"{row.number:4} {row.measure}: {row.measured} (hold to {row.hold_to})", flush=True)
    print(as_markdown(table))
    if arguments.write:
        write_between_markers(f"`make bench`\n\n{as_markdown(table)}", arguments.write)


if __name__ == "__main__":
    main()
