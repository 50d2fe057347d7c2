"""What a benchmark may use of this machine: cores, memory and disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

THREADS = 2
# Accounts of 10 and 100 million events took 130 and 90 bytes an event at once, without PostgreSQL's copy of the facts.
DISK_BYTES_PER_EVENT = 250


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
