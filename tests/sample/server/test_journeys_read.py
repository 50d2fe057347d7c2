"""The sample account as its nights find it: with journeys in every shape, and with the reads of journeys refused."""

from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from pipeline.config.flow_map import FlowMap, load_flow_map
from pipeline.dimensions.flows import Dimensions, dimensions
from pipeline.dimensions.journey_flows import mapped_journeys
from pipeline.dimensions.journey_tables import journey_lint
from pipeline.dimensions.journeys import known_journeys
from pipeline.lake.keys import SAMPLE_SECRET, SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import pulls
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.connection import SAMPLE_KEY
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.world import AUDIENCE_ID, PLANTED, SERIES
from pipeline.sample.server.process import serve
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from pipeline.settings import SAMPLE_DEFINITIONS, SAMPLE_TONIGHT, Refusal, Settings

READS = (pulls.pull_account_and_audiences, pulls.pull_automations, pulls.pull_campaigns, pulls.pull_journeys)
REFUSED = ("forbidden", "missing", "other shape")


def night(account: SampleAccount, folder: Path, refusal: Refusal) -> tuple[Lake, Settings]:
    """A lake with what tells flows, as one night reads it."""
    settings = Settings(data_dir=folder, _env_file=None)  # type: ignore[call-arg]
    lake = Lake(settings.lake_dir)
    with serve(account, SAMPLE_TONIGHT, refusal=refusal) as url:
        client = MailchimpClient(url, SAMPLE_KEY, settings=settings)
        for read in READS:
            read(client, lake, SubscriberKeys(SAMPLE_SECRET), settings, SAMPLE_TONIGHT)
    return lake, settings


def made(lake: Lake, settings: Settings, flow_map: FlowMap) -> Dimensions:
    latest = (lake.latest(one).collect() for one in (tables.Automations, tables.AutomationEmails, tables.Campaigns))
    journeys = known_journeys(lake.scan(Journeys).collect(), lake.scan(JourneySteps).collect())
    return dimensions(flow_map, *latest, settings, journeys)


@pytest.fixture(scope="module")
def plain(account: SampleAccount, tmp_path_factory: pytest.TempPathFactory) -> Dimensions:
    """The flows of a night that may read everything."""
    lake, settings = night(account, tmp_path_factory.mktemp("plain"), "none")
    return made(lake, settings, load_flow_map(SAMPLE_DEFINITIONS))


@pytest.mark.parametrize("refusal", [one for one in get_args(Refusal) if one != "none"])
def test_every_shape_and_every_refusal_gives_the_same_flows(
    account: SampleAccount, tmp_path: Path, plain: Dimensions, refusal: Refusal
) -> None:
    """Where the reads are refused the map holds enough, and the source says that it was not read."""
    lake, settings = night(account, tmp_path, refusal)
    found = made(lake, settings, load_flow_map(SAMPLE_DEFINITIONS))
    assert found.edges.equals(plain.edges)
    assert found.steps.drop("subject", "preview").equals(plain.steps.drop("subject", "preview"))
    kinds = dict(found.workflows.select("workflow_id", "kind").iter_rows())
    is_refused = refusal in REFUSED
    assert {kinds[flow.workflow_id] for flow in SERIES} == {"flow" if is_refused else "journey"}
    (state,) = lake.latest(tables.Sources).filter(kind="journey list").collect()["state"]
    assert state == ("failed" if is_refused else "read")


def test_the_flow_map_of_the_sample_agrees_with_its_journeys(account: SampleAccount, tmp_path: Path) -> None:
    lake, _ = night(account, tmp_path, "none")
    journeys = known_journeys(lake.scan(Journeys).collect(), lake.scan(JourneySteps).collect())
    mapped = mapped_journeys(load_flow_map(SAMPLE_DEFINITIONS), journeys)
    lint = journey_lint(journeys, mapped, set(mapped), {AUDIENCE_ID}, SAMPLE_TONIGHT)
    found = lint.select("workflow_id", "finding", "people").rows()
    assert sorted(found, key=str) == [
        ("be09ab4a4d", "no exit condition", None),
        ("win-back", "paused step with a queue", PLANTED.stuck["paused step"]),
    ]


def test_the_waits_are_those_of_the_journeys_and_follow_them(
    account: SampleAccount, tmp_path: Path, plain: Dimensions
) -> None:
    """Every delay is twice as long in Mailchimp. The deleted step, which Mailchimp does not have, keeps its own."""
    lake, settings = night(account, tmp_path, "none")
    steps = lake.scan(JourneySteps).collect().with_columns(pl.col("delay_hours") * 2)
    latest = (lake.latest(one).collect() for one in (tables.Automations, tables.AutomationEmails, tables.Campaigns))
    journeys = known_journeys(lake.scan(Journeys).collect(), steps)
    found = dimensions(load_flow_map(SAMPLE_DEFINITIONS), *latest, settings, journeys)
    way = ["from_step_key", "to_step_key"]
    deleted = plain.steps.filter(status="deleted")["step_key"]
    both = plain.edges.join(found.edges, on=way).filter(~pl.col("to_step_key").is_in(deleted.implode()))
    of_journeys = both.join(found.workflows.filter(kind="journey").select("workflow_key"), on="workflow_key")
    assert of_journeys.height > 10
    assert of_journeys["delay_hours_right"].to_list() == (of_journeys["delay_hours"] * 2).to_list()


def test_without_any_file_the_linear_journeys_are_right(
    account: SampleAccount, tmp_path: Path, plain: Dimensions
) -> None:
    lake, settings = night(account, tmp_path, "none")
    bare = made(lake, settings, FlowMap())
    linear = {flow.workflow_id: f"journey-{number}" for number, flow in enumerate(SERIES[:2], 501)}
    for workflow_id, journey in linear.items():
        ours, theirs = (
            one.steps.filter(workflow_id=name).sort("position")["campaign_id"].to_list()
            for one, name in ((bare, journey), (plain, workflow_id))
        )
        assert ours == theirs
        hours = (
            one.edges.join(one.workflows.filter(workflow_id=name).select("workflow_key"), on="workflow_key")
            for one, name in ((bare, journey), (plain, workflow_id))
        )
        first, second = (sorted(one["delay_hours"].to_list()) for one in hours)
        assert first == second
    assert set(bare.workflows.filter(pl.col("kind") == "journey")["workflow_id"]) == {
        f"journey-{number}" for number in (501, 502, 503, 504)
    }
