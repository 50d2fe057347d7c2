"""The charts that Dagster shows: a picture for each table that has anything to show, anew at each publication."""

from pathlib import Path
from xml.etree import ElementTree

from pipeline.reports.pages import CHARTS_FOLDER
from pipeline.reports.pages.charts import CHARTED
from pipeline.reports.pages.site import write_pages
from tests.worlds.published import ADDRESS, Tables, account


def charts(tables: Tables, folder: Path) -> dict[str, str]:
    write_pages(tables, [], folder / "reports", ADDRESS)
    found = (folder / "reports" / CHARTS_FOLDER).iterdir()
    return {file.stem: file.read_text(encoding="utf-8") for file in found}


def test_a_table_with_something_to_show_has_a_picture_and_no_other_has(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    found = charts(tables, tmp_path)
    assert {"funnel", "delay_curves"} <= found.keys() <= CHARTED
    assert "realised_lift" not in found
    assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in found.values())
    assert "hello → tips" in found["funnel"]
    without = charts({**tables, "funnel": tables["funnel"].clear()}, tmp_path)
    assert without.keys() == found.keys() - {"funnel"}
