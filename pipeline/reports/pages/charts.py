"""The charts that Dagster shows with the description of a table: files beside the pages, drawn at each publication."""

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from pipeline.charts.drawing import drawn
from pipeline.charts.figures import cohort_chart, delay_chart, realised_chart
from pipeline.charts.vega import Figure
from pipeline.published.reader import Tables
from pipeline.reports.pages import CHARTS_FOLDER
from pipeline.reports.pages.flow import flows
from pipeline.reports.pages.sections.performance import funnel, worst_loss


def write_charts(tables: Tables, folder: Path) -> None:
    """Write the chart of each of these tables that has anything to show, below the folder of the pages."""
    (folder / CHARTS_FOLDER).mkdir()
    for table, make in _CHARTS.items():
        if figure := make(tables):
            # An image cannot take the colours of the page around it, so it brings its own paper.
            svg = drawn(figure).replace("<svg", '<svg style="background: white"', 1)
            (folder / CHARTS_FOLDER / f"{table}.svg").write_text(svg, encoding="utf-8")


def _funnel(tables: Tables) -> Figure | None:
    """The funnel of the workflow with the biggest avoidable loss, else of the one that most people entered."""
    worst = worst_loss(tables["bottlenecks"])
    entered = tables["funnel"].group_by("workflow_id").agg(pl.col("entrants").sum())
    largest = entered.sort("entrants", "workflow_id", descending=[True, False])["workflow_id"].to_list()
    shown = worst["workflow_id"] if worst else next(iter(largest), None)
    return next((funnel(flow).figure for flow in flows(tables) if flow.workflow_id == shown), None)


_CHARTS: Mapping[str, Callable[[Tables], Figure | None]] = {
    "funnel": _funnel,
    "delay_curves": lambda tables: delay_chart(tables["delay_curves"]),
    "cohort_triangles": lambda tables: cohort_chart(tables["cohort_triangles"]),
    "realised_lift": lambda tables: realised_chart(tables["realised_lift"]),
}
CHARTED = frozenset(_CHARTS)
"""The tables that have a chart."""
