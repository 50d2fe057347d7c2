"""`driptune up` as tests start it."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.torture.installation import COMMAND

START_SECONDS = 180
LAST_WORDS = "Ctrl-C ends both."
"""Told once everything answers; the links follow in the same breath."""


@dataclass(frozen=True)
class Serving:
    """A server that answers.

    Attributes:
        process: the command.
        address: where it answers, such as 'http://127.0.0.1:3000'.
        links: for each approver the link by which they enter the inbox.
    """

    process: subprocess.Popen[bytes]
    address: str
    links: Mapping[str, str]


@contextmanager
def driptune_up(environment: Mapping[str, str], folder: Path) -> Iterator[Serving]:
    """Run `driptune up` in the folder on a free port, from its first answer to the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "up.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "up", "--port", str(port)],
            env=dict(environment), cwd=folder, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port) or LAST_WORDS not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"driptune up does not answer:\n{log.read_text()}")
            time.sleep(0.2)
        time.sleep(0.2)
        links = dict(re.findall(r"Inbox for (\S+), once: (\S+)", log.read_text()))
        yield Serving(process, f"http://127.0.0.1:{port}", links)
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
