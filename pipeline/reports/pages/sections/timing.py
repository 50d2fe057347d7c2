"""When to send and how long to wait."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from pipeline.charts.choices import marked_delays, telling_transition
from pipeline.charts.figures import delay_chart
from pipeline.common.words import share
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Grid, Section, Shade

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

LEAST_SPREAD = 0.005
"""Hours whose shrunk rates are nearer to each other than that make no picture."""


def hours(rows: pl.DataFrame) -> Section | None:
    """Clicks by people, by local weekday and hour of sending, shrunk towards the rate of all hours.

    Args:
        rows: rows of `engagement_hours`, of one workflow or of the whole account.
    """
    told = rows.filter(~pl.col("is_thin"))
    if told.is_empty():
        return None
    depth = cells.depth_of(told["shrunk_click_rate"])
    found = {(row["local_weekday"], row["local_hour"]): row for row in rows.iter_rows(named=True)}
    best = told.sort("shrunk_click_rate", "delivered").row(-1, named=True)
    clicks, delivered = (int(rows[name].sum()) for name in ("unique_human_clicks", "delivered"))
    middle = f"{share(clicks / delivered)} ({clicks:,} of {delivered:,})"
    hour = f"{WEEKDAYS[best['local_weekday']]} from {best['local_hour']}:00"
    title = f"Clicked most: what is sent on {hour}"
    highest = f"Highest: {hour}, {cells.rate(best, 'shrunk_click_rate').text}"
    shrunk = told["shrunk_click_rate"]
    is_flat = shrunk.max() - shrunk.min() < LEAST_SPREAD  # type: ignore[operator]
    if is_flat:
        title, highest = "No hour stands out", "No hour differs from the others by more than chance does"
    elif 2 * told.height < rows.height:
        title, highest = "When mail is clicked", "Most hours have too little mail to tell"
    words = (
        "Share of delivered mail that people clicked, by local weekday and hour of sending, since "
        f"{best['first_day']}. Each is shrunk towards the rate of all, {middle}. {highest}. "
        "The hours differ in the mail they send as well, so these numbers describe and are no advice."
    )
    lines = [
        (day[:3], [_hour(found.get((number, hour)), depth) for hour in range(24)])
        for number, day in enumerate(WEEKDAYS)
    ]
    key = "A deeper colour means more clicks. Hatched: too little mail to tell. Empty: nothing was sent."
    table = [
        [
            Cell(WEEKDAYS[row["local_weekday"]]),
            Cell(f"{row['local_hour']}:00"),
            cells.number(row["unique_human_clicks"]),
            cells.number(row["delivered"]),
            cells.rate(row, "human_click_rate"),
            cells.rate(row, "shrunk_click_rate"),
        ]
        for row in found.values()
    ]
    header = ("day", "hour", "clicked", "delivered", "counted (95%)", "shrunk (95%)")
    grid = None if is_flat else Grid("hour", [str(hour) for hour in range(24)], lines, key)
    return Section("hours", title, words, header, table, source="engagement_hours", grid=grid)


def pressure(rows: pl.DataFrame) -> Section | None:
    """What came of the next message after few or many messages in a week.

    Args:
        rows: rows of `frequency_pressure`, of one workflow or of the whole account.
    """
    week = rows.filter(pl.col("period") == "7d").sort("messages_from")
    if week.is_empty():
        return None
    first = week.row(0, named=True)
    words = (
        f"Messages from {first['first_day']} to {first['last_day']}, by the number of messages that the person had got "
        "in the 7 days before. 'Expected' is what the rates of the same steps would give, however many came before. "
        "People with much mail differ from those with little, so these numbers describe and are no advice."
    )
    table = [
        [
            Cell(_class(row), row["messages_from"]),
            cells.number(row["delivered"]),
            cells.rate(row, "human_click_rate"),
            Cell(share(row["expected_human_click_rate"]), row["expected_human_click_rate"]),
            cells.rate(row, "unsubscribe_rate"),
            Cell(share(row["expected_unsubscribe_rate"]), row["expected_unsubscribe_rate"]),
        ]
        for row in week.iter_rows(named=True)
    ]
    header = ("messages before", "delivered", "clicked (95%)", "expected", "unsubscribed (95%)", "expected")
    return Section("pressure", "After few or many messages", words, header, table, source="frequency_pressure")


def _class(row: Mapping[str, Any]) -> str:
    start, end = row["messages_from"], row["messages_to"]
    return f"{start} or more" if end is None else f"{start}" if start == end else f"{start} to {end}"


def delays(flow: Flow) -> Section | None:
    """Conversion by delay, at the transition whose delays differ most surely."""
    curves = telling_transition(flow.rows("delay_curves")).sort("delay_hours")
    chart = delay_chart(curves)
    if chart is None:
        return None
    first = curves.row(0, named=True)
    words = (
        f"{flow.transition(first)}: conversion by assigned delay, {first['identification']}. "
        "Only delays that were in use are compared; bars are 97.5% intervals."
    )
    table = [
        [
            cells.hours(row["delay_hours"]),
            Cell("now" if row["is_current"] else ""),
            cells.number(row["conversions"]),
            cells.number(row["entrants"]),
            cells.rate(row, "conversion_rate"),
            _against_now(row),
        ]
        for row in curves.iter_rows(named=True)
    ]
    title = _better(marked_delays(curves)) or "How long to wait"
    header = ("delay", "in use", "converted", "entrants", "conversion (97.5%)", "against now")
    return Section("delays", title, words, header, table, replace(chart, label=words), "delay_curves")


def _better(marked: pl.DataFrame) -> str | None:
    """The proposed delay against today's as a title, if one is proposed."""
    proposed, now = marked.filter(pl.col("mark") == "proposed"), marked.filter("is_current")
    if proposed.is_empty() or now.is_empty():
        return None
    best = proposed.row(0, named=True)
    wait, instead = (cells.hours(hours).text for hours in (best["delay_hours"], now.item(0, "delay_hours")))
    return f"Waiting {wait} instead of {instead} converts {_change(best).text}"


def _against_now(row: Mapping[str, Any]) -> Cell:
    """How a delay converts against today's, where the interval tells them apart."""
    if row["is_current"]:
        return Cell("–")
    is_open = row["ratio_to_current_low"] is not None and row["ratio_to_current_low"] < 1 < row["ratio_to_current_high"]
    return Cell("no clear difference") if is_open else _change(row)


def _change(row: Mapping[str, Any]) -> Cell:
    ratios = {f"lift{end}": row[f"ratio_to_current{end}"] for end in ("", "_low", "_high")}
    return cells.lift({name: None if ratio is None else ratio - 1 for name, ratio in ratios.items()}, "lift")


def _hour(row: Mapping[str, Any] | None, depth: Callable[[float | None], int | None]) -> Shade:
    if row is None:
        return Shade(Cell(""))
    cell = Cell(cells.brief_share(row["shrunk_click_rate"]), row["shrunk_click_rate"])
    return Shade(cell, mark="thin") if row["is_thin"] else Shade(cell, depth(row["shrunk_click_rate"]))
