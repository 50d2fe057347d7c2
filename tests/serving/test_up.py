"""What `driptune up` starts ends with it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.serving.started import LAST_WORDS, START_SECONDS, driptune_up

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


def until_events_are_consumed(home: Path) -> None:
    """Wait until the daemon has noted how far it has read the events, which it does not know at its first start."""
    deadline = time.monotonic() + START_SECONDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        instance = dg.DagsterInstance.get()
        while not instance.daemon_cursor_storage.get_cursor_values({"EVENT_LOG_CONSUMER_CURSOR-PIPELINE_FAILURE"}):
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.fixture
def listening_to_signals() -> Iterator[None]:
    """What is started under nohup or in the background of a script ignores these signals, and so do its children."""
    former = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGINT, signal.SIGHUP)}
    yield
    for one, handler in former.items():
        signal.signal(one, handler)


@pytest.mark.usefixtures("listening_to_signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_end_all_without_a_word(tmp_path: Path, how: signal.Signals) -> None:
    with driptune_up({**ENVIRONMENT, "DRIPTUNE_DATA_DIR": str(tmp_path / "data")}, tmp_path) as server:
        started = children(server.process.pid)
        told = (tmp_path / "up.log").read_text()
        server.process.send_signal(how)
        assert server.process.wait(60) == 0
    assert not [one for one in started if is_alive(one)]
    assert (tmp_path / "up.log").read_text() == told


def test_a_service_manager_ends_the_daemon_too_and_its_ordinary_course_is_not_told(tmp_path: Path) -> None:
    with driptune_up({**ENVIRONMENT, "DRIPTUNE_DATA_DIR": str(tmp_path / "data")}, tmp_path) as server:
        started = children(server.process.pid)
        assert any(b"dagster-daemon" in (one / "cmdline").read_bytes() for one in started)
        until_events_are_consumed(tmp_path / "data" / "dagster_home")
        assert LAST_WORDS in (tmp_path / "up.log").read_text()
        assert "No cursor for event type" not in (tmp_path / "up.log").read_text()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert not [one for one in started if is_alive(one)]
