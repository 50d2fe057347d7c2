"""`driptune flows init`: a first flow map from the account's journeys, classic automations and campaigns."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.dimensions.flow_draft import initial_flow_map
from pipeline.dimensions.journeys import known_journeys
from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.mailchimp.connection import connect
from pipeline.mailchimp.pulls import pull_account_and_audiences, pull_automations, pull_campaigns, pull_journeys
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from pipeline.settings import Settings


def write_first_flow_map(settings: Settings, path: Path) -> None:
    """Write the account's flow map to a place that is free.

    Raises:
        SourceError: if the account cannot be read.
    """
    as_of = settings.resolve_as_of()
    with TemporaryDirectory() as folder, connect(settings, as_of) as client:
        lake = Lake(Path(folder) / "lake")
        for pull in (pull_account_and_audiences, pull_automations, pull_campaigns, pull_journeys):
            pull(client, lake, load_keys(settings), settings, as_of)
        text = initial_flow_map(
            lake.latest(tables.Automations).collect(),
            lake.latest(tables.AutomationEmails).collect(),
            lake.latest(tables.Campaigns).collect(),
            known_journeys(lake.latest(Journeys).collect(), lake.latest(JourneySteps).collect()),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
