"""Versions of journeys, and what is probably not meant in them, from what was read over HTTP."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from pipeline.config.flow_map import load_flow_map
from pipeline.dimensions.journey_flows import mapped_journeys
from pipeline.dimensions.journey_tables import journey_lint, journey_versions
from pipeline.dimensions.journeys import known_journeys
from pipeline.mailchimp import pulls as pull
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from tests.mailchimp.fake_account import AUDIENCE, NIGHT, Night, served
from tests.mailchimp.journey_account import JourneyAccount, delay, email, tag_trigger, trigger

TOMORROW = NIGHT + timedelta(days=1)


def tables(night: Night, flows: str = "") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables, as if every journey were a workflow."""
    folder = night.settings.definitions
    folder.mkdir(exist_ok=True)
    (folder / "flows.yaml").write_text(flows)
    journeys = known_journeys(night.lake.scan(Journeys).collect(), night.lake.scan(JourneySteps).collect())
    mapped = mapped_journeys(load_flow_map(folder), journeys)
    workflows = {"journey-7", "journey-8", "mine"}
    return (
        journey_versions(journeys, mapped, workflows, NIGHT),
        journey_lint(journeys, mapped, workflows, {AUDIENCE}, NIGHT),
    )


def account(**changes: object) -> JourneyAccount:
    made = JourneyAccount()
    steps = (trigger(11), email(12, "mail1", sent=9), delay(13, 24), email(14, "mail2", sent=4))
    made.add_journey(7, *steps, **changes)
    return made


def found(lint: pl.DataFrame) -> set[tuple[str, str, int | None]]:
    return set(lint.select("step_id", "finding", "people").iter_rows())


def read(one: JourneyAccount, folder: Path, flows: str = "") -> tuple[pl.DataFrame, pl.DataFrame]:
    with served(one, folder) as night:
        night.pull(pull.pull_journeys)
    return tables(night, flows)


def test_a_healthy_journey_has_one_version_and_no_finding(tmp_path):
    versions, lint = read(account(), tmp_path)
    (row,) = versions.to_dicts()
    told = ("version", "workflow_id", "emails", "delay_hours", "started", "completed", "queued", "sent", "changes")
    assert [row[name] for name in told] == [1, "journey-7", 2, 24, 10, 6, 0, 13, ""]
    assert (row["is_current"], row["first_day"], row["last_day"]) == (True, NIGHT, None)
    assert lint.is_empty()


def test_each_change_is_a_version_that_says_what_changed(tmp_path):
    made = account()
    with served(made, tmp_path) as night:
        night.pull(pull.pull_journeys)
        made.steps["7"][2] = delay(13, 60)
        made.steps["7"][3]["status"] = "paused"
        made.journeys[0]["stats"]["started"] = 44
        night.pull(pull.pull_journeys, TOMORROW)
        made.journeys[0]["stats"]["started"] = 55
        night.pull(pull.pull_journeys, TOMORROW + timedelta(days=1))
        made.steps["7"].append(email(15, "mail3"))
        made.journeys[0]["status"] = "paused"
        night.pull(pull.pull_journeys, TOMORROW + timedelta(days=2))
    versions, _ = tables(night)
    assert versions.select("version", "first_day", "last_day", "started").rows() == [
        (1, NIGHT, NIGHT, 10),
        (2, TOMORROW, TOMORROW + timedelta(days=1), 55),
        (3, TOMORROW + timedelta(days=2), None, 55),
    ]
    assert versions["changes"].to_list() == [
        "",
        "delay in hours of step 13: 24 to 60; status of step 14: active to paused",
        "status: sending to paused; step 15 (email) is new",
    ]


def test_what_is_probably_not_meant_is_found(tmp_path):
    made = account(can_contacts_reenter=True, journey_wide_exit_condition=None, list_id="gone")
    made.steps["7"][0] = tag_trigger(11, None)
    made.steps["7"][3] |= {"status": "paused", "stats": {"queue_count": 5, "completed": 0}}
    made.steps["7"].insert(2, delay(16, 0, delay_time=None))
    made.add_journey(8, trigger(21), email(22, "mail1"), status="paused")
    made.steps["8"][1]["stats"] = {"queue_count": 1, "completed": 0}
    _, lint = read(made, tmp_path)
    assert "The journey is paused, and 1 person stopped in it." in lint["detail"].to_list()
    assert found(lint.filter(journey_id="7")) == {
        ("", "re-entry", None),
        ("", "no exit condition", None),
        ("", "deleted audience", None),
        ("11", "lost trigger tag", None),
        ("14", "paused step with a queue", 5),
        ("16", "unknown delay", None),
    }
    assert found(lint.filter(journey_id="8")) == {("", "paused journey with a queue", 1), ("22", "shared e-mail", None)}


def test_what_the_map_says_differently_is_found(tmp_path):
    flows = """
flows:
  - id: mine
    journey: 7
    steps:
      - {id: a, campaign: mail1}
      - {id: b, campaign: mail2, delay: 2 days}
      - {id: c, campaign: other}
"""
    made = account()
    made.steps["7"].append(email(15, "mail3"))
    versions, lint = read(made, tmp_path, flows)
    assert versions["workflow_id"].to_list() == ["mine"]
    assert found(lint) == {
        ("b", "differs from the map", None),
        ("15", "not in the map", None),
        ("c", "not in Mailchimp", None),
    }
    (detail,) = lint.filter(step_id="b")["detail"]
    assert detail == "flows.yaml plans 48 hours after 'a', and Mailchimp waits 24 hours. The map's wait holds."
