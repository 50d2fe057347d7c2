"""Tests of a workflow's steps and what they say."""

from dataclasses import replace

import polars as pl

from pipeline.charts.choices import largest_test
from pipeline.charts.figures import experiment_chart
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Section


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
