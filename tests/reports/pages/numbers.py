"""Whether the numbers of a page are those of the marts that are named beside them."""

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import polars as pl
from polars import selectors

from pipeline.common.rates import HEADLINE_RATES

_SECTION = re.compile(r'<section id="([^"]*)" data-source="([^"]*)"(.*?)</section>', re.DOTALL)
_RAW = re.compile(r'data-raw="([^"]*)"')
_SOURCE = re.compile(r'data-source="([^"]*)"')
_TILES = re.compile(r'<dl class="tiles">(.*?)</dl>', re.DOTALL)


def unfounded(page: str, tables: Mapping[str, pl.DataFrame], workflow_id: str | None) -> list[tuple[str, float]]:
    """Section and value of every number that no row of its marts holds, of the workflow or of the whole account."""
    places = [
        ("tiles", f"{html.unescape(_SOURCE.findall(tiles)[0])}, metric_changes, holdouts", tiles)
        for tiles in _TILES.findall(page)
    ]
    places += [(anchor, html.unescape(source), text) for anchor, source, text in _SECTION.findall(page)]
    found = []
    campaigns = tables["workflows"].filter(pl.col("kind") == "campaign")["workflow_id"].to_list()
    for anchor, source, text in places:
        known = {
            value for name in tables if name in source for value in _values(name, tables[name], source, workflow_id)
        }
        if workflow_id is None and "workflow_metrics" in source:
            sent_once = tables["workflow_metrics"].filter(pl.col("workflow_id").is_in(campaigns))
            known.update(_values("workflow_metrics", sent_once, source, None))
        if workflow_id is None and "step_metrics_daily" in source:
            known.update(_weekly(tables["step_metrics_daily"].filter(pl.col("workflow_id").is_in(campaigns)), None))
        found += [(anchor, float(raw)) for raw in _RAW.findall(text) if float(raw) not in known]
    return found


def _values(name: str, table: pl.DataFrame, source: str, workflow_id: str | None) -> Iterator[float]:
    rows = table
    if "window" in table.columns and (window := re.search(r"window (\w+)", source)):
        rows = rows.filter(pl.col("window") == window[1])
    if "workflow_id" in table.columns and workflow_id is not None:
        prevails = (
            pl.col("prevailing_workflow_id") == workflow_id if "prevailing_workflow_id" in table.columns else False
        )
        rows = rows.filter((pl.col("workflow_id") == workflow_id) | prevails)
    elif name in ("engagement_hours", "frequency_pressure", "holdouts"):
        rows = rows.filter(pl.col("workflow_id").is_null())
    yield from (float(value) for column in rows.select(selectors.numeric()) for value in column.drop_nulls())
    if name == "step_metrics_daily":
        places = ("step_id",) if workflow_id else ("workflow_id", None)
        yield from (value for place in places for value in _weekly(rows, place))
    if name == "journeys":
        told = (value for text in rows["steps"] for step in json.loads(text) for value in step.values())
        yield from (float(value) for value in told if isinstance(value, int | float))
    if name == "stuck_subscribers":
        yield from map(float, rows.group_by("workflow_id", "step_id", "cause").len()["len"])
    if name == "delay_curves":
        yield from rows["ratio_to_current"].drop_nulls() - 1
    if name == "workflow_metrics" and workflow_id is None:
        total = rows.select((selectors.integer() | selectors.decimal()).sum()).row(0, named=True)
        yield from map(float, total.values())
        yield from (total[rate.numerator] / max(total[rate.denominator], 1) for rate in HEADLINE_RATES)


def _weekly(days: pl.DataFrame, place: str | None) -> Iterator[float]:
    """Counts and click rates of every week, of each place or of all together."""
    sums: defaultdict[tuple[str, date], list[int]] = defaultdict(lambda: [0, 0, 0])
    named = days.with_columns(place=pl.col(place) if place else pl.lit("all"))
    for where, day, *counts in named.select("place", "day", "sent", "delivered", "unique_human_clicks").rows():
        week = sums[where, day - timedelta(days=day.weekday())]
        week[:] = [before + more for before, more in zip(week, counts, strict=True)]
    yield from (float(value) for week in sums.values() for value in (*week, 0))
    yield from (clicks / delivered for _, delivered, clicks in sums.values() if delivered)
