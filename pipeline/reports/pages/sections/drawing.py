"""The drawing of a workflow: its steps from top to bottom, what their mail did, and who was lost on the way."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from pipeline.common.words import share
from pipeline.reports.pages import cells
from pipeline.reports.pages.connected import Connected
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Edge, Node, Section, Tone
from pipeline.reports.pages.sections.findings import standing
from pipeline.reports.pages.sections.tiles import in_words
from pipeline.schemas.vocabulary import Window

FEW_ENTRANTS = 30
"""Of fewer people it is told how many were lost, and no share."""


def drawing(flow: Flow, title: str | None, window: Window) -> Section | None:
    """Every step with its subject and what its mail did, below the steps that lead to it.

    Args:
        flow: the workflow.
        title: what the drawing shows above all, if that is known.
        window: the days of the mail.
    """
    steps = {row["step_id"]: row for row in flow.rows("steps").sort("position", "step_id").iter_rows(named=True)}
    known = pl.col("from_step_id").is_in(list(steps)) & pl.col("to_step_id").is_in(list(steps))
    transitions = flow.rows("funnel").filter(known).sort("from_step_id", "to_step_id").to_dicts()
    if not transitions:
        return None
    metrics = flow.rows("step_metrics").filter((pl.col("window") == window) & (pl.col("delivered") > 0))
    mail = {row["step_id"]: row for row in metrics.iter_rows(named=True)}
    alarmed = set(standing(flow.rows("anomalies"))["step_id"])
    layers = _layers(list(steps), [(row["from_step_id"], row["to_step_id"]) for row in transitions])

    def node(step_id: str, above: Sequence[str]) -> Node:
        step = steps[step_id]
        ways = [row for row in transitions if row["to_step_id"] == step_id]
        edges = [_edge(flow, row, is_named=above != [row["from_step_id"]]) for row in ways]
        tone: Tone = "bad" if step_id in alarmed else "doubtful" if step["status"] == "paused" else ""
        # A subject that is the step's name stands above already.
        told = ("" if step["subject"] == step["name"] else step["subject"], step["preview"])
        subject = " · ".join(one for one in told if one)
        status = "" if step["status"] == "active" else step["status"].replace("_", " ")
        return Node(flow.step_name(step_id), subject, status, edges, _facts(mail.get(step_id), flow.connected), tone)

    nodes = [[node(step_id, above) for step_id in layer] for above, layer in pairwise([[], *layers])]
    since = transitions[0]["first_day"]
    words = (
        f"Mail of the last {in_words(window)}, and transitions since {since}. Times are medians. Point at a rate to "
        "see its interval; the tables below have it, too."
    )
    source = f"steps, funnel, step_metrics, window {window}"
    return Section("flow", title or "The flow", words, layers=nodes, source=source)


def _layers(order: Sequence[str], transitions: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The steps in layers, each below all steps that lead to it. What leads back, in a loop, places nothing.

    Args:
        order: the steps in the order of their positions.
        transitions: pairs of steps, from and to.
    """
    place = {step: number for number, step in enumerate(order)}
    depth = dict.fromkeys(order, 0)
    for start, end in sorted(transitions, key=lambda pair: place[pair[0]]):
        if place[end] > place[start]:
            depth[end] = max(depth[end], depth[start] + 1)
    return [[step for step in order if depth[step] == level] for level in range(max(depth.values()) + 1)]


def _edge(flow: Flow, row: Mapping[str, Any], *, is_named: bool) -> Edge:
    start = f"from {flow.step_name(row['from_step_id'])}" if is_named else ""
    if row["drop_off_rate"] is None:
        return Edge(start, None, cells.number(row["waiting"]), Cell("nobody followed to the end yet"), "")
    between = cells.between(row["drop_off_rate_low"], row["drop_off_rate_high"]).text
    took = cells.hours(row["median_hours"]) if row["median_hours"] is not None else None
    told = share(row["drop_off_rate"])
    if row["entrants"] < FEW_ENTRANTS:
        told = f"{round(row['drop_off_rate'] * row['entrants']):,} of {row['entrants']:,}"
    lost = Cell(f"{told} lost", row["drop_off_rate"])
    return Edge(start, took, cells.number(row["waiting"]), lost, f"{between} of {row['entrants']:,} entrants")


def _facts(row: Mapping[str, Any] | None, connected: Connected) -> list[tuple[str, Cell, str]]:
    """What became of a step's mail: the name, the value and its interval. What nothing is known of is left out."""
    if row is None:
        return []
    facts = [("delivered", cells.number(row["delivered"]), "")]
    rates = [("clicked", "human_click_rate")] + ([("converted", "conversion_rate")] if connected.conversions else [])
    for name, rate in rates:
        if row[rate] is not None:
            interval = cells.between(row[f"{rate}_low"], row[f"{rate}_high"]).text
            facts.append((name, Cell(share(row[rate]), row[rate]), interval))
    if connected.revenue:
        facts.append(("revenue", cells.money(row, "revenue_amount"), "attributed"))
    return facts
