"""The journey behind a workflow, as Mailchimp tells it: its steps with those who wait, its versions, its oddities."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.common.words import counted
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Section

MOST_VERSIONS = 8
"""Versions of a journey that a page shows, the latest ones."""
_NAMED = {"tag_added": "the tag", "event": "the event"}
_TRIGGERS = {"api": "a program that lets people in"}


def steps(flow: Flow) -> Section | None:
    """The steps of the journey in their order, with how many people wait at each and have passed it.

    What starts it is told in words above them.
    """
    current = flow.rows("journeys").filter("is_current")
    if current.is_empty():
        return None
    row = current.row(0, named=True)
    names = dict(flow.rows("steps").drop_nulls("campaign_id").select("campaign_id", "name").iter_rows())
    table = [
        [
            Cell(names.get(step["campaign_id"]) or step["step_kind"]),
            Cell(step["status"]),
            cells.hours(step["delay_hours"]) if step["step_kind"] == "delay" else Cell(""),
            cells.number(step["queue_count"]),
            cells.number(step["completed"]),
        ]
        for step in json.loads(row["steps"])
        if step["step_kind"] != "trigger"
    ]
    header = ("step", "status", "wait", "waiting now", "have passed")
    return Section("journey", "The flow in Mailchimp", _in_words(row), header, table, source="journeys")


def changes(flow: Flow) -> Section | None:
    """What was changed in Mailchimp, the latest first; none where nothing was."""
    versions = flow.rows("journeys").filter(pl.col("changes") != "").sort("first_day", descending=True)
    if versions.is_empty():
        return None
    shown = versions.head(MOST_VERSIONS)
    table = [[Cell(str(day)), Cell(what)] for day, what in shown.select("first_day", "changes").iter_rows()]
    words = "Each change makes a version of the flow from the night on that found it."
    return Section("journey-changes", "What was changed", words, ("night", "change"), table, source="journeys")


def findings(flow: Flow) -> Section | None:
    """What is probably not meant in the journey; none where nothing was found."""
    rows = flow.rows("journey_lint")
    if rows.is_empty():
        return None
    table = [
        [Cell(row["finding"]), cells.number(row["people"]), Cell(row["detail"])]
        for row in rows.sort("people", "finding", descending=[True, False], nulls_last=True).iter_rows(named=True)
    ]
    words = "Found by comparing the steps of the flow with each other and with flows.yaml."
    title = counted(rows.height, "thing is probably not meant", "things are probably not meant")
    header = ("finding", "people", "in words")
    return Section("journey-lint", title, words, header, table, source="journey_lint", is_open=True)


def _in_words(row: Mapping[str, Any]) -> str:
    started = " or ".join(map(_trigger, row["trigger"].split(" or "))) if row["trigger"] else "nothing that is told"
    told = [f"Status: {row['status'] or 'not told'}.", f"Started by: {started}."]
    counts = [
        f"{row[name]:,} {words}"
        for name, words in (("started", "started"), ("in_progress", "are in it"), ("completed", "completed"))
        if row[name] is not None
    ]
    told += [f"{', '.join(counts)}."] if counts else []
    if row["can_reenter"] is not None:
        told.append(f"People may enter {'more than once' if row['can_reenter'] else 'once'}.")
    if row["has_exit_condition"] is not None:
        told.append(f"{'A' if row['has_exit_condition'] else 'No'} condition takes people out before the end.")
    return " ".join(told)


def _trigger(told: str) -> str:
    """A trigger as people say it: "the tag 'vip'" for 'tag_added: vip', 'abandoned cart' for 'abandoned_cart'."""
    kind, _, name = told.partition(": ")
    if name:
        return f"{_NAMED.get(kind, kind.replace('_', ' '))} '{name}'"
    return _TRIGGERS.get(kind, kind.replace("_", " "))
