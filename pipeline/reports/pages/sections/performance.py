"""How a workflow performs: its funnel, its course over time, and its steps side by side."""

from dataclasses import replace
from typing import Any

import polars as pl

from pipeline.charts.choices import telling_series
from pipeline.charts.figures import TREND_DAYS, funnel_chart, trend_chart
from pipeline.common.words import counted, metric_noun, share
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Section
from pipeline.reports.pages.sections.tiles import NAMES, in_words
from pipeline.schemas.vocabulary import Window

MOST_LINKS = 8
"""Links of a step that a page shows."""


def funnel(flow: Flow) -> Section:
    """Drop-off between the steps, and what the biggest avoidable loss costs."""
    position = dict(flow.rows("steps").select("step_id", "position").iter_rows())
    rows = flow.rows("funnel").with_columns(
        transition=pl.struct("from_step_id", "to_step_id").map_elements(flow.transition, return_dtype=pl.String),
        _place=pl.col("from_step_id").replace_strict(position, default=None, return_dtype=pl.Int64),
    )
    rows = rows.sort("_place", "to_step_id")
    title, won = "What became of the people who entered each step", _gain(flow)
    since = "" if rows.is_empty() else f"Entries since {rows.item(0, 'first_day')}. "
    words = f"{since}{won}Those who wait inside the planned delay, or reached the goal, are not counted as lost."
    counts = ("entrants", "advanced", "goal_exits", "waiting", "lost")
    table = [
        [
            Cell(row["transition"]),
            *(cells.number(row[name]) for name in counts),
            cells.rate(row, "drop_off_rate"),
            cells.hours(row["median_hours"]),
        ]
        for row in rows.iter_rows(named=True)
    ]
    header = ("transition", "entered", "went on", "goal", "waiting", "lost", "drop-off (95%)", "median time")
    chart = funnel_chart(rows)
    figure = chart and replace(chart, label=f"{title}. {words}")
    return Section("funnel", title, words, header, table, figure, "funnel, bottlenecks")


def most_lost(flow: Flow) -> Cell:
    """The way on which most people of a workflow are lost, with their share; empty where nobody is known to be lost."""
    known = flow.rows("funnel").filter(pl.col("drop_off_rate").is_not_null() & (pl.col("lost") > 0))
    ranked = known.sort("lost", "from_step_id", "to_step_id", descending=[True, False, False])
    if ranked.is_empty():
        return Cell("")
    row = ranked.row(0, named=True)
    return Cell(f"{flow.transition(row)}: {share(row['drop_off_rate'])}", row["drop_off_rate"])


def loss(flow: Flow) -> str | None:
    """The biggest avoidable loss as a title; none where no transition loses more than it must."""
    row = worst_loss(flow.rows("bottlenecks"))
    if row is None:
        return None
    return f"Most is lost on the way {flow.transition(row)}: {cells.rate(row, 'drop_off_rate').text}"


def _gain(flow: Flow) -> str:
    """What a usual drop-off would have saved at the biggest avoidable loss."""
    row = worst_loss(flow.rows("bottlenecks"))
    if row is None:
        return ""
    low, high = (f"{row[f'avoidable_loss{end}']:,.0f}" for end in ("_low", "_high"))
    unit: str = row["loss_unit"]
    saved = counted(round(row["avoidable_loss"]), f"more {unit.removesuffix('s')}", f"more {unit}")
    usual = (
        f"With the drop-off of the account's other transitions, {share(row['benchmark_rate'])}, {flow.transition(row)}"
    )
    return f"{usual} would have brought {saved} ({low} to {high}). "


def worst_loss(bottlenecks: pl.DataFrame) -> dict[str, Any] | None:
    """The row of `bottlenecks` with the biggest avoidable loss; none where no transition loses more than it must."""
    ranked = bottlenecks.filter((pl.col("status") == "ok") & (pl.col("avoidable_loss") >= 1)).sort("rank")
    return None if ranked.is_empty() else ranked.row(0, named=True)


