"""What a disk refuses is told in words, whichever library met it; what is no disk's fault is not."""

import errno
import os

import pytest
import sqlalchemy as sa

from pipeline.common.errors import disk_trouble


def wrapped(error: Exception) -> Exception:
    """The error as a library raises it on."""
    outer = RuntimeError("step failed")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "is full"),
        (wrapped(OSError(errno.EROFS, os.strerror(errno.EROFS))), "is read-only"),
        (sa.exc.OperationalError("COMMIT", {}, Exception("database or disk is full")), "is full"),
        (sa.exc.OperationalError("SELECT thread", {}, Exception("disk I/O error")), "is full or failing"),
        (sa.exc.OperationalError("INSERT", {}, Exception("attempt to write a readonly database")), "is read-only"),
    ],
)
def test_a_disk_that_refuses_is_named(error: Exception, words: str) -> None:
    told = disk_trouble(error)
    assert told is not None
    assert words in told


def test_other_errors_are_nobody_s_disk() -> None:
    assert disk_trouble(wrapped(KeyError("step_id"))) is None
