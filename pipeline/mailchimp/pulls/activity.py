"""The activity of single campaigns: who got it, opened, clicked, bounced, left or complained.

Read again only while a campaign's report changes or bounces may still arrive; see `_due`.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from pipeline.common.time import DAY_US, numbered_day, start_of_day_us
from pipeline.common.words import PROGRESS, minutes_left
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import columns
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.fields import Field
from pipeline.mailchimp.paging import Listing
from pipeline.mailchimp.pulls.narrowing import answers, projection
from pipeline.mailchimp.pulls.one_by_one.feeds import MESSAGE, PERSON, read_feeds
from pipeline.mailchimp.pulls.one_by_one.planned import one_by_one
from pipeline.mailchimp.pulls.one_by_one.settling import settle
from pipeline.mailchimp.pulls.pulling import Pull, PullSummary
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, polars_schema
from pipeline.schemas.journeys.lake import Recipients
from pipeline.settings import Settings

BATCH_RECIPIENTS = 200_000  # recipients held in memory before they are written
# Mailchimp tells opens by proxies apart for mail sent since then.
MACHINE_MARKS_SINCE_US = start_of_day_us(date(2024, 6, 22))
# Any change in these of a report means new activity. Bounces move none of Mailchimp's times of last activity.
FINGERPRINT = (
    "emails_sent",
    "last_open_us",
    "last_click_us",
    "hard_bounces",
    "soft_bounces",
    "syntax_errors",
    "unsubscribed",
    "abuse_reports",
)
SENDS = {name: kind for name, kind in polars_schema(tables.Sends).items() if name != "as_of_day"}
SENDS_TOLD = ("campaign_id", "subscriber_key", "status")
RECIPIENTS: dict[str, pl.DataType] = {
    "audience_id": pl.String(),
    "member_id": pl.String(),
    **{name: SENDS[name] for name in SENDS_TOLD},
}
EVENT_KEY = ["subscriber_key", "action", "occurred_us", "url"]


@dataclass(frozen=True)
class Campaign:
    """A campaign to be read: its report's fingerprint, and the exclusive start of its window of events ("" = all)."""

    campaign_id: str
    sent_us: int | None
    emails_sent: int
    is_one_by_one: bool
    fingerprint: list[Any]
    since: str
    last_growth: str


@dataclass(frozen=True)
class Activity:
    """What was read of one campaign; its recipients have no time of sending yet.

    `announced` is the number of recipients that Mailchimp announced, each once. `shortfall` names what never came.
    """

    campaign: Campaign
    announced: int | None
    shortfall: str
    recipients: parse.Rows
    events: parse.Rows
    opens: parse.Rows
    others: list[parse.Rows]


