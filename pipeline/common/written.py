"""Reading `core.written_values`: which values stand, and which stood when a message was sent."""

from datetime import date

import polars as pl

from pipeline.common.time import end_of_day_us


def standing(written: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The values that stand at the end of a night, one for each means and subscriber.

    Args:
        written: rows of `core.written_values`.
        as_of: tonight.
    """
    end_us = end_of_day_us(as_of)
    is_later = pl.col("until_us").is_null() | (pl.col("until_us") >= end_us)
    return written.filter((pl.col("from_us") < end_us) & is_later)


def stood_when_sent(messages: pl.DataFrame, written: pl.DataFrame) -> pl.DataFrame:
    """The messages with `value`: what stood in the account when the message was sent. Others are left out.

    Args:
        messages: one row per message: `subscriber_key`, `sent_us` and any other columns.
        written: rows of `core.written_values` of one means.
    """
    spans = written.select("subscriber_key", "value", "until_us", sent_us="from_us").sort("sent_us")
    found = messages.sort("sent_us").join_asof(
        spans,
        on="sent_us",
        by="subscriber_key",
        strategy="backward",
        allow_exact_matches=False,
        # Both sides are sorted. Polars cannot check that by group and would warn.
        check_sortedness=False,
    )
    is_later = pl.col("until_us").is_null() | (pl.col("until_us") >= pl.col("sent_us"))
    return found.filter(pl.col("value").is_not_null() & is_later).drop("until_us")
