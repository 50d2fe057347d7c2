"""The lock that lets one process at a time write the working file. It dies with its holder, so none is ever stale."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.common.errors import DriptuneError, scrub

POLL_SECONDS = 0.1
# A nightly that meets a running one waits for it this long: longer than any measured nightly.
DEFAULT_WAIT_SECONDS = 3600.0
# Where Linux lists who holds which lock. Elsewhere holders are not named.
LOCKS = Path("/proc/locks")
COMMAND_LETTERS = 80


class WarehouseBusyError(DriptuneError):
    """Another process held the working file for longer than this one was told to wait."""


@contextmanager
def exclusive(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold an advisory lock on `path` (created if absent) for the time of the block.

    Raises:
        WarehouseBusyError: if the lock was not free within `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise WarehouseBusyError(
                    f"Another run has held {path.name} for over {wait_seconds:.0f} s{holders(path)}. "
                    "Wait for it to end (see the Runs page), then start again."
                )
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def holders(path: Path) -> str:
    """Who holds a lock on a file, as ': process 123 (python report.py)'; empty if that cannot be told."""
    stat = path.stat()
    place = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    try:
        lines = [line.split() for line in LOCKS.read_text().splitlines()]
    except OSError:
        return ""
    # 1: POSIX ADVISORY WRITE 123 fe:00:456 0 EOF; a process that waits has '->' in second place.
    found = {int(line[4]) for line in lines if line[5:6] == [place] and line[4].isdigit()} - {0, os.getpid()}
    return ": " + " and ".join(_named(process) for process in sorted(found)) if found else ""


def _named(process: int) -> str:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = []
    command = scrub(" ".join(" ".join(words).split()))
    shown = command if len(command) <= COMMAND_LETTERS else f"{command[:COMMAND_LETTERS]}..."
    return f"process {process} ({shown})" if shown else f"process {process}"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
