"""The pictures that Dagster shows with the description of a table: chart and first rows, drawn at each publication."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from pipeline.charts.choices import telling_transition
from pipeline.charts.drawing import drawn
from pipeline.charts.figures import cohort_chart, realised_chart
from pipeline.charts.picture import with_table
from pipeline.optimizations.record import Record
from pipeline.published.reader import Tables
from pipeline.reports.pages import CHARTS_FOLDER
from pipeline.reports.pages.flow import Flow, flows
from pipeline.reports.pages.model import Cell, Section
from pipeline.reports.pages.sections import cohorts, decisions, timing
from pipeline.reports.pages.sections.performance import funnel, worst_loss

WEEKS_SHOWN = 9
"""More weeks of a cohort make the picture wider than Dagster shows it readably."""


def write_charts(tables: Tables, records: Sequence[Record], folder: Path) -> None:
    """Write the picture of each of these tables that has anything to show, below the folder of the pages."""
    (folder / CHARTS_FOLDER).mkdir()
    for table, make in _CHARTS.items():
        section = make(tables, records)
        if section is not None and section.figure is not None:
            rows = [[cell.text for cell in row] for row in section.rows]
            picture = with_table(drawn(section.figure), section.header, rows)
            (folder / CHARTS_FOLDER / f"{table}.svg").write_text(picture, encoding="utf-8")


def _of(tables: Tables, workflow_id: str | None) -> Flow | None:
    return next((flow for flow in flows(tables) if flow.workflow_id == workflow_id), None)


def _largest(entered: pl.DataFrame) -> str | None:
    """The workflow that most people entered, of rows with `workflow_id` and `entrants`."""
    entrants = entered.group_by("workflow_id").agg(pl.col("entrants").sum())
    ranked = entrants.sort("entrants", "workflow_id", descending=[True, False])["workflow_id"]
    return next(iter(ranked.to_list()), None)


def _funnel(tables: Tables, records: Sequence[Record]) -> Section | None:
    """The funnel of the workflow with the biggest avoidable loss, else of the one that most people entered."""
    worst = worst_loss(tables["bottlenecks"])
    flow = _of(tables, worst["workflow_id"] if worst else _largest(tables["funnel"]))
    return funnel(flow) if flow else None


def _delays(tables: Tables, records: Sequence[Record]) -> Section | None:
    """Conversion by delay where the delays differ most surely."""
    telling = telling_transition(tables["delay_curves"])
    flow = None if telling.is_empty() else _of(tables, telling.item(0, "workflow_id"))
    return timing.delays(flow) if flow else None


def _cohorts(tables: Tables, records: Sequence[Record]) -> Section | None:
    """The latest cohorts by signup of the workflow that most people entered."""
    by_signup = tables["cohort_triangles"].filter(pl.col("cohort_type") == "signup_date", pl.col("age_weeks") == 0)
    flow = _of(tables, _largest(by_signup))
    found = cohorts.triangle(flow) if flow else None
    if flow is None or found is None or found.grid is None:
        return None
    figure = cohort_chart(flow.rows("cohort_triangles"))
    shades = {name: [shade.cell for shade in line[:WEEKS_SHOWN]] for name, line in found.grid.rows}
    header = (found.grid.corner, *found.grid.columns[:WEEKS_SHOWN])
    return replace(found, figure=figure, header=header, rows=[[Cell(name), *line] for name, line in shades.items()])


def _realised(tables: Tables, records: Sequence[Record]) -> Section | None:
    """The change that most people have, night by night, and what every decided change promised and brought."""
    found = decisions.decided(records, tables["realised_lift"])
    shown = [found.header.index(column) for column in ("decision", "status", "promised", "brought")]
    return replace(
        found,
        figure=realised_chart(tables["realised_lift"]),
        header=[found.header[place] for place in shown],
        rows=[[row[place] for place in shown] for row in found.rows],
    )


_CHARTS: Mapping[str, Callable[[Tables, Sequence[Record]], Section | None]] = {
    "funnel": _funnel,
    "delay_curves": _delays,
    "cohort_triangles": _cohorts,
    "realised_lift": _realised,
}
CHARTED = frozenset(_CHARTS)
"""The tables that have a picture."""
