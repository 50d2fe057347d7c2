"""Whole processes, and what they take."""

import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """What a process took from its start to its end, and what it printed.

    Attributes:
        cpu_seconds: tell more than the others where other work keeps the machine busy.
    """

    seconds: float
    cpu_seconds: float
    printed: str

    def __str__(self) -> str:
        """What it took."""
        return f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} CPU-s"


def run_process(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Process:
    """Run a command to its end.

    Raises:
        RuntimeError: if it fails.
    """
    before, started = _cpu_seconds(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()[-2000:]}")
    return Process(seconds, _cpu_seconds() - before, done.stdout)


def _cpu_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
