"""Journeys as published: their versions, and what is wrong with them."""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import STEP, WORKFLOW, Table, Timestamp, table
from pipeline.schemas.columns import column, count, key, method_name, tonight, utc_day, word
from pipeline.schemas.journeys.lake import JOURNEY


@table("marts.journeys", ("journey_id", "version"))
class PublishedJourneys(Table):
    """One row per journey and version: a change of its name, status, steps, delays, e-mails or conditions makes one."""

    journey_id: pl.String = key(JOURNEY)
    version: pl.Int64 = count("Version, from 1.")
    workflow_id: pl.String = key(f"{WORKFLOW} Null if it is none, such as a draft.", nullable=True)
    name: pl.String = column("Name in Mailchimp.")
    status: pl.String = column("Mailchimp's status. 'gone' if Mailchimp lists it no more.")
    is_current: pl.Boolean = column("It is the latest version.")
    first_day: pl.Date = utc_day("Night that first read this version.")
    last_day: pl.Date = utc_day("Last day before the next version. Null for the latest one.", nullable=True)
    changes: pl.String = column("What differs from the version before. Empty for the first one.")
    audience_id: pl.String = key("Mailchimp audience (list).")
    trigger: pl.String = column("What lets subscribers in. Null where Mailchimp tells none.", nullable=True)
    can_reenter: pl.Boolean = column("Subscribers may enter more than once. Null if not told.", nullable=True)
    has_exit_condition: pl.Boolean = column("A condition takes subscribers out. Null if not told.", nullable=True)
    emails: pl.Int64 = count("E-mails.")
    branches: pl.Int64 = count("Branches, and steps of unknown kind.")
    delay_hours: pl.Float64 = column("Sum of all delays.", "hours", ge=0)
    started: pl.Int64 = count("Contacts that ever started it, as Mailchimp counts.", nullable=True)
    in_progress: pl.Int64 = count("Contacts that are in it, as Mailchimp counts.", nullable=True)
    completed: pl.Int64 = count("Contacts that completed it, as Mailchimp counts.", nullable=True)
    last_started_at: Timestamp = column("When a contact last started it. Null if not told.", "UTC", nullable=True)
    queued: pl.Int64 = count("Contacts that wait at its steps, as Mailchimp counts.", nullable=True)
    sent: pl.Int64 = count("Messages that its e-mails sent, as Mailchimp counts.", nullable=True)
    steps: pl.String = column(
        "Its steps in their order: id, kind, status, delay, campaign, people who wait and who passed.", "JSON array"
    )
    as_of_day: pl.Date = tonight()


@table("marts.journey_lint", ("journey_id", "step_id", "finding"))
class JourneyLint(Table):
    """One row per thing that is probably not meant in a journey, or that the flow map and Mailchimp say differently."""

    journey_id: pl.String = key(JOURNEY)
    step_id: pl.String = key(f"{STEP} Empty where the whole journey is meant.")
    finding: pl.String = word("What was found.", vocabulary.JourneyFinding)
    workflow_id: pl.String = key(f"{WORKFLOW} Null if it is none, such as a draft.", nullable=True)
    people: pl.Int64 = count("Contacts that it holds back. Null where nobody is counted.", nullable=True)
    detail: pl.String = column("The finding in words, with what to do.")
    as_of_day: pl.Date = tonight()
    method: pl.String = method_name()
