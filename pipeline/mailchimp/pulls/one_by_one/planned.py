"""Which messages go out one by one, and when they were sent by what is planned.

The API tells no time of sending for such messages; only the feed of each member does, a call each (see `feeds`).
"""

import polars as pl

from pipeline.common.time import HOUR_US
from pipeline.config.flow_map import Flow, load_flow_map
from pipeline.lake.store import Lake
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from pipeline.settings import Settings

# Kinds that go to everybody at once; every other kind, documented or not, is sent one by one.
BROADCASTS = ("regular", "plaintext", "absplit", "variate", "rss")


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
    ever = lake.latest(JourneySteps).sort("journey_id", "position").collect()
    listed = pl.col("step_ids").str.json_decode(pl.List(pl.String))
    of_today = lake.latest(Journeys).select("journey_id", step_id=listed).explode("step_id").collect()
    # What was waited before an e-mail that was taken out is guessed by all that ever stood before it.
    for steps in (ever, ever.join(of_today, on=["journey_id", "step_id"], how="semi", maintain_order="left")):
        before = pl.col("delay_hours").fill_null(0.0).cum_sum().over("journey_id")
        emails = steps.with_columns(before.alias("hours")).drop_nulls("campaign_id")
        planned |= dict(emails.select("campaign_id", "hours").iter_rows())
    for flow in load_flow_map(settings.definitions).flows:
        planned |= _planned_in_flow(flow)
    return planned


def with_computed_times(recipients: pl.DataFrame, lake: Lake, settings: Settings, end_us: int) -> pl.DataFrame:
    """Recipients of one-by-one campaigns with the time that signup and planned delays give.

    Args:
        recipients: with `campaign_id`, `audience_id`, `subscriber_key`.
        lake: what is known of members, of the start of campaigns, and of delays.
        settings: where the user's flow map is.
        end_us: end of the night; a computed time is never later, for the message has been sent.

    Returns:
        The recipients in their order, with `computed_us`; null where neither signup nor start is known.
    """
    signups = lake.latest(tables.Members).select("audience_id", "subscriber_key", "signup_us").collect()
    starts = lake.latest(tables.Reports).select("campaign_id", first_us="sent_us").collect()
    planned = planned_hours(lake, settings)
    hours = pl.col("campaign_id").replace_strict(planned, default=None, return_dtype=pl.Float64)
    after_signup = pl.col("signup_us") + (hours * HOUR_US).cast(pl.Int64)
    computed = pl.max_horizontal("first_us", after_signup).clip(upper_bound=end_us)
    return (
        recipients.join(signups, on=["audience_id", "subscriber_key"], how="left", maintain_order="left")
        .join(starts, on="campaign_id", how="left", maintain_order="left")
        .with_columns(computed.alias("computed_us"))
        .drop("signup_us", "first_us")
    )


def _planned_in_flow(flow: Flow) -> dict[str, float]:
    before = flow.predecessors()
    steps = {step.id: step for step in flow.steps}

    def hours(step_id: str) -> float:
        earlier = before[step_id]
        return (steps[step_id].delay or 0) + (hours(earlier[0]) if earlier else 0.0)

    return {step.campaign: hours(step.id) for step in flow.steps if step.campaign}
