"""`driptune flows init`: a first flow map from the account's journeys, classic automations and campaigns."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.common.errors import SourceError
from pipeline.config.flow_map import FLOWS_FILE
from pipeline.dimensions.flow_draft import initial_flow_map
from pipeline.dimensions.journeys import known_journeys
from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.mailchimp.connection import connect
from pipeline.mailchimp.pulls import pull_account_and_audiences, pull_automations, pull_campaigns, pull_journeys
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from pipeline.settings import Settings


def write_first_flow_map(settings: Settings) -> Path:
    """Write `flows.yaml` into the folder of definitions and return its path.

    Raises:
        SourceError: if the file exists already, or the account cannot be read.
    """
    path = settings.definitions / FLOWS_FILE
    if path.exists():
        raise SourceError(str(path), "exists already", "Edit it, or name another folder in DRIPTUNE_DEFINITIONS.")
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
    settings.definitions.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
