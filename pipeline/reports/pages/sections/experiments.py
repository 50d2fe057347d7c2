"""Tests of a workflow's steps and what they say."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.charts.choices import largest_test
from pipeline.charts.figures import experiment_chart
from pipeline.common.words import NOT_KNOWN, counted
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow, Names, names_of_tests
from pipeline.reports.pages.model import Cell, Section
from pipeline.reports.pages.sections.findings import Link
from pipeline.schemas.vocabulary import MetricKind

MOST_IN_TITLE = 2
_LATEST = ("latest_lift", "latest_lift_low", "latest_lift_high")


def learnings(rows: pl.DataFrame, names: Names) -> Section | None:
    """What was learnt, the latest first, and where else it could be tried.

    Args:
        rows: rows of `learnings`, of one workflow or of the whole account.
        names: what people call workflows and steps.
    """
    if rows.is_empty():
        return None
    places = {f"{workflow}/{step}": names.place(workflow, step) for workflow, step in names.steps}
    table = [
        [
            Cell(row["question"]),
            Cell(names.place(row["workflow_id"], row["step_id"])),
            Cell(row["metric"]),
            cells.lift(row, "lift"),
            Cell(row["outcome"]),
            Cell("; ".join(places.get(one, one) for one in (row["could_try"] or "nowhere alike").split(", "))),
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


def arms(flow: Flow, tables: Tables) -> Section | None:
    """Every arm of every test against its control on the last night: how many people, what they did, the difference."""
    mine = pl.col("experiment_id").is_in(flow.rows("experiment_verdicts")["experiment_id"].implode())
    results = tables["experiment_results"].filter(mine)
    last = results.filter(pl.col("as_of_day") == pl.col("as_of_day").max().over("experiment_id"))
    if last.is_empty():
        return None
    names = names_of_tests(flow.rows("experiments"))
    table = [
        [
            Cell(names[row["experiment_id"]]),
            Cell(f"{row['metric'].replace('_', ' ')} ({row['role']})"),
            Cell(row["arm"]),
            cells.number(row["exposures"]),
            _mean(row, "metric_mean"),
            cells.number(row["control_exposures"]),
            _mean(row, "control_metric_mean"),
            cells.lift(row, "lift"),
            Cell("shown" if row["is_significant"] else "not shown"),
            cells.chance(row.get("better_probability")),
        ]
        for row in last.sort("experiment_id", pl.col("role") != "primary", "metric", "arm").iter_rows(named=True)
    ]
    header = ("test", "outcome", "arm", "people", "with it", "people in the control", "in the control",
              "difference (95%, all nights)", "a difference is", "chance that the arm is better")  # fmt: skip
    words = (
        "The last night on which each test was looked at. People count once, when their outcome is complete. The "
        "chance is of this one night: it wanders from night to night, so decide by whether a difference is shown."
    )
    return Section("arms", "Arm against arm", words, header, table, source="experiment_results", is_open=True)


def _mean(row: Mapping[str, Any], name: str) -> Cell:
    """What the people of an arm did on average: a share, or a mean."""
    return cells.rate(row, name) if row["kind"] == MetricKind.RATE else cells.anything(row[name])


def _verdict(verdicts: pl.DataFrame, names: Mapping[str, str]) -> str:
    """What the tests say, in a title: the first decision, or that there is none."""
    decided = verdicts.filter(pl.col("decided_day").is_not_null()).sort("decided_day", descending=True)
    if decided.is_empty():
        return "No test has decided yet"
    row = decided.row(0, named=True)
    return f"{names[row['experiment_id']]}: {_said(row)}"


def tests(flow: Flow, tables: Tables) -> Section | None:
    """The verdict of every test, and the lift of the largest test night by night."""
    verdicts = flow.rows("experiment_verdicts")
    if verdicts.is_empty():
        return None
    mine = pl.col("experiment_id").is_in(verdicts["experiment_id"].implode())
    looks = largest_test(tables["experiment_results"].filter(mine))
    plans = flow.rows("experiments")
    names = names_of_tests(plans)
    until = plans.select("experiment_id", "start_day", "end_day", "planned_days", "is_open_ended")
    table = [
        [
            Cell(names[row["experiment_id"]]),
            Cell(row["verdict"]),
            cells.lift(row, "lift"),
            cells.lift(row, "shrunk_lift"),
            cells.lift(row, "latest_lift"),
            _shares(row),
            Cell("none planned" if (end := _end(row)) is None else end.isoformat()),
            Cell(row["recommended_action"]),
        ]
        for row in verdicts.join(until, on="experiment_id", maintain_order="left").iter_rows(named=True)
    ]
    header = ("test", "verdict", "measured at the verdict", "to be expected", "measured tonight", "shares of the arms",
              "planned until", "what to do")  # fmt: skip
    words = (
        "Every night looks at every test, and the intervals hold however often one looks. What is to be expected of a "
        "winner is less than was measured, because measured winners promise more than they keep."
    )
    chart = experiment_chart(looks)
    if chart:
        last = looks.sort("as_of_day").row(-1, named=True)
        words = (
            f"{names[last['experiment_id']]}: {last['metric']} of each arm against the control by night; "
            f"{last['exposures']:,} people exposed by {last['as_of_day']}. {words}"
        )
    figure = chart and replace(chart, label=words)
    return Section(
        "tests", _verdict(verdicts, names), words, header, table, figure, "experiment_verdicts", is_open=True
    )


def running(tables: Tables, names: Names, link: Link) -> Section | None:
    """Every test with its place and its state; those that run come first."""
    plans = tables["experiments"]
    if plans.is_empty():
        return None
    called = names_of_tests(plans)
    kept = tables["experiment_verdicts"].select("experiment_id", "verdict", "winner_arm", "decided_day", *_LATEST)
    rows = plans.join(kept, on="experiment_id", how="left").sort(
        pl.col("status") != "running", pl.col("status") != "planned", "experiment_id"
    )
    table = [
        [
            Cell(called[row["experiment_id"]]),
            Cell(names.place(row["workflow_id"], row["step_id"]), link=link(row["workflow_id"])),
            Cell(row["status"]),
            cells.lift(row, "latest_lift"),
            Cell(_decided(row)),
        ]
        for row in rows.iter_rows(named=True)
    ]
    now = rows.filter(pl.col("status") == "running").height
    goes_on = f"{counted(now, 'test is', 'tests are')} running" if now else "No test is running"
    latest = rows.drop_nulls("decided_day").sort("decided_day", descending=True).head(MOST_IN_TITLE)
    decided = "; ".join(f"{called[row['experiment_id']]}: {_said(row)}" for row in latest.iter_rows(named=True))
    title = decided or goes_on
    words = f"{goes_on}. Each flow's page has the arms with their counts, intervals and guardrails."
    header = ("test", "at", "status", "difference so far (95%)", "decided")
    source = "experiments, experiment_verdicts"
    return Section("running", title, words, header, table, source=source, is_open=True)


def _shares(row: Mapping[str, Any]) -> Cell:
    """Whether the arms receive the shares that were declared, with the p-value; an older publication does not tell."""
    probability = row.get("mismatch_probability")
    if probability is None:
        return Cell(NOT_KNOWN)
    return Cell(f"{'not ' * row['has_mismatch']}as declared (p = {probability:.2g})", probability)


def _end(row: Mapping[str, Any]) -> date | None:
    """The last night of a test by its plan; none where it has no end."""
    if row["is_open_ended"]:
        return None
    last: date | None = row["end_day"]
    return last or (row["start_day"] + timedelta(days=row["planned_days"]) if row["planned_days"] else None)


def _said(row: Mapping[str, Any]) -> str:
    """The verdict of a test that is decided, in words."""
    return f"arm {row['winner_arm']} won" if row["winner_arm"] else str(row["verdict"])


def _decided(row: Mapping[str, Any]) -> str:
    """When a test was or will be decided, in words."""
    if row["decided_day"] is not None:
        return f"{_said(row)}, on {row['decided_day']}"
    planned: int | None = row["planned_days"]
    if row["status"] == "running":
        if row["is_open_ended"]:
            return "as soon as a difference is sure; no date is planned"
        end = _end(row)
        return f"by {end} at the latest" if end else "no date is planned"
    if row["status"] == "planned":
        takes = f"; {counted(planned, 'day', 'days')} from then on" if planned else ""
        return f"not before its start is approved{takes}" if row["assigned_by"] == "driptune" else f"not begun{takes}"
    return "never" if row["status"].startswith("refused") else "without an answer"
