"""How far what is held of each source agrees with the totals Mailchimp announces, and what went away or failed.

Rows of `marts.reconciliation` beside those of the reports: members of an audience, recipients of a campaign, orders of
a store. Of what went away or could not be read there is a row whatever it is.
"""

from datetime import date

import polars as pl

from pipeline.common.time import day_number, to_date
from pipeline.schemas.base import latest
from pipeline.schemas.lake import DELETED, NO_ADDRESS, Members, Orders, Sources
from pipeline.schemas.vocabulary import SourceKind

# What is counted of each kind of source.
METRIC: dict[SourceKind, str] = {
    "audience": "members",
    "campaign": "recipients",
    "feeds": "feeds",
    "automation": "emails",
    "automation e-mail": "queue",
    "journey list": "journeys",
    "journey": "steps",
    "store": "orders",
    "table": "table",
}
COMPARED = ("audience", "campaign", "feeds", "store")
# What single rows tell of the counts in a campaign's report.
COUNTED_LATER = ("sent", "hard_bounces", "soft_bounces", "unsubscribes", "complaints", "opens", "clicks")
MORE_IS_HELD = {
    "audience": "deleted or changed since",
    "campaign": "deleted members",
    "store": "deleted orders",
}
RENAMED, WITHOUT_ADDRESS, OF_GUESTS = "changed addresses", "members without address", "orders of guests"
UNANNOUNCED, AFTER_TONIGHT = "no total announced", "after tonight"


def collections(
    sources: pl.LazyFrame,
    members: pl.LazyFrame,
    sends: pl.LazyFrame,
    orders: pl.LazyFrame,
    renamed: pl.LazyFrame,
    *,
    forgotten: int,
    as_of: date,
) -> pl.DataFrame:
    """One row per source and metric: `campaign_id` (the id of the source), `metric`, `counted`, `reported`, `reason`.

    Args:
        sources: `lake.sources`, all versions; so are the other tables of the lake.
        members: `lake.members`.
        sends: `lake.sends`.
        orders: `lake.orders`.
        renamed: `lake.renamed`.
        forgotten: how many people were erased here, whom Mailchimp may still count.
        as_of: tonight.

    The reason is the first that applies: `gone since DAY`; `not read since DAY` or `never read`, with the error; that
    feeds were not to be read; `equal`; where more is held than announced, what Mailchimp has dropped (deleted members
    take their rows along there, while history stays here); `after tonight` (so many messages were read that belong to
    later nights); `feeds not read yet: N of M people` (when they were sent what is known once their feeds are read, on
    one of the next nights); `set aside` and `left out` (rows that came and are not held); `forgotten people` (no more
    than were erased here); `announced, never returned` (asked for again on many nights); `unexplained`.
    """
    tonight = day_number(as_of)
    tables = [frame.filter(pl.col("as_of_day") <= tonight) for frame in (sources, members, sends, orders, renamed)]
    known, people, sent, bought, moved = tables
    present = latest(people, Members).filter(pl.col("status") != DELETED)
    counted = pl.concat(
        [
            _count(present, "audience", "audience_id", pl.len()),
            _count(sent, "campaign", "campaign_id", pl.col("subscriber_key").n_unique()),
            _count(bought, "store", "store_id", pl.col("order_id").n_unique()),
        ]
    )
    is_feeds, read = pl.col("kind") == "feeds", (pl.col("announced") - pl.col("unread")).cast(pl.Float64)
    compared = (
        latest(known, Sources)
        .join(counted, on=["kind", "source_id"], how="left")
        .filter(pl.col("kind").is_in(COMPARED) | (pl.col("state") != "read"))
        .with_columns(pl.col("unread").fill_null(0), pl.when(is_feeds).then(read).otherwise("counted").alias("counted"))
        .with_columns(pl.when(pl.col("kind").is_in(COMPARED)).then(pl.col("counted").fill_null(0)).alias("counted"))
        .select(
            pl.col("source_id").alias("campaign_id"),
            pl.col("kind").replace_strict(METRIC, return_dtype=pl.String).alias("metric"),
            "counted",
            pl.col("announced").cast(pl.Float64).alias("reported"),
            _reason(forgotten).alias("reason"),
        )
    )
    without = present.filter(pl.col("status") == NO_ADDRESS)
    guests = latest(bought, Orders).filter(pl.col("subscriber_key").is_null())
    renames = moved.filter((pl.col("as_of_day") == tonight) & (pl.col("address_key") != pl.col("subscriber_key")))
    notes = [
        _note(renames, "audience_id", RENAMED, "known by their first address"),
        _note(without, "audience_id", WITHOUT_ADDRESS, "kept, and reached by no e-mail"),
        _note(guests, "store_id", OF_GUESTS, "kept, and credited to nobody"),
    ]
    return pl.concat([compared, *notes]).collect()