def pull_activity(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Sends, opens, clicks, bounces, unsubscribes and complaints of every campaign whose report has moved.

    A campaign's window closes only when all that was announced of it came, and nothing of it was set aside.

    Raises:
        SourceError: if none of tonight's campaigns can be read.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    windows = pull.state.section("campaigns")
    titles = dict(lake.latest(tables.Campaigns).select("campaign_id", "title").collect().iter_rows())

    def read(campaign: Campaign) -> Activity | None:
        campaign_id = campaign.campaign_id
        is_there = partial(answers, client, "/reports/{campaign_id}", campaign_id=campaign_id)
        title = titles.get(campaign_id, "")
        return pull.attempt("campaign", campaign_id, title, partial(_read, pull, campaign), is_there)

    due = _due(pull, windows)
    member_ids = [pl.DataFrame(schema=RECIPIENTS).select(*PERSON, "member_id")]
    messages_read, started = 0, time.monotonic()
    for batch in _batches(due):
        found = [activity for activity in client.map(read, batch) if activity]
        messages, waiting = _messages(pull, found)
        pull.add(parse.Rows(Recipients, _as_awaited(pull, waiting), []))
        member_ids.append(waiting.select(*PERSON, "member_id"))
        for activity in found:
            campaign_id = activity.campaign.campaign_id
            later, set_aside = _gather(pull, activity, messages.filter(pl.col("campaign_id") == campaign_id))
            windows[campaign_id] = _window(pull, activity.campaign, later=later, set_aside=set_aside)
        for campaign in batch:
            # What failed tonight is due again, however old its last change is.
            if pull.sources.has_failed("campaign", campaign.campaign_id) and campaign.campaign_id in windows:
                windows[campaign.campaign_id]["is_complete"] = False
        pull.write()
        pull.state.save()
        messages_read += sum(one.emails_sent for one in batch)
        told = minutes_left(messages_read, sum(one.emails_sent for one in due), time.monotonic() - started)
        PROGRESS.info("activity of campaigns: %s messages read, %s", f"{messages_read:,}", told)
    read_feeds(pull, pl.concat(member_ids).unique(PERSON))
    settle(pull)
    return pull.finish()


def _gather(pull: Pull, activity: Activity, messages: pl.DataFrame) -> tuple[int, int]:
    """Gathers the rows of a campaign and returns how many wait for a later night, and how many were set aside."""
    campaign, recipients = activity.campaign, activity.recipients
    unsubscribes, complaints = (
        rows.frame for rows in activity.others if rows.model in (tables.Unsubscribes, tables.AbuseReports)
    )
    sent = pull.add(parse.Rows(tables.Sends, messages, recipients.quarantined))
    opens = _with_known_marks(activity.opens, messages, campaign.sent_us)
    others = [activity.events, opens, *activity.others]
    later = sent.later + sum(pull.add(rows).later for rows in others)
    pull.sources.note_read(
        "campaign",
        campaign.campaign_id,
        announced=activity.announced,
        set_aside=len(recipients.quarantined),
        left_out=recipients.frame.height - sent.rows,
        has_feeds=campaign.is_one_by_one,
        later={
            "sent": sent.later,
            **_later_events(activity.events.frame, pull.end_us),
            "unsubscribes": _later(unsubscribes, pull.end_us),
            "complaints": _later(complaints, pull.end_us),
        },
        detail=activity.shortfall,
    )
    return later, sum(len(rows.quarantined) for rows in (recipients, *others))


def _later(rows: pl.DataFrame, end_us: int) -> int:
    return rows.filter(pl.col("occurred_us") > end_us).height


def _later_events(events: pl.DataFrame, end_us: int) -> dict[str, int]:
    """How many opens, clicks and bounces belong to later nights."""
    is_bounce = pl.col("action") == "bounce"
    kinds = {
        "opens": pl.col("action") == "open",
        "clicks": pl.col("action") == "click",
        "hard_bounces": is_bounce & (pl.col("bounce_kind") == "hard"),
        "soft_bounces": is_bounce & (pl.col("bounce_kind") == "soft"),
    }
    return {metric: _later(events.filter(is_one), end_us) for metric, is_one in kinds.items()}


def _window(pull: Pull, campaign: Campaign, *, later: int, set_aside: int) -> dict[str, Any]:
    """What is remembered of a campaign that was read: when it is due again, and from when on its events are asked for.

    Rows that were set aside are asked for again, so the next window starts where this one did.
    """
    night = datetime.fromisoformat(pull.until)
    since = campaign.since if set_aside else (night - timedelta(days=pull.settings.recheck_days)).isoformat()
    return {
        "fingerprint": campaign.fingerprint,
        "until": pull.until,
        "since": since,
        "last_growth": campaign.last_growth,
        "is_complete": later == 0 and set_aside == 0,
        "is_one_by_one": campaign.is_one_by_one,
    }


def _due(pull: Pull, windows: dict[str, Any]) -> list[Campaign]:
    """Campaigns to read tonight.

    Those that changed, were held back in part, turned out to be sent one by one (the user's map names it only now), or
    were sent so lately that bounces may still arrive.
    """
    separate = one_by_one(pull.lake, pull.settings)
    tonight = pull.as_of.isoformat()
    recheck = timedelta(days=pull.settings.recheck_days)
    due = []
    reports = pull.lake.latest(tables.Reports).filter(pl.col("emails_sent") > 0).sort("campaign_id").collect()
    for report in reports.iter_rows(named=True):
        campaign_id = report["campaign_id"]
        window = windows.get(campaign_id, {})
        gone_since = pull.sources.gone_since("campaign", campaign_id)
        # Of what went away only a report that changed since tells that it is back.
        if window.get("until", "") > pull.until or (gone_since is not None and report["as_of_day"] <= gone_since):
            continue
        fingerprint = [report[name] for name in FINGERPRINT]
        has_grown = bool(window) and fingerprint[0] != window["fingerprint"][0]
        sent_on = _day(report["sent_us"]) or pull.as_of
        is_one_by_one = (
            campaign_id in separate
            or report["sent_us"] is None
            or window.get("is_one_by_one", False)
            or (has_grown and pull.as_of - sent_on > recheck)  # nobody sends one mail to all for so long
        )
        first_growth = tonight if is_one_by_one else sent_on.isoformat()
        last_growth = tonight if has_grown else window.get("last_growth", first_growth)
        is_recent = pull.as_of - date.fromisoformat(last_growth) <= recheck
        is_reclassified = is_one_by_one != window.get("is_one_by_one")
        if fingerprint != window.get("fingerprint") or not window["is_complete"] or is_reclassified or is_recent:
            since = _next_since(window, recheck)
            sent_us, emails_sent = report["sent_us"], report["emails_sent"]
            due.append(Campaign(campaign_id, sent_us, emails_sent, is_one_by_one, fingerprint, since, last_growth))
    return due


def _next_since(window: dict[str, Any], recheck: timedelta) -> str:
    """From when on (exclusive) events are asked for; "" for all. A window of an older release does not say."""
    if not window:
        return ""
    since: str = window.get("since", (datetime.fromisoformat(window["until"]) - recheck).isoformat())
    return since


def _day(instant_us: int | None) -> date | None:
    return None if instant_us is None else numbered_day(instant_us // DAY_US)


def _batches(campaigns: list[Campaign]) -> Iterator[list[Campaign]]:
    batch: list[Campaign] = []
    for campaign in campaigns:
        if batch and sum(one.emails_sent for one in batch) + campaign.emails_sent > BATCH_RECIPIENTS:
            yield batch
            batch = []
        batch.append(campaign)
    if batch:
        yield batch


def _read(pull: Pull, campaign: Campaign) -> Activity:
    """Everything Mailchimp tells of one campaign."""
    campaign_id, keys = campaign.campaign_id, pull.keys
    short: list[str] = []

    def told(name: str, listing: Listing) -> Listing:
        if listing.is_short:
            short.append(f"{name}: {listing.announced} announced, {len(listing)} ever returned")
        return listing

    def items(name: str, key: str, fields: str, **params: str) -> Listing:
        window: dict[str, str | int] = {"fields": projection(key, fields), **params}
        return told(name, pull.listing(f"/reports/{{campaign_id}}/{name}", key, window, campaign_id=campaign_id))

    def rows(model: type[Table], name: str, fields: dict[str, Field], found: Listing) -> parse.Rows:
        place = f"/reports/{campaign_id}/{name}"
        has_people = model is not tables.ClickDetails
        return parse.table_rows(model, place, fields, found, keys if has_people else None, campaign_id=campaign_id)

    since = {"since": campaign.since} if campaign.since else {}
    sent_to = items("sent-to", "sent_to", "email_id,list_id,status")
    sent = rows(tables.Sends, "sent-to", columns.SENT_TO, sent_to)
    # Who got it again may be listed once more, and counts once.
    recipients = replace(sent, frame=sent.frame.unique("subscriber_key", keep="first", maintain_order=True))
    again = sent.frame.height - recipients.frame.height
    # The unfiltered pass comes first: an event between the two passes must not look like a bot's.
    passes = [
        parse.activity_rows(
            f"/reports/{campaign_id}/email-activity",
            items("email-activity", "emails", "email_id,activity", **since, **bots),
            keys,
            campaign_id,
        )
        for bots in ({}, {"filter_bots": "true"})
    ]
    opens = items("open-details", "members", "email_id,opens", **since)
    clicks = items("click-details", "urls_clicked", "id,url,total_clicks,unique_clicks")
    left = items("unsubscribed", "unsubscribes", "email_id,timestamp,reason")
    endpoint = "/reports/{campaign_id}/abuse-reports"
    complaints = told("abuse-reports", pull.unpaged(endpoint, "abuse_reports", campaign_id=campaign_id))
    return Activity(
        campaign,
        None if sent_to.announced is None else sent_to.announced - again,
        "; ".join(short),
        recipients,
        _with_bot_marks(*passes),
        parse.open_rows(f"/reports/{campaign_id}/open-details", opens, keys, campaign_id),
        [
            rows(tables.ClickDetails, "click-details", columns.CLICKS, clicks),
            rows(tables.Unsubscribes, "unsubscribed", columns.UNSUBSCRIBES, left),
            rows(tables.AbuseReports, "abuse-reports", columns.ABUSE, complaints),
        ],
    )


def _with_bot_marks(everything: parse.Rows, humans: parse.Rows) -> parse.Rows:
    """The unfiltered events, those absent from the filtered pass marked as a bot's.

    What broke in the filtered pass alone is set aside too: whose acts it held is not known, so all is asked for again.
    """
    human = humans.frame.select(EVENT_KEY).unique().with_columns(pl.lit(False).alias("is_bot"))
    frame = everything.frame.join(human, on=EVENT_KEY, how="left").with_columns(pl.col("is_bot").fill_null(True))
    # A bounce is nobody's act.
    frame = frame.with_columns(pl.col("is_bot") & (pl.col("action") != "bounce"))
    broken = [one for one in humans.quarantined if one not in everything.quarantined]
    return parse.Rows(everything.model, frame, everything.quarantined + broken)


def _with_known_marks(opens: parse.Rows, messages: pl.DataFrame, sent_us: int | None) -> parse.Rows:
    """The opens, with the proxy mark unknown for messages older than the mark; 'no' would be a guess."""
    sent = messages.select("subscriber_key", pl.col("sent_us").alias("message_us"))
    sent_us_of_message = pl.coalesce("message_us", pl.lit(sent_us, dtype=pl.Int64), "occurred_us")
    frame = opens.frame.join(sent, on="subscriber_key", how="left", maintain_order="left").with_columns(
        pl.when(sent_us_of_message >= MACHINE_MARKS_SINCE_US).then("is_proxy_open").alias("is_proxy_open")
    )
    return parse.Rows(opens.model, frame.drop("message_us"), opens.quarantined)


def _messages(pull: Pull, read: list[Activity]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sends of campaigns whose time is known, and the recipients of those sent one by one whose time is not."""
    at_once, separate = [pl.DataFrame(schema=SENDS)], [pl.DataFrame(schema=RECIPIENTS)]
    for activity in read:
        campaign, frame = activity.campaign, activity.recipients.frame
        if campaign.is_one_by_one:
            separate.append(frame.select(list(RECIPIENTS)))
        else:
            sent_us = pl.lit(campaign.sent_us, dtype=pl.Int64).alias("sent_us")
            at_once.append(frame.select(*SENDS_TOLD, sent_us, pl.lit("campaign").alias("sent_at_source")))
    recipients = pl.concat(separate)
    known = _known_sends(pull, recipients["campaign_id"].unique().to_list())
    sends = recipients.join(known, on=MESSAGE, maintain_order="left").select(list(SENDS))
    waiting = recipients.join(known, on=MESSAGE, how="anti", maintain_order="left")
    return pl.concat([*(frame.select(list(SENDS)) for frame in at_once), sends]), waiting


def _as_awaited(pull: Pull, waiting: pl.DataFrame) -> pl.DataFrame:
    """Rows of `lake.recipients` for those who wait. What an earlier night has read of them stays read."""
    before = pull.lake.latest(Recipients).select(*MESSAGE, "feed_state", "feed_us", "feed_sends").collect()
    return waiting.join(before, on=MESSAGE, how="left", maintain_order="left").with_columns(
        pl.col("feed_state").fill_null("awaited")
    )


def _known_sends(pull: Pull, campaign_ids: list[str]) -> pl.DataFrame:
    """Sends of campaigns that go out one by one whose time earlier nights settled."""
    return (
        pull.lake.latest(tables.Sends)
        .filter(pl.col("campaign_id").is_in(campaign_ids) & (pl.col("sent_at_source") != "campaign"))
        .select(*MESSAGE, "sent_us", "sent_at_source")
        .collect()
    )
