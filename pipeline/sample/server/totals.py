"""Totals of campaigns as Mailchimp's reports count them: deleted members and machines included."""

import polars as pl

from pipeline.sample.account.attribution import credit_as_mailchimp
from pipeline.sample.server.shapes import Item
from pipeline.sample.server.view import View

MESSAGE_TOTALS = ("sent", "hard", "soft", "unsubscribes", "complaints")
OPEN_TOTALS = ("opens", "unique_opens", "proxy_opens", "unproxied_openers", "last_open")
CLICK_TOTALS = ("clicks", "unique_clicks", "clickers", "last_click")
SALES_TOTALS = ("orders", "net_cents", "spent_cents")
TOTALS = (*MESSAGE_TOTALS, *OPEN_TOTALS, *CLICK_TOTALS, *SALES_TOTALS)


def totals_by_campaign(view: View) -> dict[str, Item]:
    """Totals by campaign, deleted members and machines included."""
    messages = view.all_messages.group_by("campaign_id").agg(
        pl.len().alias("sent"),
        (pl.col("bounce_kind") == "hard").sum().alias("hard"),
        (pl.col("bounce_kind") == "soft").sum().alias("soft"),
        pl.col("unsubscribed_us").count().alias("unsubscribes"),
        pl.col("complained_us").count().alias("complaints"),
    )
    opened, clicked = pl.col("action") == "open", pl.col("action") == "click"
    person, at = pl.col("subscriber"), pl.col("occurred_us")
    activity = view.all_activity.group_by("campaign_id").agg(
        opened.sum().alias("opens"),
        person.filter(opened).n_unique().alias("unique_opens"),
        (opened & pl.col("is_proxy")).sum().alias("proxy_opens"),
        person.filter(opened & ~pl.col("is_proxy")).n_unique().alias("unproxied_openers"),
        clicked.sum().alias("clicks"),
        pl.struct("subscriber", "link").filter(clicked).n_unique().alias("unique_clicks"),
        person.filter(clicked).n_unique().alias("clickers"),
        at.filter(opened).max().alias("last_open"),
        at.filter(clicked).max().alias("last_click"),
    )
    sales = (
        credit_as_mailchimp(view.orders.filter("is_in_store"), view.all_activity)
        .group_by("campaign_id")
        .agg(
            pl.len().alias("orders"),
            pl.col("net_cents").sum(),
            (pl.col("net_cents") + pl.col("tax_cents") + pl.col("shipping_cents")).sum().alias("spent_cents"),
        )
    )
    joined = messages.join(activity, on="campaign_id", how="left").join(sales, on="campaign_id", how="left")
    rows = joined.to_dicts()
    return {row["campaign_id"]: row for row in rows}
