"""What is not counted yet, who is stuck, and which workflows collided."""

from collections.abc import Callable

import polars as pl

from pipeline.analysis.performance.announced import METRIC
from pipeline.common.words import counted
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.model import Cell, Section


def feeds(reconciliation: pl.DataFrame) -> Section | None:
    """Whose activity feeds are not read; none if all are.

    Args:
        reconciliation: rows of `reconciliation`, of the whole account or of one workflow.
    """
    waiting = reconciliation.filter(pl.col("reason").str.starts_with("feeds not read yet")).sort(
        pl.col("metric") != METRIC["feeds"], "difference"
    )
    if waiting.height:
        reason = waiting["reason"][0]
        words = (
            "Until the feed of a person is read, nobody knows when they were sent what. Their messages and steps count "
        )
        words += "nowhere until then: totals are too low, and rates are those of the people who were read."
        return Section("feeds", reason.capitalize(), words, source="reconciliation", tone="doubtful")
    declined = reconciliation.filter((pl.col("metric") == METRIC["feeds"]) & (pl.col("reason") != "equal"))
    if declined.is_empty():
        return None
    words = f"{declined['reason'][0]}. Days, hours and waits of messages that went out by themselves are guesses."
    title = "Times of sending are computed from signup and delays"
    return Section("feeds", title, words, source="reconciliation", tone="doubtful")


def stuck(rows: pl.DataFrame, step_name: Callable[[str, str], str]) -> Section:
    """The people who are stuck, by step and cause.

    Args:
        rows: rows of `stuck_subscribers`.
        step_name: the name of a step, given its workflow and its id.
    """
    place = ["workflow_id", "step_id", "cause"]
    groups = rows.group_by(place).agg(people=pl.len(), longest_hours=pl.col("stuck_hours").max())
    groups = groups.sort("people", *place, descending=[True, False, False, False])
    table = [
        [Cell(step_name(flow, step)), Cell(cause), cells.number(people), cells.hours(hours)]
        for flow, step, cause, people, hours in groups.rows()
    ]
    people = counted(rows.height, "person is", "people are") if rows.height else "Nobody is"
    words = "In a step tonight for longer than its planned wait and the time of grace."
    header = ("step", "cause", "people", "longest")
    return Section("stuck", f"{people} stuck", words, header, table, source="stuck_subscribers", is_open=True)


def conflicts(tables: Tables, workflow_id: str | None) -> Section:
    """Workflows that collided in the past month: all of them, or those that collided with one."""
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
    pairs = counted(len(table), "pair", "pairs") + " of workflows" if table else "No workflows"
    title, words = f"{pairs} collided", "The past 30 days."
    header = ("pair", "why", "subscribers", "resolution")
    return Section("conflicts", title, words, header, table, source="conflict_replay", is_open=True)
