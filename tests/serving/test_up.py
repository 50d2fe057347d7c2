"""What `driptune up` starts ends with it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("DRIPTUNE_", "MAILCHIMP_"))}
START_SECONDS = 180


def children(process: int) -> list[Path]:
    """The directories in /proc of a process's children."""
    ids = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path("/proc") / number for number in ids]


def is_alive(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except FileNotFoundError:
        return False


def test_a_service_manager_ends_the_daemon_too(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "up", "--port", str(port)]
    environment = {**ENVIRONMENT, "DRIPTUNE_DATA_DIR": str(tmp_path / "data")}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as serving:
        last = time.monotonic() + START_SECONDS
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/server_info", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                assert serving.poll() is None, "driptune up ended by itself"
                assert time.monotonic() < last, "driptune up does not answer"
                time.sleep(0.5)
        started = children(serving.pid)
        assert any(b"dagster-daemon" in (one / "cmdline").read_bytes() for one in started)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(60) == 0
    assert not [one for one in started if is_alive(one)]
