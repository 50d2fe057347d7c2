"""`make torture`: run every suite, print reached beside target and, if asked, write the table into docs/measured.md."""

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from tests.acceptance.markers import MEASURED, write_between_markers
from tests.acceptance.torture import Row, suites


def suite_names() -> list[str]:
    """Every suite, by name."""
    found = pkgutil.walk_packages(suites.__path__, prefix=f"{suites.__name__}.")
    return sorted(module.name.removeprefix(f"{suites.__name__}.") for module in found if not module.ispkg)


def as_markdown(rows: Iterable[Row]) -> str:
    """The table as docs/measured.md shows it, by number of the promise."""
    lines = ["| what was done | reached | hold to | holds |", "|---|---|---|---|"]
    ordered = sorted(rows, key=lambda row: int(row.number[1:]))
    lines += [f"| {row.measure} | {row.reached} | {row.target} | {'yes' if row.holds else 'no'} |" for row in ordered]
    return "\n".join(lines)


def main() -> int:
    """Command line; 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.torture", description=__doc__)
    parser.add_argument("suites", nargs="*", help="modules of tests/acceptance/torture/suites to run; default all")
    parser.add_argument("--quick", action="store_true", help="a small share of it, in a couple of minutes")
    parser.add_argument("--write", type=Path, nargs="?", const=MEASURED, help="file with markers")
    arguments = parser.parse_args()
    rows: list[Row] = []
    broken_off: list[str] = []
    for name in arguments.suites or suite_names():
        started = time.perf_counter()
        print(f"\n{name}", flush=True)
        try:
            for row in importlib.import_module(f"{suites.__name__}.{name}").measure(quick=arguments.quick):
                rows.append(row)
                print(f"  {'ok  ' if row.holds else 'MISS'} {row.number:<4} {row.measure}", flush=True)
                print(f"            {row.reached}   (hold to: {row.target})", flush=True)
        except Exception:
            # One suite that breaks off is a miss of its own, and takes no hours of others with it.
            broken_off.append(name)
            traceback.print_exc()
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
    if arguments.write and not broken_off:
        write_between_markers("torture", as_markdown(rows), arguments.write)
    failures = sum(not row.holds for row in rows) + len(broken_off)
    print(f"\n{failures} missed" if failures else "\nall reached")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
