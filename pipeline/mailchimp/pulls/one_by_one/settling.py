"""The time that counts of each message that went out by itself, and who still waits for theirs."""

import polars as pl

from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.plan import feeds_left
from pipeline.mailchimp.pulls.one_by_one.feeds import MESSAGE, PERSON
from pipeline.mailchimp.pulls.one_by_one.planned import with_computed_times
from pipeline.mailchimp.pulls.pulling import Pull
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Recipients


def settle(pull: Pull) -> None:
    """Gives messages whose feed was read, or is not to be read, their time, and notes how many wait."""
    recipients = pull.lake.latest(Recipients).collect()
    known = pull.lake.latest(tables.Sends).select(*MESSAGE, "sent_at_source", known_status="status").collect()
    settled = recipients.filter(pl.col("feed_state") != "awaited").join(known, on=MESSAGE, how="left")
    source, is_told = pl.col("sent_at_source"), pl.col("feed_us").is_not_null()
    is_news = ((source != "feed") & is_told) | ((source == "unread") & (pl.col("feed_state") == "read"))
    fresh = settled.filter(source.is_null() | (source == "campaign") | is_news)
    computed_as = pl.when(pl.col("feed_state") == "read").then(pl.lit("computed")).otherwise(pl.lit("unread"))
    sends = (
        with_computed_times(fresh, pull.lake, pull.settings, pull.end_us)
        .with_columns(
            # What a later reading of the campaign told of a message that has a time stands with that time.
            pl.when(source.is_in(["computed", "unread"])).then("known_status").otherwise("status").alias("status"),
            pl.coalesce("feed_us", "computed_us").alias("sent_us"),
            pl.when(is_told).then(pl.lit("feed")).otherwise(computed_as).alias("sent_at_source"),
        )
        .filter(pl.col("sent_us").is_not_null())
    )
    pull.add(parse.Rows(tables.Sends, sends, []))
    pull.write()
    _note(pull, recipients)


def _note(pull: Pull, recipients: pl.DataFrame) -> None:
    """Notes of each campaign, and of all people together, how many wait for their feed."""
    sends = pull.lake.latest(tables.Sends).select(*MESSAGE, is_kept=pl.lit(True)).collect()
    is_awaited, is_later = pl.col("feed_state") == "awaited", (pl.col("feed_us") > pull.end_us).fill_null(False)
    counts = (
        recipients.join(sends, on=MESSAGE, how="left")
        .group_by("campaign_id", maintain_order=True)
        .agg(
            unread=is_awaited.sum(),
            later=is_later.sum(),
            left_out=(~is_awaited & pl.col("is_kept").is_null()).sum(),
        )
    )
    for campaign_id, unread, later, left_out in counts.iter_rows():
        pull.sources.note_feeds(campaign_id, unread=unread, later=later, left_out=left_out)
    declined = (pl.col("feed_state") == "declined").any()
    people = recipients.group_by(PERSON).agg(unread=is_awaited.any(), declined=declined)
    if people.height:
        unread, without = (people.filter(name).height for name in ("unread", "declined"))
        pace = pull.state.section("feeds")
        detail = f"DRIPTUNE_FEED_MINUTES is 0: {without} feeds were not to be read" if without else ""
        if unread:
            seconds_a_feed = pace["seconds"] / pace["feeds"] if pace.get("feeds") else None
            detail = feeds_left(unread, pull.settings, seconds_a_feed)
        pull.sources.note_read("feeds", "feeds", announced=people.height, unread=unread, detail=detail)
    pull.sources.write()
