"""The series that is out of line: its picture, and the table below it in people's words."""

import html
import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.reports.pages.site import file_name, write_pages
from tests.reports.pages.numbers import unfounded
from tests.worlds.published import ADDRESS, TONIGHT, account, row

RATE = {"metric": "prompt_human_click_rate", "metric_kind": "rate", "numerator": 24, "denominator": 120, "value": 0.2}
COUNT = {"metric": "sent", "metric_kind": "volume", "numerator": 120, "denominator": None, "value": 120.0}


@pytest.mark.parametrize(
    ("series", "header", "cells"),
    [(RATE, ["day", "clicks", "of", "rate", "expected from", "to", "marked"], ["24", "120", "20.0%", "10.0%", "15.0%"]),
     (COUNT, ["day", "messages", "expected from", "to", "marked"], ["120", "12", "18"])],
)  # fmt: skip
def test_the_table_says_what_each_column_is_and_has_none_that_is_empty(
    tmp_path: Path, series: dict[str, object], header: list[str], cells: list[str]
) -> None:
    ends = {"expected_value_low": 0.1, "expected_value_high": 0.15} if series is RATE else {}
    ends = ends or {"expected_value_low": 12.0, "expected_value_high": 18.0}
    days = [
        row("metric_trends", workflow_id="welcome", step_id="hello", day=TONIGHT - timedelta(days=ago),
            change_marker="anomaly" if not ago else None, **series, **ends)
        for ago in (1, 0)
    ]  # fmt: skip
    tables = account([("welcome", "Welcome")]) | {"metric_trends": pl.concat(days)}
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
    [section] = re.findall(r'<section id="trend".*?</section>', text, re.DOTALL)
    assert re.findall(r"<th [^>]*>(.*?)</th>", section) == header
    last = [html.unescape(one) for one in re.findall(r"<td[^>]*><bdi>(.*?)</bdi>", section)][-len(header) :]
    assert last == [f"{TONIGHT}", *cells, "anomaly"]
    noun = header[1]
    assert f"hello: 1 day of {noun} marked" in section
    assert unfounded(text, tables, "welcome") == []
