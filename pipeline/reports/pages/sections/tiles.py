"""Headline numbers: each with its interval and denominator, how it changed, and whether it keeps its bound."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import polars as pl

from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.common.rates import HEADLINE_RATES, Bound, Rate
from pipeline.common.time import WINDOW_DAYS
from pipeline.common.words import share
from pipeline.published.reader import Tables
from pipeline.reports import WINDOW
from pipeline.reports.pages import cells
from pipeline.reports.pages.connected import Connected
from pipeline.reports.pages.flow import IS_CAMPAIGN, Flow, as_of
from pipeline.reports.pages.model import Cell, Note, Tile, Tone
from pipeline.schemas.vocabulary import Window

NAMES = {
    "human_click_rate": "clicked by people",
    "conversion_rate": "converted",
    "unsubscribe_rate": "unsubscribed",
    "complaint_rate": "complained",
    "hard_bounce_rate": "bounced hard",
}
ADDED = "revenue really added"
NOT_SEPARATED = "What would have come without this mail is not known, because nobody is kept out of all of it."
COUNTED = {"delivered": "delivered messages", "sent": "messages sent"}
"""What people call the denominators of the headline rates."""


def flow_tiles(flow: Flow, window: Window) -> Iterator[Tile]:
    """Headline numbers of a workflow over a window. What changed is known for four weeks only."""
    found = flow.rows("workflow_metrics").filter(pl.col("window") == window)
    if not found.is_empty():
        place = f"workflow_metrics, window {window}"
        row = found.row(0, named=True)
        changes = flow.rows("metric_changes")
        yield from _tiles(row, changes if window == WINDOW else changes.clear(), place, flow.connected)
        if row["incremental_revenue_amount"] is not None:
            yield _added(row, row["revenue_amount"], place)


def account_tiles(tables: Tables, window: Window) -> Iterator[Tile]:
    """Headline numbers of all workflows together. Their counts add up, because a message belongs to one workflow."""
    total = _summed(tables["workflow_metrics"].filter(pl.col("window") == window))
    changes = tables["metric_changes"].filter(pl.col("workflow_id").is_null() & pl.lit(window == WINDOW))
    place = f"workflow_metrics, window {window}, summed"
    yield from _tiles(total, changes, place, Connected.of(tables))
    if window != WINDOW:
        return
    shown = pl.col("workflow_id").is_null() & pl.col("incremental_revenue_amount").is_not_null()
    for row in tables["holdouts"].filter(shown).iter_rows(named=True):
        yield _added(row, row["attributed_revenue_amount"], f"holdouts, since {row['start_day']}")


def campaign_tiles(tables: Tables, window: Window) -> Iterator[Tile]:
    """Headline numbers of all that was sent once; none where nothing was in the window."""
    campaigns = tables["workflows"].filter(IS_CAMPAIGN).select("workflow_id")
    sent = tables["workflow_metrics"].filter((pl.col("window") == window) & (pl.col("sent") > 0))
    rows = sent.join(campaigns, on="workflow_id")
    if not rows.is_empty():
        place = f"workflow_metrics, window {window}, campaigns summed"
        yield from _tiles(_summed(rows), tables["metric_changes"].clear(), place, Connected.of(tables))


def breaches(shown: Iterable[Tile], place: str, link: str | None = None) -> Iterator[Note]:
    """The rates that are surely over their bound, each as a finding.

    Args:
        shown: the headline numbers of a workflow or of the account.
        place: its name.
        link: its page.
    """
    for tile in shown:
        if tile.bound is not None and tile.guardrail is not None and tile.guardrail.tone == "bad":
            told = f"{place}: {tile.told}, {tile.guardrail.cell.text} ({tile.bound.whose})"
            yield Note(Cell(told, link=link), "bad")


def setbacks(shown: Iterable[Tile], place: str) -> Iterator[Note]:
    """The rates that are surely worse than they were, each as a finding."""
    for tile in shown:
        if tile.change is not None and tile.change.tone == "bad":
            yield Note(Cell(f"{place}: {tile.name} {tile.change.cell.text} against the four weeks before"), "bad")


def windows(tables: Tables, window: Window) -> str:
    """The days that the headline numbers are of."""
    told = f"Rates with 95% intervals are of the messages of the {in_words(window)} to {_day(as_of(tables))}."
    changes = tables["metric_changes"]
    if changes.is_empty() or window != WINDOW:
        return told
    closed: date = changes.item(0, "last_day")
    return f"{told} Changes compare the 28 closed days to {_day(closed)} with the 28 before."


def _summed(rows: pl.DataFrame) -> dict[str, Any]:
    """Several workflows' row of `workflow_metrics` as one, with its rates."""
    counts = list(dict.fromkeys(name for rate in HEADLINE_RATES for name in rate[1:3]))
    added = pl.col("sent", "revenue_amount", *(name for name in counts if name != "sent")).sum()
    total = rows.select(added, pl.col("currency").first())
    rates = (column for rate in HEADLINE_RATES for column in rate_with_interval(*rate[:3]))
    return total.with_columns(*rates).row(0, named=True)


