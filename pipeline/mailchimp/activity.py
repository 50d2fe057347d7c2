"""The activity of single campaigns: who got it, opened, clicked, bounced, left or complained.

Read again only while a campaign's report changes or bounces may still arrive; see `_due`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from pipeline.common.time import DAY_US, numbered_day, start_of_day_us
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulling import Pull, PullSummary, WindowState
from pipeline.mailchimp.send_times import Recipient, one_by_one, planned_hours, read_feeds, sends
from pipeline.schemas import lake as tables
from pipeline.schemas.base import polars_schema
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
    """What was read of one campaign; `recipients` still lack their time of sending."""

    campaign: Campaign
    recipients: parse.Rows
    events: parse.Rows
    opens: parse.Rows
    others: list[parse.Rows]


def pull_activity(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Sends, opens, clicks, bounces, unsubscribes and complaints of every campaign whose report has moved.

    Raises:
        SourceError: campaigns of earlier batches are written and noted, the rest is not.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    state = WindowState(lake)
    windows = state.section("campaigns")
    planned = planned_hours(lake, settings)
    signups = lake.latest(tables.Members).select("audience_id", "subscriber_key", "signup_us").collect()
    for batch in _batches(_due(pull, windows)):
        read = client.map(lambda campaign: _read(pull, campaign), batch)
        messages = _with_times(pull, read, signups, planned)
        for activity in read:
            campaign = activity.campaign
            mine = messages.filter(pl.col("campaign_id") == campaign.campaign_id)
            later = pull.add(parse.Rows(tables.Sends, mine, activity.recipients.quarantined))
            later += pull.add(activity.events)
            later += pull.add(_with_known_marks(activity.opens, mine, campaign.sent_us))
            later += sum(pull.add(rows) for rows in activity.others)
            windows[campaign.campaign_id] = {
                "fingerprint": campaign.fingerprint,
                "until": pull.until,
                "last_growth": campaign.last_growth,
                "is_complete": later == 0,
                "is_one_by_one": campaign.is_one_by_one,
            }
        pull.write()
        state.save()
    return pull.summary()


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
        window = windows.get(report["campaign_id"], {})
        if window.get("until", "") > pull.until:
            continue
        fingerprint = [report[name] for name in FINGERPRINT]
        has_grown = bool(window) and fingerprint[0] != window["fingerprint"][0]
        sent_on = _day(report["sent_us"]) or pull.as_of
        is_one_by_one = (
            report["campaign_id"] in separate
            or report["sent_us"] is None
            or window.get("is_one_by_one", False)
            or (has_grown and pull.as_of - sent_on > recheck)  # nobody sends one mail to all for so long
        )
        first_growth = tonight if is_one_by_one else sent_on.isoformat()
        last_growth = tonight if has_grown else window.get("last_growth", first_growth)
        is_recent = pull.as_of - date.fromisoformat(last_growth) <= recheck
        is_reclassified = is_one_by_one != window.get("is_one_by_one")
        if fingerprint != window.get("fingerprint") or not window["is_complete"] or is_reclassified or is_recent:
            since = datetime.fromisoformat(window["until"]) - recheck if window else None
            due.append(
                Campaign(
                    report["campaign_id"],
                    report["sent_us"],
                    report["emails_sent"],
                    is_one_by_one,
                    fingerprint,
                    since.isoformat() if since else "",
                    last_growth,
                )
            )
    return due


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

    def items(name: str, key: str, fields: str, **params: str) -> list[Any]:
        projection = ",".join(f"{key}.{one}" for one in fields.split(","))
        window = {"fields": f"{projection},total_items", **params}
        return pull.client.listing(f"/reports/{{campaign_id}}/{name}", key, {**window}, campaign_id=campaign_id)

    since = {"since": campaign.since} if campaign.since else {}
    place = f"/reports/{campaign_id}"
    recipients = parse.table_rows(
        tables.Sends,
        f"{place}/sent-to",
        parse.SENT_TO,
        items("sent-to", "sent_to", "email_id,list_id,status"),
        keys,
        campaign_id=campaign_id,
    )
    # The unfiltered pass comes first: an event between the two passes must not look like a bot's.
    passes = [
        parse.activity_rows(
            f"{place}/email-activity",
            items("email-activity", "emails", "email_id,activity", **since, **bots),
            keys,
            campaign_id,
        )
        for bots in ({}, {"filter_bots": "true"})
    ]
    opens = items("open-details", "members", "email_id,opens", **since)
    clicks = items("click-details", "urls_clicked", "id,url,total_clicks,unique_clicks")
    gone = items("unsubscribed", "unsubscribes", "email_id,timestamp,reason")
    complaints = pull.client.unpaged("/reports/{campaign_id}/abuse-reports", "abuse_reports", campaign_id=campaign_id)
    return Activity(
        campaign,
        recipients,
        _with_bot_marks(*passes),
        parse.open_rows(f"{place}/open-details", opens, keys, campaign_id),
        [
            parse.table_rows(
                tables.ClickDetails, f"{place}/click-details", parse.CLICKS, clicks, campaign_id=campaign_id
            ),
            parse.table_rows(
                tables.Unsubscribes, f"{place}/unsubscribed", parse.UNSUBSCRIBES, gone, keys, campaign_id=campaign_id
            ),
            parse.table_rows(
                tables.AbuseReports, f"{place}/abuse-reports", parse.ABUSE, complaints, keys, campaign_id=campaign_id
            ),
        ],
    )


def _with_bot_marks(everything: parse.Rows, humans: parse.Rows) -> parse.Rows:
    """The unfiltered events, those absent from the filtered pass marked as a bot's."""
    human = humans.frame.select(EVENT_KEY).unique().with_columns(pl.lit(False).alias("is_bot"))
    frame = everything.frame.join(human, on=EVENT_KEY, how="left").with_columns(pl.col("is_bot").fill_null(True))
    # A bounce is nobody's act.
    frame = frame.with_columns(pl.col("is_bot") & (pl.col("action") != "bounce"))
    return parse.Rows(everything.model, frame, everything.quarantined)


