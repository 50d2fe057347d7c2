"""Mail that was sent once: each campaign with what was sent and what became of it."""

import polars as pl

from pipeline.common.words import counted, share
from pipeline.published.reader import Tables
from pipeline.reports.pages import cells
from pipeline.reports.pages.connected import Connected
from pipeline.reports.pages.flow import IS_CAMPAIGN
from pipeline.reports.pages.model import Cell, Section
from pipeline.reports.pages.sections.tiles import NAMES

WINDOW = "all"
RATES = ("human_click_rate", "conversion_rate", "unsubscribe_rate", "complaint_rate")


def campaigns(tables: Tables, most: int | None = None) -> Section | None:
    """The campaigns, the latest first; none where there is no campaign.

    Args:
        tables: the published tables.
        most: how many to list; all, if it is not given.
    """
    kept = tables["workflows"].filter(IS_CAMPAIGN).select("workflow_id", "name")
    sent = tables["workflow_metrics"].filter((pl.col("window") == WINDOW) & (pl.col("sent") > 0))
    days = tables["step_metrics_daily"].filter(pl.col("sent") > 0).group_by("workflow_id").agg(pl.col("day").min())
    rows = sent.join(kept, on="workflow_id").join(days, on="workflow_id", how="left")
    if rows.is_empty():
        return None
    listed = rows.sort("day", "workflow_id", descending=[True, False]).head(most or rows.height)
    subjects = dict(tables["steps"].select("workflow_id", "subject").iter_rows())
    connected = Connected.of(tables)
    rates = [rate for rate in RATES if rate != "conversion_rate" or connected.conversions]
    table = [
        [
            Cell(row["name"] or row["workflow_id"]),
            Cell(subjects.get(row["workflow_id"]) or ""),
            Cell("" if row["day"] is None else str(row["day"])),
            cells.number(row["delivered"]),
            *(cells.rate(row, rate) for rate in rates),
            *([cells.money(row, "revenue_amount")] if connected.revenue else []),
        ]
        for row in listed.iter_rows(named=True)
    ]
    total = rows.select(pl.col("unique_human_clicks", "delivered").sum()).row(0)
    clicked = f", {share(total[0] / total[1])} clicked by people" if total[1] else ""
    mail = counted(total[1], "message", "messages")
    title = f"{counted(rows.height, 'campaign', 'campaigns')}: {mail} delivered{clicked}"
    header = ("campaign", "subject", "first sent", "delivered", *(NAMES[rate] for rate in rates))
    header = (*header, "attributed revenue") if connected.revenue else header
    latest = f"The latest {most} of them, over all days." if most and most < rows.height else "All days."
    words = f"{latest} Rates are of what was delivered, with their 95% intervals."
    source = f"workflow_metrics, window {WINDOW}, steps, step_metrics_daily"
    return Section("campaigns", title, words, header, table, source=source, is_open=True)
