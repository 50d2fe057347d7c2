"""What an engine is to the bench: whether it is here, and how it computes each reduction from the facts."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

PEERS = Path(sys.prefix) / "peers"
"""Where `make peers` installs what the product does not need."""
RUNS = 3
Computations = Mapping[str, Callable[[], Any]]


def nothing() -> None:
    """Nothing is missing of an engine that the test tools bring along."""


@dataclass(frozen=True)
class Engine:
    """An engine.

    Attributes:
        label: its name in the table.
        opened: opens it over a folder of facts, and gives a computation of each reduction, warm and ready to be timed.
        as_frame: turns what a computation returns into a frame, outside of the time measured.
        missing: why it cannot run here; none if it can.
        most_events: the largest account that it is run with.
    """

    label: str
    opened: Callable[[Path], AbstractContextManager[Computations]]
    as_frame: Callable[[Any], pl.DataFrame]
    missing: Callable[[], str | None] = nothing
    most_events: float = float("inf")


def measure(engine: Engine, facts: Path) -> dict[str, dict[str, float | str]]:
    """The best seconds of each reduction out of some runs, and a digest of its rows."""
    figures: dict[str, dict[str, float | str]] = {}
    with engine.opened(facts) as computations:
        for name, compute in computations.items():
            seconds = []
            for _ in range(RUNS):
                started = time.perf_counter()
                result = compute()
                seconds.append(time.perf_counter() - started)
            figures[name] = {"seconds": min(seconds), "rows": digest(engine.as_frame(result))}
    return figures


def digest(frame: pl.DataFrame) -> str:
    """The number of rows and a hash of them that depends on no order of rows or columns and on no width of integers."""
    alike = frame.select(
        pl.col(name).cast(pl.String if frame.schema[name] == pl.String else pl.Int64) for name in sorted(frame.columns)
    )
    return f"{alike.height} rows {sha256(alike.sort(alike.columns).write_csv().encode()).hexdigest()}"
