"""What the command tells a person in place of a traceback; here so that saying no does not load the whole pipeline."""


class NightlyError(Exception):
    """A step of the nightly failed; the last publication is untouched."""


class LedgerError(Exception):
    """The ledger cannot do what was asked; the message says why and what to do."""


DISK_WORDS = ("no space left", "disk is full", "read-only file system", "readonly database", "quota exceeded")


def disk_trouble(error: BaseException) -> str | None:
    """Words for a person if the disk refused, whichever library met it first; none if it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen).lower()
        if any(words in text for words in DISK_WORDS):
            reason = "is read-only" if "read" in text else "is full"
            return (
                f"The disk of DRIPTUNE_DATA_DIR {reason}. The last publication is untouched. "
                "Free space or make it writable, then run again."
            )
        seen = seen.__cause__ or seen.__context__
    return None
