"""Which message an order is credited to, by the two documented rules, worked out from the sample's facts."""

import polars as pl

from pipeline.common.time import DAY_US
from pipeline.sample.account.world import CURRENCY


def credit_people(orders: pl.DataFrame, activity: pl.DataFrame) -> pl.DataFrame:
    """The rule of reports: a person's last click within 5 days, else last open within 1 day.

    Args:
        orders: `order_id`, `subscriber`, `occurred_us`, `currency`, ...
        activity: `campaign_id`, `subscriber`, `action`, `occurred_us`, `link`, `is_person`.

    Returns:
        Orders in the account's currency with the `campaign_id` credited; those of nobody are left out.
    """
    people = activity.filter(pl.col("is_person") & (pl.col("link") != "unsubscribe"))
    clicked = _last_touch(orders, people, "click", 5)
    opened = _last_touch(orders, people, "open", 1)
    return _credited(orders, clicked["campaign_id"].fill_null(opened["campaign_id"]))


def credit_as_mailchimp(orders: pl.DataFrame, activity: pl.DataFrame) -> pl.DataFrame:
    """Mailchimp's rule: the last touch of anybody, machines too, an open within 5 days or a click within 30."""
    clicked = _last_touch(orders, activity, "click", 30)
    opened = _last_touch(orders, activity, "open", 5)
    is_click_later = clicked["touch_us"].fill_null(0) >= opened["touch_us"].fill_null(0)
    return _credited(orders, clicked["campaign_id"].zip_with(is_click_later, opened["campaign_id"]))


def _last_touch(orders: pl.DataFrame, activity: pl.DataFrame, action: str, days: int) -> pl.DataFrame:
    touches = activity.filter(pl.col("action") == action).select(
        "subscriber", "campaign_id", "occurred_us", pl.col("occurred_us").alias("touch_us")
    )
    return (
        orders.with_row_index("order")
        .sort("occurred_us")
        .join_asof(
            touches.sort("occurred_us", "campaign_id"),
            on="occurred_us",
            by="subscriber",
            tolerance=days * DAY_US,
            check_sortedness=False,
        )
        .sort("order")
    )


def _credited(orders: pl.DataFrame, campaign_id: pl.Series) -> pl.DataFrame:
    credited = orders.with_columns(campaign_id=campaign_id)
    return credited.filter(pl.col("campaign_id").is_not_null() & (pl.col("currency") == CURRENCY))
