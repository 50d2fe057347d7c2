"""When a message was sent: by its campaign, by its recipient's activity feed, or computed.

The API tells no time of sending for e-mails that go out one by one; only the feed of each member does, a call each.
"""

from dataclasses import dataclass

import polars as pl

from pipeline.common.errors import NotFoundError, SourceError
from pipeline.common.time import HOUR_US
from pipeline.config.flow_map import Flow, load_flow_map
from pipeline.lake.store import Lake
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulls.pulling import MOST_FAILING, STOPPING
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import JourneySteps
from pipeline.settings import Settings

# Kinds that go to everybody at once; every other kind, documented or not, is sent one by one.
BROADCASTS = ("regular", "plaintext", "absplit", "variate", "rss")
FEED_ENDPOINT = "/lists/{list_id}/members/{member_id}/activity-feed"


@dataclass(frozen=True)
class Recipient:
    """Whose feed to read."""

    audience_id: str
    member_id: str


def journey_campaigns(lake: Lake, settings: Settings) -> set[str]:
    """Campaigns that are e-mails of a classic automation, a journey or a flow in the user's map: sent one by one."""
    of_automations = lake.latest(tables.AutomationEmails).select("step_id").collect()["step_id"]
    of_journeys = lake.latest(JourneySteps).select("campaign_id").drop_nulls().collect()["campaign_id"]
    flows = load_flow_map(settings.definitions).flows
    return {*of_automations, *of_journeys, *(step.campaign for flow in flows for step in flow.steps if step.campaign)}


def one_by_one(lake: Lake, settings: Settings) -> set[str]:
    """Every campaign whose messages have a time of sending each."""
    other_kinds = lake.latest(tables.Campaigns).filter(~pl.col("campaign_type").is_in(BROADCASTS))
    return journey_campaigns(lake, settings) | set(other_kinds.collect()["campaign_id"])


def planned_hours(lake: Lake, settings: Settings) -> dict[str, float]:
    """Hours from signup to each campaign of an automation, journey or flow: the sum of the planned delays up to it."""
    planned: dict[str, float] = {}
    emails = lake.latest(tables.AutomationEmails).sort("workflow_id", "position").collect()
    for (_,), steps in emails.group_by("workflow_id", maintain_order=True):
        total = 0.0
        for step in steps.iter_rows(named=True):
            follows = (step["delay_action"] or "").startswith("previous_campaign")
            total = (total if follows else 0.0) + (step["delay_hours"] or 0.0)
            planned[step["step_id"]] = total
    delays = lake.latest(JourneySteps).sort("journey_id", "position").collect()
    before = pl.col("delay_hours").fill_null(0.0).cum_sum().over("journey_id")
    emails = delays.with_columns(before.alias("hours")).drop_nulls("campaign_id")
    planned |= dict(emails.select("campaign_id", "hours").iter_rows())
    for flow in load_flow_map(settings.definitions).flows:
        planned |= _planned_in_flow(flow)
    return planned


def read_feeds(
    client: MailchimpClient, recipients: list[Recipient]
) -> tuple[dict[str, dict[str, int]], dict[Recipient, SourceError]]:
    """When recipients were sent what, by their activity feeds, and whose feed failed.

    Returns:
        Member id -> campaign id -> time of sending in epoch microseconds, without those whom Mailchimp has deleted; and
        the error by recipient. After a few errors that may be the whole account's trouble nobody else is asked.

    Raises:
        SourceError: if nothing of the account can be read.
    """
    params: dict[str, str | int] = {
        "activity_filters": "sent",
        "fields": "activity.activity_type,activity.campaign_id,activity.created_at_timestamp",
    }
    failed: dict[Recipient, SourceError] = {}

    def read(recipient: Recipient) -> dict[str, int]:
        errors = list(failed.values())
        if len(errors) >= MOST_FAILING:
            failed[recipient] = errors[0]
            return {}
        try:
            items = client.listing(
                FEED_ENDPOINT, "activity", params, list_id=recipient.audience_id, member_id=recipient.member_id
            )
            return parse.feed_times(FEED_ENDPOINT, items)
        except NotFoundError:
            return {}
        except STOPPING:
            raise
        except SourceError as error:
            failed[recipient] = error
            return {}

    feeds = dict(zip((one.member_id for one in recipients), client.map(read, recipients), strict=True))
    return feeds, failed


def sends(
    recipients: pl.DataFrame,
    known: pl.DataFrame,
    feeds: dict[str, dict[str, int]],
    signups: pl.DataFrame,
    planned: dict[str, float],
    *,
    first_us: int | None,
    end_us: int,
) -> pl.DataFrame:
    """Sends of one-by-one campaigns with the best known time each.

    Args:
        recipients: `campaign_id`, `audience_id`, `member_id`, `subscriber_key`, `status` from sent-to.
        known: sends of earlier nights whose time stands: `campaign_id`, `subscriber_key`, `sent_us`, `sent_at_source`.
        feeds: as `read_feeds` returns them.
        signups: `audience_id`, `subscriber_key`, `signup_us`.
        planned: hours from signup by campaign.
        first_us: start of sending of the campaign, where known.
        end_us: end of the night; a computed time is never later, for the message has been sent.

    Returns:
        The columns of `lake.sends` but `as_of_day`. A row without any time is left out.
    """
    pairs = zip(recipients["member_id"], recipients["campaign_id"], strict=True)
    hours = recipients["campaign_id"].replace_strict(planned, default=None, return_dtype=pl.Float64)
    computed = pl.col("signup_us") + (pl.col("hours") * HOUR_US).cast(pl.Int64)
    return (
        recipients.with_columns(
            pl.Series("feed_us", [feeds.get(member, {}).get(campaign) for member, campaign in pairs], dtype=pl.Int64),
            hours.alias("hours"),
            pl.lit(first_us, dtype=pl.Int64).alias("first_us"),
        )
        .join(known, on=["campaign_id", "subscriber_key"], how="left")
        .join(signups, on=["audience_id", "subscriber_key"], how="left")
        .with_columns(
            pl.coalesce(
                "sent_at_source", pl.when(pl.col("feed_us").is_not_null()).then(pl.lit("feed")), pl.lit("computed")
            ),
            pl.coalesce(
                "sent_us", "feed_us", pl.max_horizontal("first_us", computed).clip(upper_bound=end_us), "first_us"
            ),
        )
        .filter(pl.col("sent_us").is_not_null())
        .select("campaign_id", "subscriber_key", "sent_us", "sent_at_source", "status")
    )


def _planned_in_flow(flow: Flow) -> dict[str, float]:
    before = flow.predecessors()
    steps = {step.id: step for step in flow.steps}

    def hours(step_id: str) -> float:
        earlier = before[step_id]
        return (steps[step_id].delay or 0) + (hours(earlier[0]) if earlier else 0.0)

    return {step.campaign: hours(step.id) for step in flow.steps if step.campaign}
