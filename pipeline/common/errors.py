"""What the command tells a person in place of a traceback; here so that saying no does not load the whole pipeline."""


class NightlyError(Exception):
    """A step of the nightly failed; the last publication is untouched."""


class LedgerError(Exception):
    """The ledger cannot do what was asked; the message says why and what to do."""


DISK_WORDS = {
    "no space left": "is full",
    "disk is full": "is full",
    "quota exceeded": "is full",
    "read-only file system": "is read-only",
    "readonly database": "is read-only",
    # All that SQLite says where there is no room for its shared memory.
    "disk i/o error": "is full or failing",
}


def disk_trouble(error: BaseException) -> str | None:
    """Words for a person if the disk refused, whichever library met it first; none if it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen).lower()
        if reason := next((reason for words, reason in DISK_WORDS.items() if words in text), None):
            return (
                f"The disk of DRIPTUNE_DATA_DIR {reason}. The last publication is untouched. "
                "Free space or make it writable, then run again."
            )
        seen = seen.__cause__ or seen.__context__
    return None
