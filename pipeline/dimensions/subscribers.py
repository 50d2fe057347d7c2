"""The dimension of subscribers, as last known from members, orders and events."""

import polars as pl

from pipeline.common.quoting import json_field
from pipeline.dimensions.zones import resolve_zones
from pipeline.schemas import lake
from pipeline.schemas.base import conform
from pipeline.schemas.core import CoreSubscribers
from pipeline.settings import Settings

# Of a subscriber in several audiences the first of these counts: whether messages can be sent matters most.
STATUS_ORDER = (
    "subscribed",
    "pending",
    "transactional",
    "unsubscribed",
    "cleaned",
    "archived",
    lake.NO_ADDRESS,
    lake.DELETED,
)


def subscribers(members: pl.DataFrame, orders: pl.LazyFrame, events: pl.LazyFrame, settings: Settings) -> pl.DataFrame:
    """One row per subscriber.

    Args:
        members: latest rows of `lake.members`.
        orders: rows of `lake.orders`.
        events: rows of `lake.events`.
        settings: the zone of subscribers without a known one, and the merge field that forms cohorts.

    Returns:
        Rows of `core.subscribers`. `plan` is from the latest event that names one, `first_purchase_us` from the
        earliest order or purchase.
    """
    status_rank = pl.col("status").replace_strict(
        {status: rank for rank, status in enumerate(STATUS_ORDER)}, default=len(STATUS_ORDER), return_dtype=pl.Int64
    )
    people = (
        members.with_columns(_rank=status_rank, _first_signup_us=pl.col("signup_us").min().over("subscriber_key"))
        .sort("_rank", pl.col("last_changed_us").neg(), "audience_id", nulls_last=True)
        .unique("subscriber_key", keep="first", maintain_order=True)
        .with_columns(signup_us=pl.col("_first_signup_us"), cohort_value=_field(settings.cohort_field))
    )
    joined = (
        people.join(resolve_zones(members, settings), on="subscriber_key", how="left")
        .join(first_purchases(orders, events).collect(), on="subscriber_key", how="left")
        .join(latest_plans(events).collect(), on="subscriber_key", how="left")
        .sort("subscriber_key")
    )
    return conform(joined, CoreSubscribers)


def _field(name: str | None) -> pl.Expr:
    """A merge field as text. It is null where the field is empty or missing."""
    if name is None:
        return pl.lit(None, dtype=pl.String)
    held = json_field(pl.col("merge_fields"), name)
    return pl.when(held != "").then(held)


def first_purchases(orders: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    """`subscriber_key` and `first_purchase_us`: the earliest of orders and purchase events."""
    bought = events.filter(pl.col("event_type") == "purchase").select("subscriber_key", at="occurred_us")
    ordered = orders.select("subscriber_key", at="processed_us")
    return pl.concat([bought, ordered]).group_by("subscriber_key").agg(first_purchase_us=pl.col("at").min())


def latest_plans(events: pl.LazyFrame) -> pl.LazyFrame:
    """`subscriber_key` and `plan`, from the latest event that names one."""
    return (
        events.filter(pl.col("plan").is_not_null())
        .sort("occurred_us", "event_id", "as_of_day")
        .group_by("subscriber_key")
        .agg(plan=pl.col("plan").last())
    )
