"""People: who can be mailed, and blocks of them, because work done person by person holds one block at a time.

Nobody who cannot be mailed is in a plan, a decision, or a count of who would get something.
"""

import polars as pl

from pipeline.schemas.lake import MAILABLE

PEOPLE_AT_ONCE = 100_000
"""People of a block. Send times take four kilobytes for each; with fewer, tables are read more often."""


def only_mailable(rows: pl.DataFrame, subscribers: pl.LazyFrame) -> pl.DataFrame:
    """The rows about people whom a flow can mail.

    Args:
        rows: any rows with `subscriber_key`.
        subscribers: rows of `core.subscribers`.
    """
    mailable = subscribers.filter(pl.col("status").is_in(MAILABLE)).select("subscriber_key").collect()
    return rows.join(mailable, on="subscriber_key", how="semi", maintain_order="left")


def blocks_of_people(subscribers: pl.LazyFrame) -> list[pl.Expr]:
    """Conditions on `subscriber_key` of which every key fulfils one. The keys rise from block to block.

    Args:
        subscribers: one row per person. Keys that it does not have belong to a block, too.

    >>> len(blocks_of_people(pl.LazyFrame({"subscriber_key": range(250_000)})))
    3
    """
    keys = subscribers.select(pl.col("subscriber_key").sort()).collect()["subscriber_key"]
    edges = keys.gather_every(PEOPLE_AT_ONCE)[1:].to_list()
    key = pl.col("subscriber_key")
    starts = [pl.lit(True), *(key >= edge for edge in edges)]
    ends = [*(key < edge for edge in edges), pl.lit(True)]
    return [start & end for start, end in zip(starts, ends, strict=True)]
