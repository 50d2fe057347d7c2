"""People in blocks: work that is done person by person holds one block of an account at a time."""

import polars as pl

PEOPLE_AT_ONCE = 250_000
"""People of a block. A kilobyte for each of them is a quarter of a gigabyte; with fewer, tables are read more often."""


def blocks_of_people(subscribers: pl.LazyFrame) -> list[pl.Expr]:
    """Conditions on `subscriber_key` of which every key fulfils one. The keys rise from block to block.

    Args:
        subscribers: one row per person. Keys that it does not have belong to a block, too.

    >>> len(blocks_of_people(pl.LazyFrame({"subscriber_key": range(600_000)})))
    3
    """
    keys = subscribers.select(pl.col("subscriber_key").sort()).collect()["subscriber_key"]
    edges = keys.gather_every(PEOPLE_AT_ONCE)[1:].to_list()
    key = pl.col("subscriber_key")
    starts = [pl.lit(True), *(key >= edge for edge in edges)]
    ends = [*(key < edge for edge in edges), pl.lit(True)]
    return [start & end for start, end in zip(starts, ends, strict=True)]
