"""Assets of the dimensions: workflows, steps and transitions from the user's map, subscribers, zones."""

from datetime import date

import polars as pl

from pipeline.config.flow_map import load_flow_map
from pipeline.dimensions.flows import dimensions
from pipeline.dimensions.subscribers import subscribers
from pipeline.dimensions.zones import zone_offsets
from pipeline.orchestration.asset import Latest, Night, Scan, asset
from pipeline.schemas import core, lake

# The offsets reach to the end of next year. So they change once a year, and facts are rebuilt for them once a year.
OLDEST_OFFSET_DAY = date(2012, 1, 1)


@asset(core.CoreWorkflows, core.CoreSteps, core.CoreEdges, group="dimensions", kinds=("yaml", "polars"))
def read_flow_map(
    automations: Latest[lake.Automations],
    emails: Latest[lake.AutomationEmails],
    campaigns: Latest[lake.Campaigns],
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Workflows, steps and planned transitions, from flows.yaml, classic automations and campaigns."""
    made = dimensions(load_flow_map(night.settings.definitions), automations, emails, campaigns, night.settings)
    return made.workflows, made.steps, made.edges


@asset(core.CoreSubscribers, core.CoreZoneOffsets, group="dimensions")
def know_subscribers(
    members: Latest[lake.Members], orders: Scan[lake.Orders], events: Scan[lake.Events], night: Night
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Subscribers as last known, and the offsets of every zone that they live in."""
    known = subscribers(members, orders, events, night.settings)
    zones = [night.settings.timezone, *known["zone"].unique()]
    return known, zone_offsets(zones, OLDEST_OFFSET_DAY, date(night.as_of.year + 1, 12, 31))
