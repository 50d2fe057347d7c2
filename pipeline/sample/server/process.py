"""Starting and stopping the stand-in server in a process of its own, so that it costs the caller no time."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from pipeline.sample.account.generate import SampleAccount
from pipeline.settings import PACKAGE, Refusal


@contextmanager
def serve(
    account: SampleAccount,
    as_of: date,
    port: int = 0,
    *,
    fail_every: int = 0,
    log: Path | None = None,
    refusal: Refusal = "none",
) -> Iterator[str]:
    """Serve the account as it stood at the end of `as_of`, until the block ends.

    Args:
        account: the sample account.
        as_of: day whose end is the server's clock.
        port: port on 127.0.0.1, 0 = any free one.
        fail_every: every so many requests one is answered 429, 0 = never.
        log: file that keeps what is written for the next server; none = it ends with this one.
        refusal: how the reads of journeys fail or differ.

    Yields:
        Base URL, including `/3.0`.

    Raises:
        RuntimeError: if the server does not start.
    """
    command = [sys.executable, "-m", "pipeline.sample.server.app"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PACKAGE.parent) as process:
        assert process.stdin
        assert process.stdout
        try:
            pickle.dump((account, as_of, port, fail_every, log, refusal), process.stdin)
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("The stand-in server of the sample account did not start; its error stands above.")
            yield f"http://127.0.0.1:{int(line)}/3.0"
        finally:
            process.stdin.close()
            process.wait()
