"""What `driptune up` starts ends with it."""

import os
import signal
from pathlib import Path

from tests.serving.started import driptune_up

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("DRIPTUNE_", "MAILCHIMP_"))}


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
    with driptune_up({**ENVIRONMENT, "DRIPTUNE_DATA_DIR": str(tmp_path / "data")}, tmp_path) as server:
        started = children(server.process.pid)
        assert any(b"dagster-daemon" in (one / "cmdline").read_bytes() for one in started)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert not [one for one in started if is_alive(one)]
