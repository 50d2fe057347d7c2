"""What a benchmark may use of this machine: cores, memory and disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

THREADS = 2
MEMORY_BYTES = 3 * 2**30
DISK_BYTES_PER_EVENT = 400


def check_disk(scales: Iterable[int], folder: Path) -> str:
    """What the largest of these accounts needs on the disk of the folder. Accounts are measured one after the other.

    Raises:
        SystemExit: if less is free.
    """
    events = max(scales)
    needed, free = events * DISK_BYTES_PER_EVENT, shutil.disk_usage(folder).free
    told = f"{events:,} events need {needed / 1e9:.1f} GB of disk below {folder}, and {free / 1e9:.1f} GB are free."
    if free < needed:
        raise SystemExit(f"{told} Free some, or name another folder by TMPDIR.")
    return told
