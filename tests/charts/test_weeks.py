"""The small chart of a step: every week tells its numbers, and nothing in it can run or reach outside."""

import re
from xml.etree import ElementTree

from pipeline.charts.weeks import Week, weeks_chart

WICKED = '<script>alert("x")</script>'


def bars(svg: str) -> list[float]:
    return [float(one) for one in re.findall(r'class="sent[^"]*"[^>]*height="([\d.]+)"', svg)]


def dots(svg: str) -> list[float]:
    return [float(one) for one in re.findall(r'<circle[^>]*cy="([\d.]+)"', svg)]


def test_bars_grow_with_what_was_sent_and_the_line_rises_with_the_rate() -> None:
    svg = weeks_chart([Week(100, 0.1, "first", True), Week(400, 0.3, "second", True)], "Tips")
    low, high = bars(svg)
    assert high / low == 4
    assert dots(svg)[0] > dots(svg)[1]
    assert svg.count("<polyline") == 1


def test_each_week_tells_its_numbers_at_its_bar_and_at_its_point() -> None:
    weeks = [Week(10, 0.1, "ten sent", True), Week(0, None, "nothing sent", True), Week(5, 0.2, "five sent", False)]
    root = ElementTree.fromstring(weeks_chart(weeks, "Tips, 3 weeks"))
    assert root.get("aria-label") == "Tips, 3 weeks"
    titles = [title.text for title in root.iter("title")]
    assert [titles.count(week.words) for week in weeks] == [2, 1, 2]


def test_a_week_without_mail_is_no_rate_of_zero() -> None:
    svg = weeks_chart([Week(10, 0.1, "a", True), Week(0, None, "b", True)], "Tips")
    assert len(dots(svg)) == 1
    assert "<polyline" not in svg


def test_names_are_text_and_no_style_is_inline() -> None:
    svg = weeks_chart([Week(1, 0.5, WICKED, True)], WICKED)
    assert "<script" not in svg
    assert "style=" not in svg
    assert ElementTree.fromstring(svg).get("aria-label") == WICKED


def test_a_step_without_weeks_is_an_empty_picture() -> None:
    assert bars(weeks_chart([], "Nothing")) == []
