"""The lock that lets one process at a time write the working file. It dies with its holder, so none is ever stale."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.common.errors import DriptuneError

POLL_SECONDS = 0.1
# A nightly that meets a running one waits for it this long: longer than any measured nightly.
DEFAULT_WAIT_SECONDS = 3600.0


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
                    f"Another run has held {path.name} for over {wait_seconds:.0f} s. "
                    "Wait for it to end (see the Runs page), then start again."
                )
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
