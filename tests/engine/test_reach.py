"""Which files of the lake a window reads."""

from pipeline.engine.reach import in_reach
from pipeline.engine.views import Files, Footer, LakeFile
from pipeline.engine.windows import EVERYTHING, Window


def files(*told: tuple[int, int]) -> Files:
    """Files by their day and the night that told their rows."""
    return {
        LakeFile("sends", day, f"{day}-{night}", 1, 1): Footer(frozenset({"as_of_day"}), night, night)
        for day, night in told
    }


def read(found: Files) -> set[str]:
    return {file.path for file in found}


def test_a_night_reads_its_own_day_and_later_versions_of_its_messages() -> None:
    lake = files((1, 1), (2, 2), (3, 3), (1, 4))
    assert read(in_reach(lake, "core.sends", "sends", Window(3, 3))) == {"3-3", "1-4"}
    assert read(in_reach(lake, "core.sends", "sends", Window(1, 1))) == {"1-1", "1-4", "2-2", "3-3"}


def test_days_told_in_one_night_are_versions_of_each_other_only_if_they_are_later() -> None:
    lake = files((1, 9), (2, 9), (3, 9))
    assert read(in_reach(lake, "core.sends", "sends", Window(2, 2))) == {"2-9", "3-9"}


def test_engagements_are_read_from_a_month_before_the_sending_on() -> None:
    lake = files((60, 60), (69, 69), (70, 70), (100, 100), (101, 101))
    assert read(in_reach(lake, "core.engagements", "email_activity", Window(100, 100))) == {
        "70-70",
        "100-100",
        "101-101",
    }


def test_a_queue_is_read_of_its_last_night_only() -> None:
    lake = files((1, 1), (2, 2))
    assert read(in_reach(lake, "core.arrivals", "automation_queue", Window(1, 1))) == {"2-2"}
    assert in_reach({}, "core.arrivals", "automation_queue", EVERYTHING) == {}


def test_what_has_no_reach_is_read_whole() -> None:
    lake = files((1, 1), (2, 2))
    assert in_reach(lake, "core.departures", "removed_subscribers", Window(2, 2)) == lake
    assert in_reach(lake, "core.sends", "sends", EVERYTHING) == lake
