"""Tests of a workflow's steps and what they say."""

from dataclasses import replace

import polars as pl

from pipeline.charts.choices import largest_test
from pipeline.charts.figures import experiment_chart
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Section


def learnings(rows: pl.DataFrame) -> Section | None:
    """What was learnt, the latest first, and where else it could be tried.

    Args:
        rows: rows of `learnings`, of one workflow or of the whole account.
    """
    if rows.is_empty():
        return None
    table = [
        [
            Cell(row["question"]),
            Cell(f"{row['workflow_id']}/{row['step_id']}" if row["step_id"] else row["workflow_id"] or "several"),
            Cell(row["metric"]),
            cells.lift(row, "lift"),
            Cell(row["outcome"]),
            Cell(row["could_try"] or "nowhere alike"),
        ]
        for row in rows.sort("day", "source_id", descending=[True, False]).iter_rows(named=True)
    ]
    header = ("question", "held at", "outcome of", "result (95%)", "verdict", "could be tested at")
    words = (
        "Finished tests, and applied changes whose effect is known. What held at one step is no promise at another: "
        "plan a test there."
    )
    return Section("learnings", "What was learnt", words, header, table, source="learnings")


def holdout(rows: pl.DataFrame) -> Section | None:
    """Attributed revenue beside what the hold-out shows that was really added.

    Args:
        rows: rows of `holdouts`, of one workflow or of the whole account.
    """
    defined = rows.filter(pl.col("holdout_id").is_not_null())
    if defined.is_empty():
        return None
    table = [
        [
            Cell(row["holdout_id"]),
            cells.number(row["subscribers"]),
            cells.number(row["held_out"]),
            cells.money(row, "attributed_revenue_amount"),
            cells.money(row, "incremental_revenue_amount"),
            Cell(row["status"]),
        ]
        for row in defined.iter_rows(named=True)
    ]
    header = ("hold-out", "people", "held out", "attributed", "really added (95%)", "status")
    words = (
        "What people bought in all, against as many people who are held out. Attribution also credits what would have "
        "come anyway. The interval holds on all mornings, so look as often as you like."
    )
    return Section("holdout", "What it really adds", words, header, table, source="holdouts")


def tests(flow: Flow, tables: Tables) -> Section | None:
    """The verdict of every test, and the lift of the largest test night by night."""
    verdicts = flow.rows("experiment_verdicts")
    if verdicts.is_empty():
        return None
    mine = pl.col("experiment_id").is_in(verdicts["experiment_id"].implode())
    looks = largest_test(tables["experiment_results"].filter(mine))
    table = [
        [
            Cell(row["experiment_id"]),
            Cell(row["verdict"]),
            cells.lift(row, "lift"),
            cells.lift(row, "shrunk_lift"),
            Cell(row["recommended_action"]),
        ]
        for row in verdicts.iter_rows(named=True)
    ]
    header = ("test", "verdict", "measured", "to be expected", "what to do")
    words = (
        "Every night looks at every test, and the intervals hold however often one looks. What is to be expected of a "
        "winner is less than was measured, because measured winners promise more than they keep."
    )
    chart = experiment_chart(looks)
    if chart:
        last = looks.sort("as_of_day").row(-1, named=True)
        words = (
            f"{last['experiment_id']}: {last['metric']} of each arm against the control by night; "
            f"{last['exposures']:,} people exposed by {last['as_of_day']}. {words}"
        )
    figure = chart and replace(chart, label=words)
    return Section("tests", "Tests", words, header, table, figure, "experiment_verdicts", is_open=True)
