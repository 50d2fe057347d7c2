"""The smallest share of what `make torture` does, in every run of the tests."""

import html
import os
import signal
from pathlib import Path

from tests.acceptance.torture.suites.canaries import TOKEN, planted
from tests.acceptance.torture.suites.decisions import killed_writers
from tests.acceptance.torture.suites.injections import NAMES, dangers
from tests.acceptance.torture.traces import traces
from tests.acceptance.torture.victims import Death, count_points, in_fork, run_and_kill


def test_who_decides_is_killed_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    acknowledged, lost, broken = killed_writers(f"sqlite:///{tmp_path}/ledger/ledger.sqlite", 4)
    assert acknowledged > 0
    assert (lost, broken) == (0, 0)


def test_a_victim_dies_at_its_point_and_not_before(tmp_path: Path) -> None:
    """The torture's own tools: a kill that did not happen would prove nothing."""

    def renaming() -> None:
        for number in range(3):
            (tmp_path / "new").write_text(str(number))
            (tmp_path / "new").replace(tmp_path / "file")

    assert count_points(renaming)["before replace"] == 3
    assert run_and_kill(renaming, Death(point="before replace", passing=2))
    assert (tmp_path / "file").read_text() == "0"
    assert run_and_kill(renaming, Death(point="after replace", passing=2))
    assert (tmp_path / "file").read_text() == "1"
    assert not run_and_kill(renaming, Death(point="after replace", passing=4))


def test_what_a_fork_could_not_tell_is_an_error() -> None:
    def dying() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    assert in_fork(lambda: "told") == "told"
    assert in_fork(dying) == "error: ended by signal 9"
    assert in_fork(lambda: str(1 / 0)).startswith("error ZeroDivisionError")


def test_the_search_for_people_finds_what_is_planted_in_every_kind_of_file(tmp_path: Path) -> None:
    assert planted(tmp_path / "planted").holds
    assert traces([("clean", b"nobody is named here, canary or not")], TOKEN) == []


def test_the_search_in_pages_finds_what_runs_and_passes_what_is_text() -> None:
    for name in NAMES["HTML"][:2]:
        assert dangers(f"<td>{name}</td>")
        assert dangers(f"<td>{html.escape(name)}</td>") == []
    assert dangers('<a href="javascript:alert(1)">x</a>') == ["a href"]
    assert dangers('<p onclick="x()">x</p>') == ["p onclick"]
    assert dangers('<a href="workflow-a.html">x</a>') == []
