"""The charts that Dagster shows: a picture for each table that has anything to show, anew at each publication."""

import html
from pathlib import Path
from xml.etree import ElementTree

from pipeline.charts.picture import LONGEST_CELL, MOST_ROWS, with_table
from pipeline.reports.pages import CHARTS_FOLDER
from pipeline.reports.pages.charts import CHARTED
from pipeline.reports.pages.site import file_name, write_pages
from tests.worlds.published import ADDRESS, Tables, account

SVG = "{http://www.w3.org/2000/svg}"


def charts(tables: Tables, folder: Path) -> dict[str, str]:
    write_pages(tables, [], folder / "reports", ADDRESS)
    found = (folder / "reports" / CHARTS_FOLDER).iterdir()
    return {file.stem: file.read_text(encoding="utf-8") for file in found}


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_picture_has_the_first_rows_of_its_table_below_the_chart(tmp_path: Path) -> None:
    found = charts(account([("welcome", "Welcome")]), tmp_path)
    told = texts(found["funnel"])
    page = html.unescape((tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8"))
    beneath = told[told.index("transition") :]
    assert beneath[:3] == ["transition", "entered", "went on"]
    assert beneath[-1] != "median time"
    assert [text for text in beneath if text not in page] == []


def test_a_long_table_is_cut_and_what_is_left_out_is_counted() -> None:
    rows = [[f"row {number}", "x" * 100] for number in range(MOST_ROWS + 3)]
    told = texts(with_table('<svg viewBox="0 0 10 10"></svg>', ["name", "value"], rows))
    assert told[-1] == "and 3 more rows"
    assert f"row {MOST_ROWS - 1}" in told
    assert f"row {MOST_ROWS}" not in told
    assert max(map(len, told)) == LONGEST_CELL


def test_a_table_with_something_to_show_has_a_picture_and_no_other_has(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    found = charts(tables, tmp_path)
    assert {"funnel", "delay_curves"} <= found.keys() <= CHARTED
    assert "realised_lift" not in found
    assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in found.values())
    assert "hello → tips" in found["funnel"]
    without = charts({**tables, "funnel": tables["funnel"].clear()}, tmp_path)
    assert without.keys() == found.keys() - {"funnel"}