def not_held_yet(sources: pl.LazyFrame, *, as_of: date) -> pl.DataFrame:
    """How much of each count a report may hold already that later nights bring, and whose feeds are not read yet.

    Args:
        sources: `lake.sources`, all versions.
        as_of: tonight.

    Returns:
        One row per campaign with such rows: `campaign_id`, the numbers named by `COUNTED_LATER` of what happened after
        tonight, and `unread`, of how many `people` the time of the message is not known yet.
    """
    counts = pl.col("later").str.json_decode(pl.Struct(dict.fromkeys(COUNTED_LATER, pl.Int64)))
    known = sources.filter((pl.col("as_of_day") <= day_number(as_of)) & (pl.col("kind") == "campaign"))
    return (
        latest(known, Sources)
        .filter(pl.col("later").is_not_null() | (pl.col("unread") > 0))
        .select(
            pl.col("source_id").alias("campaign_id"),
            counts.alias("counts"),
            pl.col("unread").fill_null(0),
            people="announced",
        )
        .unnest("counts")
        .collect()
    )


def _count(rows: pl.LazyFrame, kind: SourceKind, source: str, number: pl.Expr) -> pl.LazyFrame:
    counted = rows.group_by(pl.col(source).alias("source_id")).agg(counted=number.cast(pl.Float64))
    return counted.select(pl.lit(kind).alias("kind"), "source_id", "counted")


def _note(rows: pl.LazyFrame, source: str, metric: str, reason: str) -> pl.LazyFrame:
    """A row per source that has any such rows."""
    return (
        rows.group_by(pl.col(source).alias("campaign_id"))
        .agg(counted=pl.len().cast(pl.Float64))
        .select(
            "campaign_id",
            pl.lit(metric).alias("metric"),
            "counted",
            pl.lit(None, dtype=pl.Float64).alias("reported"),
            pl.lit(reason).alias("reason"),
        )
    )


def _reason(forgotten: int) -> pl.Expr:
    since = to_date("since_day").dt.to_string("%Y-%m-%d")
    missing = pl.col("announced") - pl.col("counted")
    is_feeds = pl.col("kind") == "feeds"
    nights = pl.when(is_feeds).then(pl.format("; {}", "detail")).otherwise(pl.lit(""))
    # Messages of later nights are left out, too, unless a later night has read them already.
    later = pl.col("later").str.json_decode(pl.Struct({"sent": pl.Int64})).struct.field("sent").fill_null(0)
    left_out = pl.max_horizontal("left_out", later)
    named = pl.when(pl.col("name") != "").then(pl.format(" ({})", "name")).otherwise(pl.lit(""))
    return (
        pl.when(pl.col("state").is_in(["unlisted", "gone"]))
        .then(pl.format("gone since {}{}", since, named))
        .when((pl.col("state") == "failed") & pl.col("since_day").is_null())
        .then(pl.format("never read: {}", "detail"))
        .when(pl.col("state") == "failed")
        .then(pl.format("not read since {}: {}", since, "detail"))
        .when(pl.col("announced").is_null())
        .then(pl.lit(UNANNOUNCED))
        .when(is_feeds & (pl.col("unread") == 0) & (pl.col("detail") != ""))
        .then(pl.col("detail"))
        .when(missing == 0)
        .then(pl.lit("equal"))
        .when(missing < 0)
        .then(pl.col("kind").replace_strict(MORE_IS_HELD, default="", return_dtype=pl.String))
        .when((later > 0) & (missing <= later))
        .then(pl.lit(AFTER_TONIGHT))
        .when((pl.col("unread") > 0) & (missing <= pl.col("set_aside") + left_out + pl.col("unread")))
        .then(pl.format("feeds not read yet: {} of {} people{}", "unread", "announced", nights))
        .when((pl.col("set_aside") > 0) & (missing <= pl.col("set_aside") + left_out))
        .then(pl.lit("set aside"))
        .when((left_out > 0) & (missing <= left_out))
        .then(pl.lit("left out"))
        .when(missing <= pl.col("set_aside") + left_out + forgotten)
        .then(pl.lit("forgotten people"))
        .when(pl.col("detail") != "")
        .then(pl.lit("announced, never returned"))
        .otherwise(pl.lit("unexplained"))
    )
