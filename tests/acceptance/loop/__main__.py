"""`make loop`: four loops on the stand-in account, each from its first record to its realised lift, beside the truth.

A row a loop. It fails if a truth lies outside its interval, or if anybody got a message twice.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import date

from pipeline.common.words import lift
from tests.acceptance.loop import loops
from tests.acceptance.loop.loops import Closed, Plan

LAST = date(2026, 8, 20)
LOOPS: dict[str, Callable[[], list[Closed]]] = {
    "test": lambda: [loops.drawn_test(Plan(date(2026, 5, 8), LAST, every=3, people=9_000))],
    "path": lambda: [loops.path_policy(Plan(date(2026, 5, 8), LAST, every=2, people=8_000))],
    "hours": lambda: loops.send_hours(Plan(date(2026, 4, 12), LAST, every=7, people=8_000)),
    "release": lambda: [loops.released_waits(Plan(date(2026, 5, 12), LAST, every=2, people=9_000))],
}


def told(one: Closed) -> str:
    """A loop in two lines."""
    promised = "nothing promised" if one.promised is None else f"promised {lift(one.promised)}"
    realised = f"realised {lift(one.realised, one.low, one.high)}, truth {lift(one.truth)}"
    people = f"{one.people[0]:,} people with it, {one.people[1]:,} against; twice the same message: {one.doubled}"
    more = "".join(f"; {what}: {count}" for what, count in one.more.items())
    return f"{'ok  ' if one.holds else 'MISS'} {one.loop}\n     {promised}, {realised}; {people}{more}"


def main() -> int:
    """Command line; 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.loop", description=__doc__)
    parser.add_argument("loops", nargs="*", choices=[*LOOPS, []], help="the loops to close; all if none is named")
    missed = 0
    for name in parser.parse_args().loops or LOOPS:
        for one in LOOPS[name]():
            missed += not one.holds
            print(told(one), flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
