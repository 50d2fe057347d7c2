"""Who can be mailed: nobody else is in a plan, a decision, or a count of who would get something."""

import polars as pl

from pipeline.schemas.lake import MAILABLE


def only_mailable(rows: pl.DataFrame, subscribers: pl.LazyFrame) -> pl.DataFrame:
    """The rows about people whom a flow can mail.

    Args:
        rows: any rows with `subscriber_key`.
        subscribers: rows of `core.subscribers`.
    """
    mailable = subscribers.filter(pl.col("status").is_in(MAILABLE)).select("subscriber_key").collect()
    return rows.join(mailable, on="subscriber_key", how="semi", maintain_order="left")