def _tiles(row: Mapping[str, Any], changes: pl.DataFrame, source: str, connected: Connected) -> Iterator[Tile]:
    yield Tile("messages sent", cells.number(row["sent"]), f"{row['delivered']:,} delivered", source)
    changed = {one["metric"]: one for one in changes.iter_rows(named=True)}
    for rate in HEADLINE_RATES:
        # Where nothing is connected that tells of conversions, nothing is said of them.
        if row[rate.name] is not None and (rate.name != "conversion_rate" or connected.conversions):
            yield _tile(row, rate, source, changed.get(rate.name))
    if row["delivered"] and connected.revenue:
        earned = Cell(f"{row['revenue_amount']:,.0f}", row["revenue_amount"])
        is_separated = row.get("incremental_revenue_amount") is not None
        told = "attributed to messages" + ("" if is_separated else f". {NOT_SEPARATED}")
        yield Tile(f"revenue, {row['currency']}", earned, told, source)


def _tile(row: Mapping[str, Any], rate: Rate, source: str, changed: Mapping[str, Any] | None) -> Tile:
    value, low, high = (row[f"{rate.name}{end}"] for end in ("", "_low", "_high"))
    counts = f"{row[rate.numerator]:,} of {row[rate.denominator]:,} {COUNTED[rate.denominator]}"
    return Tile(
        NAMES[rate.name],
        Cell(share(value), value),
        f"{cells.between(low, high).text}; {counts}",
        source,
        _change(changed) if changed else None,
        _guardrail(value, low, high, rate.bound) if rate.bound else None,
        rate.bound,
        f"{share(value, low, high)} {NAMES[rate.name]}",
    )


def _added(row: Mapping[str, Any], attributed: float, source: str) -> Tile:
    """What a flow or all of them really added, beside what is attributed to them."""
    value, low, high = (row[f"incremental_revenue_amount{end}"] for end in ("", "_low", "_high"))
    detail = f"{low:,.0f} to {high:,.0f}; {attributed:,.0f} attributed"
    return Tile(ADDED, Cell(f"{value:,.0f} {row['currency']}", value), detail, source)


def _change(row: Mapping[str, Any]) -> Note:
    if row["rate_difference"] is None:
        return Note(Cell(f"not comparable: {_lacking(row)}"))
    low, high = cells.points(row["rate_difference_low"]), cells.points(row["rate_difference_high"])
    if row["change"] == "no clear change":
        return Note(Cell(f"no clear change ({low} to {high} points)"))
    arrow = "▲" if row["change"] == "up" else "▼"
    tone: Tone = "bad" if row["is_adverse"] else "good"
    told = f"{cells.points(row['rate_difference'])} points {arrow} ({low} to {high})"
    return Note(Cell(told, row["rate_difference"]), tone)


def _lacking(row: Mapping[str, Any]) -> str:
    if not row["previous_denominator"]:
        return "nothing was mailed before"
    return "more than one a message" if row["denominator"] else "all mail of this period is too young"


def _guardrail(value: float, low: float, high: float, bound: Bound) -> Note:
    told = share(bound.warning)
    if high < bound.warning:
        return Note(Cell(f"within the bound of {told}"), "good")
    if low > bound.warning:
        return Note(Cell(f"over the bound of {told}"), "bad")
    side = "within" if value < bound.warning else "over"
    return Note(Cell(f"{side} the bound of {told}, but not surely"), "doubtful")


def in_words(window: Window) -> str:
    """A window as people say it: '28 days'."""
    return f"{WINDOW_DAYS[window]} days"


def _day(day: date) -> str:
    return f"{day.day} {day:%B}"