def _with_known_marks(opens: parse.Rows, messages: pl.DataFrame, sent_us: int | None) -> parse.Rows:
    """The opens, with the proxy mark unknown for messages older than the mark; 'no' would be a guess."""
    sent = messages.select("subscriber_key", pl.col("sent_us").alias("message_us"))
    sent_us_of_message = pl.coalesce("message_us", pl.lit(sent_us, dtype=pl.Int64), "occurred_us")
    frame = opens.frame.join(sent, on="subscriber_key", how="left", maintain_order="left").with_columns(
        pl.when(sent_us_of_message >= MACHINE_MARKS_SINCE_US).then("is_proxy_open").alias("is_proxy_open")
    )
    return parse.Rows(opens.model, frame.drop("message_us"), opens.quarantined)


def _with_times(pull: Pull, read: list[Activity], signups: pl.DataFrame, planned: dict[str, float]) -> pl.DataFrame:
    """Sends of all campaigns read, with the time of sending."""
    schema = {name: kind for name, kind in polars_schema(tables.Sends).items() if name != "as_of_day"}
    found = [pl.DataFrame(schema=schema)]
    separate = [activity for activity in read if activity.campaign.is_one_by_one]
    known = _known_sends(pull, [activity.campaign.campaign_id for activity in separate])
    unknown = {
        Recipient(audience_id, member_id)
        for activity in separate
        for audience_id, member_id in activity.recipients.frame.join(
            known, on=["campaign_id", "subscriber_key"], how="anti"
        )
        .select("audience_id", "member_id")
        .iter_rows()
    }
    feeds = read_feeds(pull.client, sorted(unknown, key=lambda one: (one.audience_id, one.member_id)))
    for activity in read:
        campaign, frame = activity.campaign, activity.recipients.frame
        if campaign.is_one_by_one:
            times = sends(frame, known, feeds, signups, planned, first_us=campaign.sent_us, end_us=pull.end_us)
        else:
            times = frame.with_columns(
                pl.lit(campaign.sent_us, dtype=pl.Int64).alias("sent_us"), pl.lit("campaign").alias("sent_at_source")
            )
        found.append(times.select(list(schema)))
    return pl.concat(found)


def _known_sends(pull: Pull, campaign_ids: list[str]) -> pl.DataFrame:
    """Sends whose time needs no further call: told by the feed, or computed and too old to be told any more."""
    settled_us = pull.end_us - pull.settings.recheck_days * DAY_US
    is_settled = (pl.col("sent_at_source") == "feed") | (
        (pl.col("sent_at_source") == "computed") & (pl.col("sent_us") < settled_us)
    )
    return (
        pull.lake.latest(tables.Sends)
        .filter(pl.col("campaign_id").is_in(campaign_ids) & is_settled)
        .select("campaign_id", "subscriber_key", "sent_us", "sent_at_source")
        .collect()
    )
