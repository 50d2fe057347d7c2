"""`make simulate`: run every acceptance simulation, print reached against target, fail if one does not hold.

The odd worlds, which take an hour, run only where they are named (`make simulate worlds`).

What a full run reached is kept for the methods page, in pipeline/reports/pages/acceptance.csv.
"""

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence

import polars as pl

from pipeline.reports.pages.reference import ACCEPTANCE
from tests.acceptance import simulations
from tests.acceptance.worlds import played


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "methods", nargs="*", help="modules of tests/acceptance/simulations, or 'worlds'; default all modules"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of replications")
    arguments = parser.parse_args()
    known = sorted(module.name for module in pkgutil.iter_modules(simulations.__path__))
    places = {name: f"tests.acceptance.simulations.{name}" for name in known} | {"worlds": played.__name__}
    names = arguments.methods or known
    failures = 0
    for name in names:
        started = time.perf_counter()
        checks = importlib.import_module(places[name]).run(scale=arguments.scale)
        print(f"\n{name} ({time.perf_counter() - started:.0f} s)")
        for check in checks:
            failures += not check.holds
            print(
                f"  {'ok  ' if check.holds else 'MISS'} {check.measure:<60} "
                f"{check.reached:9.4f} {check.direction} {check.target:g} (se {check.standard_error:.4f})"
            )
        if arguments.scale == 1 and name in known:
            keep(name, checks)
    print(f"\n{failures} missed" if failures else "\nall reached")
    return 1 if failures else 0


def keep(method: str, checks: Sequence[simulations.Check]) -> None:
    """Put the figures of one method in place of its former ones."""
    rows = [
        {
            "method": method,
            "measure": check.measure,
            "reached": round(check.reached, 4),
            "direction": check.direction,
            "target": check.target,
            "standard_error": round(check.standard_error, 4),
            "holds": "yes" if check.holds else "no",
        }
        for check in checks
    ]
    others = pl.read_csv(ACCEPTANCE).filter(pl.col("method") != method)
    pl.concat([others, pl.DataFrame(rows, schema=others.schema)]).sort("method", maintain_order=True).write_csv(
        ACCEPTANCE
    )


if __name__ == "__main__":
    sys.exit(main())
