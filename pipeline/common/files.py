"""Writing a file so that a reader, or a crash, meets the old content or the new one and nothing between.

Only bytes and small JSON state belong here; what the bytes mean is the caller's.
"""

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a private file (mode 0600) under a temporary name, fsync it, rename it and fsync its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid4().hex}{TEMPORARY_SUFFIX}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or renames and removals within a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_state(path: Path) -> dict[str, Any]:
    """The JSON object of a state file; empty if there is none yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a state file."""
    write_atomically(path, encoded_state(state))


def encoded_state(state: dict[str, Any]) -> bytes:
    """The bytes of a state file, keys sorted so that equal state is equal bytes."""
    return json.dumps(state, indent=1, sort_keys=True).encode()
