"""What could be won, in words that name flows and steps."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from pipeline.common.words import METRIC_NOUNS, NOT_KNOWN, share
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Names
from pipeline.reports.pages.model import Cell, Section
from pipeline.reports.pages.sections.findings import Link

MOST_SHOWN = 12
LEAST_GAIN = 0.5
"""Less than half a conversion in four weeks is nothing to look at. What is not known may be much."""
Row = Mapping[str, Any]
_METRICS = re.compile("|".join(rf"\b{name}\b" for name in sorted(METRIC_NOUNS, key=len, reverse=True)))


def opportunities(tables: Tables, names: Names, link: Link) -> Section | None:
    """The first opportunities, each with a link to its workflow's page where it has one."""
    is_worth_a_line = (pl.col("expected_gain") >= LEAST_GAIN) | pl.col("expected_gain").is_null()
    shown = tables["opportunities"].filter(is_worth_a_line).sort("rank").head(MOST_SHOWN)
    if shown.is_empty():
        return None
    ways = {
        **_ways("bottleneck", tables["bottlenecks"], names, _lost),
        **_ways("delay", tables["delay_recommendations"], names, _waited),
    }
    rows = [
        [
            Cell(ways.get(row["opportunity_id"]) or _at_place(row, names)),
            Cell(names.place(row["workflow_id"]), link=link(row["workflow_id"])),
            *_gain(row),
            Cell(row["identification"]),
        ]
        for row in shown.iter_rows(named=True)
    ]
    words = (
        "In four weeks, if all of the difference can be won. Gains overlap, so they do not add up. What is randomised "
        "rests on people who were drawn, what is observational on people who were not. What is not identified needs a "
        "test: nothing in the data tells how much of it can be won."
    )
    header = ("opportunity", "workflow", "gain", "95% interval", "rests on")
    title, (most, where, gain, *_) = "What could be won", rows[0]
    if gain.raw is not None:
        title = f"{where.text}, up to {gain.text} in four weeks. {most.text}"
    return Section("opportunities", title, words, header, rows, source="opportunities", is_open=True)


def _ways(kind: str, rows: pl.DataFrame, names: Names, told: Callable[[Row, str, str], str]) -> dict[str, str]:
    """The words for each row of a table of transitions, by the id of the opportunity that it shows."""
    found = {}
    for row in rows.iter_rows(named=True):
        workflow, start, end = row["workflow_id"], row["from_step_id"], row["to_step_id"]
        steps = [names.place(workflow, step, is_whole=False) for step in (start, end)]
        found[f"{kind}/{workflow}/{start}/{end}"] = told(row, *steps)
    return found


def _lost(row: Row, start: str, end: str) -> str:
    lost, usual = share(row["drop_off_rate"]), share(row["benchmark_rate"])
    return f"Lose fewer people between {start} and {end}: {lost} are lost, elsewhere {usual}"


def _waited(row: Row, start: str, end: str) -> str:
    now, better = (cells.hours(row[f"{name}_delay_hours"]).text for name in ("current", "recommended"))
    if row["recommended_delay_hours"] is None:
        return f"Test another delay than {now} between {start} and {end}"
    does = "Wait" if row["action"] == "change" else "Test to wait"
    return f"{does} {better} instead of {now} between {start} and {end}"


def _at_place(row: Row, names: Names) -> str:
    """What the mart says, with people's words for metrics, at the step's name."""
    said = _METRICS.sub(lambda found: METRIC_NOUNS[found[0]], row["message"]).rstrip(".")
    if row["step_id"] is None:
        return said
    return f"{names.place(row['workflow_id'], row['step_id'], is_whole=False)}: {said[:1].lower()}{said[1:]}"


def _gain(row: Row) -> list[Cell]:
    if row["expected_gain"] is None:
        return [Cell(NOT_KNOWN), Cell("")]
    unit = row["gain_unit"].removesuffix("s") if round(row["expected_gain"]) == 1 else row["gain_unit"]
    gain = Cell(f"{row['expected_gain']:,.0f} {unit}", row["expected_gain"])
    return [gain, Cell(f"{row['expected_gain_low']:,.0f} to {row['expected_gain_high']:,.0f}")]
