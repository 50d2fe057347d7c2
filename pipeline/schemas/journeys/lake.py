"""Journeys, their steps, and who was sent what one by one, as they came in. The later night's version counts."""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import SUBSCRIBER, Table, table
from pipeline.schemas.columns import column, count, day_number, instant, key, word
from pipeline.schemas.lake import AUDIENCE, CAMPAIGN, NIGHT

JOURNEY = "Journey, by its number in Mailchimp."


@table("lake.journeys", ("journey_id",))
class Journeys(Table):
    """One row per journey and night on which anything of it differed."""

    journey_id: pl.String = key(JOURNEY)
    name: pl.String = column("Name.")
    status: pl.String = column("Mailchimp's status, such as sending or paused. Empty where it tells none.")
    audience_id: pl.String = key(AUDIENCE)
    started: pl.Int64 = count("Contacts that ever started it.", nullable=True)
    in_progress: pl.Int64 = count("Contacts that are in it.", nullable=True)
    completed: pl.Int64 = count("Contacts that completed it.", nullable=True)
    first_started_us: pl.Int64 = instant("First start.", nullable=True)
    last_started_us: pl.Int64 = instant("Latest start.", nullable=True)
    can_reenter: pl.Boolean = column("Contacts may start it more than once.", nullable=True)
    has_exit_condition: pl.Boolean = column("A condition of the whole journey takes contacts out.", nullable=True)
    step_ids: pl.String = column("Ids of its steps in their order.", "JSON array")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.journey_steps", ("journey_id", "step_id"))
class JourneySteps(Table):
    """One row per step of a journey and night on which anything of it differed."""

    journey_id: pl.String = key(JOURNEY)
    step_id: pl.String = key("Step of the journey.")
    position: pl.Int64 = count("Place among the steps, from 1. Triggers come first.")
    step_type: pl.String = column("Mailchimp's type of the step. Empty where it tells none.")
    step_kind: pl.String = word("What the step does, by its type.", vocabulary.JourneyStepKind)
    status: pl.String = column("Mailchimp's status, such as active or paused. Empty where it tells none.")
    display_text: pl.String = column("What Mailchimp's app shows of the step.")
    delay_hours: pl.Float64 = column("Wait of a delay.", "hours", nullable=True)
    started_by: pl.String = column("Tag or event that a trigger reacts to.", nullable=True)
    has_lost_tag: pl.Boolean = column("The trigger waits for a tag that no longer exists.")
    campaign_id: pl.String = key("Campaign of the e-mail, and its report.", nullable=True)
    web_id: pl.String = key("Number of that campaign in the addresses of Mailchimp's app.", nullable=True)
    title: pl.String = column("Title of the e-mail.")
    subject_line: pl.String = column("Subject line of the e-mail.")
    preview_text: pl.String = column("Preview text of the e-mail.")
    emails_sent: pl.Int64 = count("Messages sent so far.", nullable=True)
    queue_count: pl.Int64 = count("Contacts that wait at the step.", nullable=True)
    completed: pl.Int64 = count("Contacts that passed the step.", nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.recipients", ("campaign_id", "subscriber_key"))
class Recipients(Table):
    """One row per message that went out by itself, and version: whether the recipient's activity feed was read.

    The feed alone tells when such a message was sent. A message has a row of `lake.sends` once its time is settled.
    """

    campaign_id: pl.String = key(CAMPAIGN)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    feed_state: pl.String = word("Whether the recipient's feed was read.", vocabulary.FeedState)
    feed_us: pl.Int64 = instant("Time of sending that the feed told first, be it after the night.", nullable=True)
    feed_sends: pl.Int64 = count("How often the feed told that it was sent.", nullable=True)
    status: pl.String = word("Whether the message bounced, and how.", vocabulary.SendStatus)
    audience_id: pl.String = key(f"{AUDIENCE} Empty where Mailchimp names none.")
    as_of_day: pl.Int64 = day_number(NIGHT)
