"""Profiles: one wide row per subscriber with everything that rules and policies may read, as known tonight.

Here are the fields, their meaning, and how they are computed.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from pipeline.common.quoting import json_field
from pipeline.common.time import DAY_US, end_of_day_us, is_recent

WINDOW_DAYS = 90
FIELDS: dict[str, tuple[pl.DataType | type[pl.DataType], str]] = {
    "status": (pl.String, "Mailchimp's status of the member"),
    "plan": (pl.String, "latest subscription plan"),
    "country": (pl.String, "country of the member, ISO 3166"),
    "language": (pl.String, "language of the member"),
    "zone": (pl.String, "IANA time zone of the subscriber's local time"),
    "member_rating": (pl.Int64, "Mailchimp's rating of the member's activity, 1-5"),
    "signup_at": (pl.Datetime("us"), "time of the signup, UTC"),
    "days_since_signup": (pl.Int64, "whole days since the signup"),
    "sends_90d": (pl.Int64, "messages of the last 90 days that did not bounce"),
    "human_opens_90d": (pl.Int64, "those of `sends_90d` that a person opened"),
    "human_clicks_90d": (pl.Int64, "those of `sends_90d` that a person clicked"),
    "last_sent_at": (pl.Datetime("us"), "time of the latest message, UTC"),
    "last_open_at": (pl.Datetime("us"), "latest time at which a person opened a message for the first time, UTC"),
    "last_click_at": (pl.Datetime("us"), "latest time at which a person clicked a message for the first time, UTC"),
    "purchases": (pl.Int64, "number of orders"),
    "purchase_amount": (pl.Float64, "net revenue of the orders, in the workspace's currency"),
    "first_purchase_at": (pl.Datetime("us"), "time of the first order, UTC"),
    "last_purchase_at": (pl.Datetime("us"), "time of the latest order, UTC"),
    "behaviour_events_90d": (pl.Int64, "entries, visits and orders of the last 90 days"),
    "active_workflows": (pl.Int64, "workflows that the subscriber is in tonight"),
}
"""All fields but two groups: `merge.NAME` (a merge field, as text) and `in_workflow.ID` (the subscriber is in it)."""

FEATURES = (
    "days_since_signup",
    "sends_90d",
    "human_opens_90d",
    "human_clicks_90d",
    "purchases",
    "behaviour_events_90d",
)
"""What policies learn from: what a subscriber did, and nothing about who they are."""


def subscriber_profiles(
    subscribers: pl.DataFrame,
    messages: pl.LazyFrame,
    conversions: pl.LazyFrame,
    subscriber_hours: pl.LazyFrame,
    stays: pl.DataFrame,
    *,
    merge_fields: list[str],
    workflow_ids: list[str],
    as_of: date,
) -> pl.DataFrame:
    """The profile of every subscriber.

    Args:
        subscribers: `core.subscribers`.
        messages: `core.messages`.
        conversions: `core.conversions`.
        subscriber_hours: `reductions.subscriber_hours`.
        stays: `memberships.stays` of tonight.
        merge_fields: merge fields that `merge` has a field for.
        workflow_ids: workflows that `in_workflow` has a field for.
        as_of: tonight.

    Returns:
        One row per subscriber: `subscriber_key`, `FIELDS`, `merge` and `in_workflow`, sorted by subscriber. A time is
        null if it never came, a count is then 0, and what is not known is null.
    """
    recent, now = is_recent(as_of, WINDOW_DAYS), end_of_day_us(as_of)
    delivered = recent & pl.col("bounce_kind").is_null()
    mail = messages.group_by("subscriber_key").agg(
        delivered.sum().cast(pl.Int64).alias("sends_90d"),
        (delivered & (pl.col("human_opens") > 0)).sum().cast(pl.Int64).alias("human_opens_90d"),
        (delivered & (pl.col("human_clicks") > 0)).sum().cast(pl.Int64).alias("human_clicks_90d"),
        _latest("sent_us", now).alias("last_sent_at"),
        _latest("first_human_open_us", now).alias("last_open_at"),
        _latest("first_human_click_us", now).alias("last_click_at"),
    )
    orders = (
        conversions.filter(pl.col("is_order") & (pl.col("occurred_us") < now))
        .group_by("subscriber_key")
        .agg(
            pl.len().cast(pl.Int64).alias("purchases"),
            (pl.col("net_cents").sum() / 100).alias("purchase_amount"),
            _instant("occurred_us").max().alias("last_purchase_at"),
        )
    )
    behaviour = (
        subscriber_hours.filter(recent)
        .group_by("subscriber_key")
        .agg(pl.col("behaviour_events").sum().alias("behaviour_events_90d"))
    )
    inside = (
        stays.filter(pl.col("exited_day").is_null())
        .group_by("subscriber_key")
        .agg(
            pl.col("workflow_id").n_unique().cast(pl.Int64).alias("active_workflows"),
            pl.struct((pl.col("workflow_id") == name).any().alias(name) for name in workflow_ids).alias("in_workflow")
            if workflow_ids
            else pl.lit(None).alias("in_workflow"),
        )
    )
    frame = subscribers.with_columns(
        _instant("signup_us").alias("signup_at"),
        ((now - pl.col("signup_us")) // DAY_US).alias("days_since_signup"),
        pl.when(pl.col("first_purchase_us") < now).then(_instant("first_purchase_us")).alias("first_purchase_at"),
        pl.col("country_code").alias("country"),
        _merge_fields(subscribers["merge_fields"], merge_fields),
    )
    for part in (mail.collect(), orders.collect(), behaviour.collect(), inside):
        frame = frame.join(part, on="subscriber_key", how="left")
    counts = ("sends_90d", "human_opens_90d", "human_clicks_90d", "purchases", "behaviour_events_90d")
    return (
        frame.with_columns(
            pl.col(*counts, "active_workflows").fill_null(0),
            pl.col("purchase_amount").fill_null(0.0),
            pl.struct(pl.col("in_workflow").struct.field(name).fill_null(False) for name in workflow_ids).alias(
                "in_workflow"
            )
            if workflow_ids
            else pl.lit(None).alias("in_workflow"),
        )
        .select(
            "subscriber_key", *(pl.col(name).cast(kind) for name, (kind, _) in FIELDS.items()), "merge", "in_workflow"
        )
        .sort("subscriber_key")
    )


def to_text(profiles: pl.DataFrame) -> pl.Series:
    """Each profile as one JSON object, for the log. `from_text` reads it back."""
    return profiles.select(pl.struct(pl.all()).struct.json_encode().alias("profile")).to_series()


def from_text(texts: list[str]) -> pl.DataFrame:
    """Logged profiles, with the types that rules expect."""
    return profile_frame([json.loads(text) for text in texts])


def profile_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Profiles from mappings of fields, as a real-time caller has them. Times are datetimes (UTC) or ISO text.

    A field that is missing is null. A field that `FIELDS` does not have is ignored.
    """
    schema: dict[str, Any] = {"subscriber_key": pl.Int64, **{name: kind for name, (kind, _) in FIELDS.items()}}
    instants = [name for name, kind in schema.items() if kind == pl.Datetime("us")]
    raw = {name: pl.String if name in instants else kind for name, kind in schema.items()}
    for group, kind in (("merge", pl.String), ("in_workflow", pl.Boolean)):
        names = sorted({name for row in rows for name in row.get(group) or {}})
        raw[group] = pl.Struct(dict.fromkeys(names, kind)) if names else pl.Null
    plain = [{name: _written(row.get(name), name in instants) for name in raw} for row in rows]
    frame = pl.DataFrame(plain, schema=raw)
    return frame.with_columns(pl.col(name).str.to_datetime(time_unit="us") for name in instants)


