"""The smallest share of what `make torture` does, in every run of the tests."""

import html
import os
import signal
from pathlib import Path

from tests.acceptance.torture.nights.account import NIGHTS, write_events
from tests.acceptance.torture.nights.faults import EVENTS, Chooser, Fault, drawn, events_broken
from tests.acceptance.torture.suites.decisions import killed_writers
from tests.acceptance.torture.suites.texts.canaries import TOKEN, planted
from tests.acceptance.torture.suites.texts.injections import NAMES, dangers
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


def test_a_seed_draws_its_faults_and_many_seeds_draw_all_kinds() -> None:
    nights = [drawn(seed, has_disk=True) for seed in range(200)]
    assert nights[7] == drawn(7, has_disk=True)
    assert {len(faults) for faults in nights} == {1, 2, 3, 4, 5}
    assert {fault.place for faults in nights for fault in faults} == {
        *("answer", "events", "disk", "clock", "kill", "command")
    }
    assert {fault.kind for faults in nights for fault in faults if fault.place == "events"} == set(EVENTS)


def test_an_answer_is_broken_once_or_from_then_on() -> None:
    once, stays = (Fault("answer", "503", at=0.5, stays=stays) for stays in (False, True))
    asked = ["/lists", "/reports", "/lists", "/reports", "/reports"]
    for fault, broken in ((once, [3]), (stays, [3, 4])):
        chooser = Chooser([fault], requests=6)
        assert [place for place, path in enumerate(asked) if chooser(path, {}) is not None] == broken


def test_a_broken_event_file_is_whole_again_after_its_night(tmp_path: Path) -> None:
    path = write_events(tmp_path, NIGHTS[0])
    whole = path.read_bytes()
    for kind in EVENTS:
        with events_broken(path, [Fault("events", kind, at=0, stays=False)]):
            assert not path.exists() or path.read_bytes() != whole
        assert path.read_bytes() == whole


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