def trend(flow: Flow) -> Section | None:
    """The series that changed last with its expected band; none where no day of it is out of line."""
    recent = telling_series(flow.rows("metric_trends")).sort("day").tail(TREND_DAYS)
    changed = recent["change_marker"].count()
    chart = trend_chart(recent) if changed else None
    if chart is None:
        return None
    row = recent.row(0, named=True)
    words = (
        f"{flow.step_name(row['step_id'])}: {metric_noun(row['metric'])} by day of sending; "
        f"{counted(changed, 'day is', 'days are')} marked of the last {recent.height}. "
        "The band holds 95 of 100 normal days, and is computed without the day it judges."
    )
    is_rate = row["metric_kind"] == "rate"
    counts = ("numerator", "denominator") if is_rate else ()
    table = [
        [
            Cell(str(line["day"])),
            *(cells.number(line[name]) for name in counts),
            _measured(line["value"], is_rate=is_rate),
            _measured(line["expected_value_low"], is_rate=is_rate),
            _measured(line["expected_value_high"], is_rate=is_rate),
            Cell(line["change_marker"] or ""),
        ]
        for line in recent.iter_rows(named=True)
    ]
    noun = metric_noun(row["metric"])
    header = ("day", *((noun, "of") if is_rate else ()), "rate" if is_rate else noun, "expected from", "to", "marked")
    title = f"{flow.step_name(row['step_id'])}: {counted(changed, 'day', 'days')} of {noun} marked"
    figure = replace(chart, label=words)
    return Section("trend", title, words, header, table, figure, "metric_trends")


def _measured(value: float | None, *, is_rate: bool) -> Cell:
    """A value of a series: a share, or a number a day."""
    if value is None:
        return Cell("")
    return Cell(share(value) if is_rate else f"{value:,.0f}", value)


def links(flow: Flow, window: Window) -> Section | None:
    """The links of each step by the people who clicked them."""
    rows = flow.rows("step_links").filter(pl.col("window") == window)
    if rows.is_empty():
        return None
    place = flow.rows("steps").select("step_id", "position")
    order = ("position", "step_id", "unique_human_clicks", "url")
    rows = rows.join(place, on="step_id", how="left").sort(order, descending=[False, False, True, False])
    table = [
        [
            Cell(flow.step_name(row["step_id"])),
            Cell(row["url"]),
            cells.number(row["unique_human_clicks"]),
            Cell(share(row["click_share"]), row["click_share"]),
            cells.rate(row, "human_click_rate"),
        ]
        for row in rows.group_by("step_id", maintain_order=True).head(MOST_LINKS).iter_rows(named=True)
    ]
    header = ("step", "link", "people who clicked", "share of the step", "of delivered (95%)")
    words = (
        f"{in_words(window)}, the {MOST_LINKS} most clicked links of each step. Who clicks two links counts for both."
    )
    return Section("links", "What people click", words, header, table, source=f"step_links, window {window}")


def industry(rows: pl.DataFrame) -> Section | None:
    """The account's rates beside those of its industry.

    Args:
        rows: the table `industry`.
    """
    if rows.is_empty():
        return None
    table = [
        [
            Cell(NAMES.get(row["metric"], row["metric"].replace("_", " "))),
            cells.rate(row, "account_rate"),
            Cell(share(row["industry_rate"]), row["industry_rate"]),
            Cell(row["comparison"]),
        ]
        for row in rows.iter_rows(named=True)
    ]
    kind = rows.item(0, "industry_type")
    words = (
        f"90 days beside Mailchimp's average for the industry '{kind}'. Machines are counted on both sides. Mailchimp "
        "does not say whose mail the average is made of."
    )
    header = ("rate", "your account (95%)", "industry", "your account is")
    return Section("industry", "Beside your industry", words, header, table, source="industry")


def steps(flow: Flow, window: Window) -> Section:
    """The steps side by side."""
    rows = flow.rows("step_metrics").filter((pl.col("window") == window) & (pl.col("delivered") > 0))
    place = flow.rows("steps").select("step_id", "position")
    rows = rows.join(place, on="step_id", how="left").sort("position", "step_id")
    connected = flow.connected
    outcomes = ("conversion_rate",) if connected.conversions else ()
    rates = ("human_click_rate", *outcomes, "unsubscribe_rate", "complaint_rate")
    table = [
        [
            Cell(flow.step_name(row["step_id"])),
            cells.number(row["delivered"]),
            cells.between(row["human_open_rate_low"], row["human_open_rate_high"]),
            *(cells.rate(row, name) for name in rates),
            *([cells.money(row, "revenue_amount")] if connected.revenue else []),
        ]
        for row in rows.iter_rows(named=True)
    ]
    header = ("step", "delivered", "human opens (bounds)", *(NAMES[name] for name in rates))
    header = (*header, "attributed revenue") if connected.revenue else header
    bounds = "Not every open can be ascribed to a machine or a person, so opens are given as two bounds."
    words = f"{in_words(window)}. {bounds}" if table else f"Nothing was sent in {in_words(window)}."
    return Section("steps", "Step by step", words, header, table, source=f"step_metrics, window {window}", is_open=True)
