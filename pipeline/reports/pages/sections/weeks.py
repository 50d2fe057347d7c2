"""A flow and the account week by week: what was sent, and how many people clicked it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.charts.weeks import Week, weeks_chart
from pipeline.common.words import counted, share
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import IS_CAMPAIGN, Flow, Names, as_of
from pipeline.reports.pages.model import Cell, Section, Small, Tone
from pipeline.reports.pages.sections.findings import day, standing

SHOWN_WEEKS = 26
ANCHOR = "weeks"
MOST_FLOWS = 8
"""Flows that have a chart of their own on the account page: those that sent most. Every flow's page has its steps."""
COUNTS = ("sent", "delivered", "unique_human_clicks")


def by_week(flow: Flow) -> Section | None:
    """A small chart for each step that sent anything lately, in the order of the steps."""
    sums = weekly(flow.rows("step_metrics_daily"), "step_id", flow.tonight)
    alarmed = set(standing(flow.rows("anomalies"))["step_id"])
    listed = flow.rows("steps").sort("position", "step_id")["step_id"]
    return _section("step", [(step, flow.step_name(step), step in alarmed) for step in listed], sums)


def account_by_week(tables: Tables, names: Names) -> Section | None:
    """A small chart for the whole account, one for each of the flows that sent most, and one for all campaigns."""
    daily = tables["step_metrics_daily"]
    kinds = tables["workflows"].select("workflow_id", is_campaign=IS_CAMPAIGN)
    placed = daily.join(kinds, on="workflow_id", how="left").with_columns(
        place=pl.when("is_campaign").then(pl.lit("campaigns")).otherwise(pl.format("flow {}", "workflow_id"))
    )
    everything = placed.with_columns(place=pl.lit("account"))
    sums = weekly(pl.concat([everything, placed]), "place", as_of(tables))
    if sums.is_empty():
        return None
    sent = sums.group_by("place").agg(pl.col("sent").sum()).sort("sent", "place", descending=[True, False])
    parts = [place for place in sent["place"] if place != "account"]
    flows = [part.removeprefix("flow ") for part in parts if part != "campaigns"]
    alarmed = set(standing(tables["anomalies"])["workflow_id"])
    # Where all is of one flow, or of campaigns alone, the account is the same once more.
    listed = [("account", names.place(None), None in alarmed)] if len(parts) > 1 else []
    listed += [(f"flow {flow}", names.place(flow), flow in alarmed) for flow in flows[:MOST_FLOWS]]
    return _section("flow", [*listed, ("campaigns", "Campaigns", False)], sums)


def _section(what: str, listed: Iterable[tuple[str, str, bool]], sums: pl.DataFrame) -> Section | None:
    """The charts of what is listed by id, name, and whether an alarm stands; without what sent nothing."""
    if sums.is_empty():
        return None
    tonight: date = sums["last_day"].max()  # type: ignore[assignment]
    smalls, table = [], []
    for place, name, is_alarmed in listed:
        if rows := sums.filter(pl.col("place") == place).to_dicts():
            smalls.append(_small(name, rows, "bad" if is_alarmed else "", tonight))
            table += [[Cell(name), *_cells(row)] for row in reversed(rows)]
    words = (
        f"The last {SHOWN_WEEKS} weeks, Monday to Sunday. Bars: messages sent. Line: the share of delivered messages "
        "that people clicked. Each chart has a scale of its own. Pale: the week is not over, or its rates still move."
    )
    header = (what, "week from", "sent", "delivered", "clicked by people", "rate")
    return Section(ANCHOR, "Week by week", words, header, table, source="step_metrics_daily", smalls=smalls)


def weekly(daily: pl.DataFrame, by: str, tonight: date) -> pl.DataFrame:
    """The counts of each place and week, the earliest first, with `rate`, `is_over`, `is_closed` and `last_day`.

    Args:
        daily: rows of `step_metrics_daily`. A day on which a step sent nothing may have no row.
        by: the column that says to which place a row belongs.
        tonight: the last day that is known, whether or not anything was sent on it.
    """
    if daily.is_empty():
        return daily
    first = tonight - timedelta(days=tonight.weekday(), weeks=SHOWN_WEEKS - 1)
    week = pl.col("day").dt.truncate("1w").alias("week")
    sums = (
        daily.filter(pl.col("day") >= first)
        .group_by(pl.col(by).alias("place"), week)
        .agg(pl.col(*COUNTS).sum(), is_closed=pl.col("is_mature").all())
        .filter(pl.col("sent").sum().over("place") > 0)
    )
    # A week in which a place sent nothing is shown as such, up to tonight: that it stopped is the news.
    weeks = pl.DataFrame({"week": pl.date_range(first, tonight, "1w", eager=True)})
    begun = sums.group_by("place").agg(begun=pl.col("week").min())
    grid = begun.join(weeks, how="cross").filter(pl.col("week") >= pl.col("begun")).drop("begun")
    return (
        grid.join(sums, on=["place", "week"], how="left")
        .with_columns(pl.col(*COUNTS).fill_null(0), is_over=pl.col("week") + timedelta(days=6) <= tonight)
        .with_columns(
            is_closed=pl.col("is_closed").fill_null(True) & pl.col("is_over"),
            rate=pl.when(pl.col("delivered") > 0).then(pl.col("unique_human_clicks") / pl.col("delivered")),
            last_day=pl.lit(tonight),
        )
        .sort("place", "week")
    )


def _small(name: str, rows: Sequence[Mapping[str, Any]], tone: Tone, tonight: date) -> Small:
    weeks = [Week(row["sent"], row["rate"], _told(row, tonight), row["is_closed"]) for row in rows]
    known = [row for row in rows if row["is_closed"]] or rows
    last = known[-1]
    words = f"last full week: {_rate(last)}"
    return Small(name, words, weeks_chart(weeks, f"{name}, {len(weeks)} weeks. {_told(last, tonight)}"), tone)


def _told(row: Mapping[str, Any], tonight: date) -> str:
    open_yet = "" if row["is_closed"] else "; its rates still move" if row["is_over"] else "; the week is not over"
    sent = counted(row["sent"], "message", "messages")
    return f"Week from {day(row['week'], tonight)}: {sent} sent, {_rate(row)}{open_yet}"


def _rate(row: Mapping[str, Any]) -> str:
    if row["rate"] is None:
        return "nothing sent" if not row["sent"] else "none delivered"
    return f"{share(row['rate'])} clicked ({row['unique_human_clicks']:,} of {row['delivered']:,})"


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    rate = Cell("" if row["rate"] is None else share(row["rate"]), row["rate"])
    return [Cell(str(row["week"])), *(cells.number(row[name]) for name in COUNTS), rate]
