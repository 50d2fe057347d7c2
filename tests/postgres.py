"""A PostgreSQL server on loopback, from Debian's package, for tests and benchmarks."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


def missing() -> str | None:
    """Why no server can be started here; none if one can."""
    return None if _programs() else "PostgreSQL is not installed: apt-get install postgresql"


@contextmanager
def postgres_server(options: Mapping[str, str | int] | None = None) -> Iterator[str]:
    """User, host and port of a server that runs as long as the block, with these settings. Nothing of it is kept."""
    programs = _programs()[-1].parent
    # A short path: the name of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    data, port = folder / "data", _free_port()
    # The server refuses to run as root.
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, USER)
    settings = "".join(f" -c {name}={value}" for name, value in (options or {}).items())
    control = [*as_user, str(programs / "pg_ctl"), "-D", str(data)]
    try:
        _run([*as_user, str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "--no-sync"])
        _run([*control, "-o", f"-h 127.0.0.1 -p {port} -k {folder} -F{settings}", "-w", "start"])
        yield f"{USER}@127.0.0.1:{port}"
    finally:
        _run([*control, "-m", "immediate", "stop"])
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