def _written(value: Any, is_instant: bool) -> Any:
    return str(value) if is_instant and value is not None else value


def _instant(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Datetime("us"))


def _latest(name: str, now: int) -> pl.Expr:
    """The latest moment up to now. What is known of the morning after would hide what came before."""
    return _instant(name).filter(pl.col(name) < now).max()


def merge_field_names(subscribers: pl.LazyFrame) -> list[str]:
    """Names of the merge fields that some members have, from `core.subscribers`."""
    told = pl.col("merge_fields")
    alike = told.str.extract_all(_NAME).list.join("").alias("names")
    texts = subscribers.select(told.drop_nulls()).with_columns(alike).unique("names", keep="any").collect()
    return sorted({name for text in texts["merge_fields"] for name in json.loads(text)})


def profile_schema(merge_fields: Sequence[str], workflow_ids: Sequence[str]) -> pl.Schema:
    """Columns and types of `subscriber_profiles`, which are what rules can ask for."""
    merge = pl.Struct(dict.fromkeys(merge_fields, pl.String)) if merge_fields else pl.Null
    in_workflow = pl.Struct(dict.fromkeys(workflow_ids, pl.Boolean)) if workflow_ids else pl.Null
    fields = {name: kind for name, (kind, _) in FIELDS.items()}
    return pl.Schema({"subscriber_key": pl.Int64, **fields, "merge": merge, "in_workflow": in_workflow})


def _merge_fields(texts: pl.Series, names: list[str]) -> pl.Series:
    """Merge fields as text, each a field of one struct."""
    if not names:
        return pl.Series("merge", [None] * len(texts), dtype=pl.Null)
    parts = texts.to_frame("text").select(json_field(pl.col("text"), name).alias(name) for name in names)
    return parts.select(pl.struct(pl.all()).alias("merge")).to_series()


_NAME = r'"(?:[^"\\]|\\.)*": '
"""A name in a JSON object. Members of one audience have the same ones, so of those alike one is read."""
