"""Who is stuck, and which workflows collided."""

from collections.abc import Callable

import polars as pl

from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.model import Cell, Section


def stuck(rows: pl.DataFrame, step_name: Callable[[str, str], str]) -> Section:
    """Who is stuck, by step and cause.

    Args:
        rows: of `stuck_subscribers`.
        step_name: what people call a step, by workflow and step.
    """
    grouped = rows.group_by("workflow_id", "step_id", "cause").agg(
        people=pl.len(), longest_hours=pl.col("stuck_hours").max()
    )
    table = [
        [Cell(step_name(flow, step)), Cell(cause), cells.number(people), Cell(f"{hours / 24:.0f} days", hours)]
        for flow, step, cause, people, hours in grouped.sort(
            "people", "workflow_id", "step_id", "cause", descending=[True, False, False, False]
        ).rows()
    ]
    people = cells.counted(rows.height, "person is", "people are") if rows.height else "Nobody is"
    words = f"{people} in a step beyond its planned wait and grace tonight."
    header = ("step", "cause", "people", "longest")
    return Section("stuck", "Stuck subscribers", words, header, table, source="stuck_subscribers", is_open=True)


def conflicts(tables: Tables, workflow_id: str | None) -> Section:
    """Workflows that collided in the past month."""
    rows = tables["conflict_replay"]
    names = dict(tables["workflows"].select("workflow_id", "name").iter_rows())
    if workflow_id is not None:
        rows = rows.filter((pl.col("workflow_id") == workflow_id) | (pl.col("prevailing_workflow_id") == workflow_id))
    table = [
        [
            Cell(f"{names[row['workflow_id']]} yields to {names[row['prevailing_workflow_id']]}"),
            Cell(row["description"]),
            cells.number(row["subscribers"]),
            Cell(row["resolution"]),
        ]
        for row in rows.iter_rows(named=True)
    ]
    words = "What collided in the past 30 days." if table else "No collisions in the past 30 days."
    return Section(
        "conflicts", "Conflicts", words, ("pair", "why", "subscribers", "resolution"), table,
        source="conflict_replay", is_open=True,
    )  # fmt: skip
