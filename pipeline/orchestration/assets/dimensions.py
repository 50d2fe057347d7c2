"""Assets of the dimensions: workflows, steps and transitions from Mailchimp and the user's map, subscribers, zones."""

from dataclasses import dataclass
from datetime import date

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.config.flow_map import load_flow_map
from pipeline.dimensions.flows import dimensions
from pipeline.dimensions.journey_flows import mapped_journeys
from pipeline.dimensions.journey_tables import journey_lint, journey_versions
from pipeline.dimensions.journeys import Journey, known_journeys, observed_ways
from pipeline.dimensions.subscribers import subscribers
from pipeline.dimensions.zones import zone_offsets
from pipeline.mailchimp.pulls.sources import WENT_AWAY
from pipeline.orchestration.asset import Latest, Night, Scan, asset
from pipeline.schemas import core, lake
from pipeline.schemas.journeys import marts
from pipeline.schemas.journeys.lake import Journeys, JourneySteps

# The offsets reach to the end of next year. So they change once a year, and facts are rebuilt for them once a year.
OLDEST_OFFSET_DAY = date(2012, 1, 1)


@dataclass(frozen=True)
class JourneyVersions:
    """What was read of journeys on all nights, and what became of them."""

    journeys: Scan[Journeys]
    steps: Scan[JourneySteps]
    sources: Latest[lake.Sources]

    def known(self) -> list[Journey]:
        """The journeys that were ever read."""
        gone = self.sources.filter((pl.col("kind") == "journey") & pl.col("state").is_in(WENT_AWAY))
        return known_journeys(self.journeys.collect(), self.steps.collect(), gone["source_id"])


@asset(core.CoreWorkflows, core.CoreSteps, core.CoreEdges, group="dimensions", kinds=("yaml", "polars"))
def read_flow_map(
    automations: Latest[lake.Automations],
    emails: Latest[lake.AutomationEmails],
    campaigns: Latest[lake.Campaigns],
    versions: JourneyVersions,
    sends: Scan[lake.Sends],
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Workflows, steps and planned transitions, from flows.yaml, journeys, classic automations and campaigns."""
    flow_map, journeys = load_flow_map(night.settings.definitions), versions.known()
    observed = observed_ways(sends, journeys)
    made = dimensions(flow_map, automations, emails, campaigns, night.settings, journeys, observed)
    return made.workflows, made.steps, made.edges


def _versions(rows: pl.DataFrame) -> dict[str, int]:
    return {"journeys": rows["journey_id"].n_unique(), "versions": rows.height}


def _findings(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows["finding"].value_counts().iter_rows())


@asset(marts.PublishedJourneys, marts.JourneyLint, group="performance", summary=(_versions, _findings))
def publish_journeys(
    versions: JourneyVersions,
    audiences: Latest[lake.Audiences],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Journeys with their versions, and what is probably not meant in them."""
    journeys = versions.known()
    mapped = mapped_journeys(load_flow_map(night.settings.definitions), journeys)
    known = set(workflows["workflow_id"])
    gone = versions.sources.filter((pl.col("kind") == "audience") & pl.col("state").is_in(WENT_AWAY))
    existing = set(audiences["audience_id"]) - set(gone["source_id"])
    return (
        journey_versions(journeys, mapped, known, night.as_of),
        journey_lint(journeys, mapped, known, existing, night.as_of),
    )


@asset(core.CoreSubscribers, core.CoreZoneOffsets, group="dimensions")
def know_subscribers(
    members: Latest[lake.Members], orders: Scan[lake.Orders], events: Scan[lake.Events], night: Night
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Subscribers as last known, and the offsets of every zone that they live in."""
    known = subscribers(members, orders, events, night.settings)
    zones = [night.settings.timezone, *known["zone"].unique()]
    return known, zone_offsets(zones, OLDEST_OFFSET_DAY, date(night.as_of.year + 1, 12, 31))
