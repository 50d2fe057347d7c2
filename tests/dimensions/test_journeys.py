"""What becomes of journeys that were read over HTTP: workflows, steps, ways with their delays, and their versions."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.common.time import start_of_day_us
from pipeline.config.flow_map import load_flow_map
from pipeline.dimensions.flow_draft import initial_flow_map
from pipeline.dimensions.flows import Dimensions, dimensions
from pipeline.dimensions.journeys import known_journeys, observed_ways
from pipeline.dimensions.workflow import BEGINNING_US, END_US
from pipeline.mailchimp import pulls as pull
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from tests.mailchimp.fake_account import NIGHT, Night, member, served
from tests.mailchimp.journey_account import PLACE, JourneyAccount, delay, email, tag_trigger, trigger

TOMORROW = NIGHT + timedelta(days=1)
CONDITION = {"id": 14, "step_type": "condition-if_else", "status": "active"}


def made(night: Night, flows: str = "") -> Dimensions:
    """The dimensions of what the lake holds, with a flow map."""
    folder = night.settings.definitions
    folder.mkdir(exist_ok=True)
    (folder / "flows.yaml").write_text(flows)
    lake = night.lake
    sources = lake.latest(tables.Sources).filter(kind="journey", state="unlisted").collect()
    journeys = known_journeys(lake.scan(Journeys).collect(), lake.scan(JourneySteps).collect(), sources["source_id"])
    latest = (lake.latest(one).collect() for one in (tables.Automations, tables.AutomationEmails, tables.Campaigns))
    observed = observed_ways(lake.scan(tables.Sends), journeys)
    return dimensions(load_flow_map(folder), *latest, night.settings, journeys, observed)


def ways(found: Dimensions, workflow_id: str) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """Delay, validity, source, people and whether it is the default way, by the ids of both steps."""
    names = dict(found.steps.select("step_key", "step_id").iter_rows())
    mine = found.workflows.filter(workflow_id=workflow_id).select("workflow_key")
    told: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in found.edges.join(mine, on="workflow_key").sort("delay_version").iter_rows(named=True):
        values = ("delay_hours", "valid_from_us", "valid_to_us", "edge_source", "observed_people", "is_default")
        pair = names[row["from_step_key"]], names[row["to_step_key"]]
        told.setdefault(pair, []).append(tuple(row[name] for name in values))
    return told


def linear(**changes: Any) -> JourneyAccount:
    account = JourneyAccount()
    account.members = [member(number) for number in range(1, 21)]
    steps = (
        trigger(11), tag_trigger(12, "vip"), delay(13, 4), email(21, "mail1"), delay(22, 24),
        {"id": 23, "step_type": "action-add_remove_tag", "status": "active"}, delay(24, 12), email(31, "mail2"),
        email(41, "mail3"),
    )  # fmt: skip
    account.add_journey(7, *steps, journey_name="Hello", **changes)
    for campaign in ("mail1", "mail2", "mail3"):
        account.send_email(campaign, {1: "2026-06-20T10:00:00+00:00"})
    return account


def branched() -> JourneyAccount:
    """12 people go from the first e-mail to the left one, 8 to the right one, and all of the left to the last."""
    account = JourneyAccount()
    account.members = [member(number) for number in range(1, 21)]
    steps = (
        trigger(11), email(12, "start"), delay(13, 24), CONDITION, delay(15, 10), email(16, "left"), delay(17, 20),
        email(18, "right"), delay(19, 48), email(20, "last"),
    )  # fmt: skip
    account.add_journey(7, *steps)
    account.send_email("start", dict.fromkeys(range(1, 21), "2026-06-01T10:00:00+00:00"))
    account.send_email("left", dict.fromkeys(range(1, 13), "2026-06-03T10:00:00+00:00"))
    account.send_email("right", dict.fromkeys(range(13, 21), "2026-06-03T12:00:00+00:00"))
    account.send_email("last", dict.fromkeys(range(1, 13), "2026-06-05T10:00:00+00:00"))
    return account


def read(account: JourneyAccount, folder: Path, flows: str = "") -> Dimensions:
    with served(account, folder) as night:
        night.run()
    return made(night, flows)


def test_a_linear_journey_needs_no_map(tmp_path):
    found = read(linear(), tmp_path)
    (workflow,) = found.workflows.to_dicts()
    told = ("workflow_id", "name", "kind", "trigger", "status")
    assert [workflow[name] for name in told] == ["journey-7", "Hello", "journey", "signup or tag_added: vip", "active"]
    steps = found.steps.sort("position").select("step_id", "campaign_id", "name", "subject").rows()
    assert steps == [
        (step, mail, f"Title of {mail}", f"Subject of {mail}")
        for step, mail in (("21", "mail1"), ("31", "mail2"), ("41", "mail3"))
    ]
    assert ways(found, "journey-7") == {
        ("21", "31"): [(36, BEGINNING_US, END_US, "mailchimp", None, True)],
        ("31", "41"): [(0, BEGINNING_US, END_US, "mailchimp", None, True)],
    }


def test_after_a_branch_the_ways_are_those_that_people_went(tmp_path):
    found = read(branched(), tmp_path)
    assert ways(found, "journey-7") == {
        ("12", "16"): [(34, BEGINNING_US, END_US, "observed", 12, True)],
        ("12", "18"): [(44, BEGINNING_US, END_US, "observed", 8, False)],
        ("16", "20"): [(48, BEGINNING_US, END_US, "observed", 12, True)],
    }
    kinds = dict(found.steps.select("step_id", "kind").iter_rows())
    assert kinds == {"12": "email", "14": "branch", "16": "email", "18": "email", "20": "email"}


def test_a_branch_before_the_first_email_leads_to_several_beginnings(tmp_path):
    account = branched()
    account.steps["7"] = [step for step in account.steps["7"] if step["id"] != 12]
    found = read(account, tmp_path)
    assert ways(found, "journey-7") == {("16", "20"): [(48, BEGINNING_US, END_US, "observed", 12, True)]}
    assert set(found.steps.filter(pl.col("campaign_id") != "start")["step_id"]) == {"16", "18", "20"}


def test_a_map_completes_the_branches_and_keeps_its_own_names(tmp_path):
    flows = """
flows:
  - id: mine
    journey: 7
    name: My own
    goal: purchase
    steps:
      - {id: hello, campaign: start}
      - {id: fork, kind: branch}
      - {id: L, campaign: left, after: [fork], default: true}
      - {id: R, campaign: right, after: [fork], delay: 3 days}
      - {id: end, campaign: last, after: [L, R]}
"""
    found = read(branched(), tmp_path, flows)
    (workflow,) = found.workflows.to_dicts()
    assert [workflow[name] for name in ("workflow_id", "name", "goal_event_type", "trigger")] == [
        "mine", "My own", "purchase", "signup",
    ]  # fmt: skip
    hours = {pair: told[0][0] for pair, told in ways(found, "mine").items()}
    assert hours == {
        ("hello", "fork"): 24, ("fork", "L"): 10, ("fork", "R"): 72, ("L", "end"): 48, ("R", "end"): 48,
    }  # fmt: skip
    assert {told[0][3] for told in ways(found, "mine").values()} == {"map"}


def test_an_entry_without_id_and_steps_only_adds_to_what_mailchimp_says(tmp_path):
    plain, added = read(linear(), tmp_path), read(linear(), tmp_path, "flows: [{journey: 7, goal: purchase}]")
    assert added.workflows["goal_event_type"].to_list() == ["purchase"]
    assert ways(added, "journey-7") == ways(plain, "journey-7")
    assert added.steps.equals(plain.steps)


def test_an_entry_that_lists_some_steps_gets_the_others_where_they_belong(tmp_path):
    flows = "flows: [{id: mine, journey: 7, steps: [{id: second, campaign: mail2, grace: 5 days}]}]"
    found = read(linear(), tmp_path, flows)
    assert found.steps.sort("position")["step_id"].to_list() == ["21", "second", "41"]
    hours = {pair: told[0][0] for pair, told in ways(found, "mine").items()}
    assert hours == {("21", "second"): 36, ("second", "41"): 0}


def test_an_email_that_the_map_leaves_out_takes_neither_the_id_of_a_step_nor_a_way_that_the_map_tells(tmp_path):
    """People number their steps as they like, and Mailchimp's numbers may be the same."""
    flows = """
flows:
  - id: mine
    journey: 7
    steps:
      - {id: "18", campaign: start}
      - {id: fork, kind: branch}
      - {id: L, campaign: left, after: [fork], default: true}
      - {id: end, campaign: last, after: [L]}
"""
    found = read(branched(), tmp_path, flows)
    assert dict(found.steps.sort("position").select("step_id", "campaign_id").iter_rows()) == {
        "18": "start", "fork": None, "L": "left", "right": "right", "end": "last",
    }  # fmt: skip
    kept = {pair: told[0][-1] for pair, told in ways(found, "mine").items()}
    assert kept == {("18", "fork"): True, ("fork", "L"): True, ("L", "end"): True}


def test_an_email_that_a_journey_sends_twice_belongs_to_one_step(tmp_path):
    account = linear()
    account.steps["7"] += [delay(50, 1), email(51, "mail1")]
    found = read(account, tmp_path)
    assert dict(found.steps.select("step_id", "campaign_id").iter_rows()) == {
        "21": "mail1", "31": "mail2", "41": "mail3", "51": None,
    }  # fmt: skip
    mapped = read(account, tmp_path / "mapped", "flows: [{journey: 7, steps: [{id: a, campaign: mail2}]}]")
    assert mapped.steps["campaign_id"].sort().to_list() == ["mail1", "mail2", "mail3"]


@pytest.mark.parametrize("other", ["", ", {id: other, steps: [{id: b, campaign: mail1}]}"])
def test_an_entry_with_the_id_of_a_journey_is_about_it(tmp_path, other):
    found = read(linear(), tmp_path, f"flows: [{{id: journey-7, goal: buy, steps: [{{id: a, campaign: x}}]}}{other}]")
    assert found.workflows["workflow_id"].is_unique().all()
    assert dict(found.workflows.select("workflow_id", "kind").iter_rows())["journey-7"] == "journey"


def test_a_map_that_is_older_than_the_reading_of_journeys_keeps_its_flow(tmp_path):
    flows = "flows: [{id: old, steps: [{id: a, campaign: mail1}, {id: b, campaign: mail2, delay: 1 day}]}]"
    found = read(linear(), tmp_path, flows)
    assert found.workflows["workflow_id"].to_list() == ["old"]
    assert ways(found, "old")["a", "b"] == [(24, BEGINNING_US, END_US, "map", None, True)]


@pytest.mark.parametrize("listed", [True, False])
def test_a_journey_that_was_never_read_is_what_the_map_says(tmp_path, listed):
    account = linear()
    account.instead[PLACE] = 403
    steps = "steps: [{id: a, campaign: mail1}, {id: b, campaign: mail2, delay: 1 day}]"
    found = read(account, tmp_path, f"flows: [{{id: mine, journey: 7, {steps if listed else ''}}}]")
    kinds = dict(found.workflows.select("workflow_id", "kind").iter_rows())
    alone = {"mail1", "mail2", "mail3"} if not listed else {"mail3"}
    assert kinds == {**dict.fromkeys(alone, "campaign"), **({"mine": "flow"} if listed else {})}


def test_a_delay_that_changed_is_a_new_version_from_that_night_on(tmp_path):
    account = linear()
    with served(account, tmp_path) as night:
        night.run()
        before = made(night)
        account.steps["7"][4] = delay(22, 60)
        night.pull(pull.pull_journeys, TOMORROW)
        after = made(night)
        overridden = made(night, "flows: [{journey: 7, steps: [{id: x, campaign: mail2, delay: 2 hours}]}]")
    changed = start_of_day_us(TOMORROW)
    assert ways(after, "journey-7")["21", "31"] == [
        (36, BEGINNING_US, changed, "mailchimp", None, True),
        (72, changed, END_US, "mailchimp", None, True),
    ]
    assert [told[0] for told in ways(overridden, "journey-7")["21", "x"]] == [2]
    assert before.workflows.item(0, "definition_version") != after.workflows.item(0, "definition_version")


WAITS = """
flows:
  - id: welcome
    journey: 7
    waits: mailchimp
    steps: [{id: a, campaign: mail1}, {id: b, campaign: mail2, delay: 1 day}, {id: gone, delay: 5 days}]
"""


def test_with_waits_of_mailchimp_a_changed_delay_is_followed_and_the_map_holds_where_none_is_told(tmp_path):
    account = linear()
    with served(account, tmp_path) as night:
        untold = made(night, WAITS)
        night.run()
        account.steps["7"][4] = delay(22, 60)
        night.pull(pull.pull_journeys, TOMORROW)
        followed = made(night, WAITS)
        overridden = made(night, WAITS.replace("    waits: mailchimp\n", ""))
    hours = [
        {pair: [told[0] for told in way] for pair, way in ways(one, "welcome").items()}
        for one in (untold, followed, overridden)
    ]
    assert [one["a", "b"] for one in hours] == [[24], [36, 72], [24]]
    assert [one["b", "gone"] for one in hours] == [[120]] * 3


def test_counts_that_move_are_no_new_version(tmp_path):
    account = linear()
    with served(account, tmp_path) as night:
        night.run()
        before = made(night)
        account.journeys[0]["stats"] = {"started": 99, "in_progress": 9, "completed": 90}
        account.steps["7"][2] = delay(13, 4, stats={"queue_count": 8, "completed": 5})
        night.pull(pull.pull_journeys, TOMORROW)
        assert made(night).workflows.equals(before.workflows)


def test_paused_steps_and_journeys_are_paused(tmp_path):
    account = linear(status="paused")
    account.steps["7"][3]["status"] = "paused"
    found = read(account, tmp_path)
    assert found.workflows["status"].to_list() == ["paused"]
    assert dict(found.steps.select("step_id", "status").iter_rows()) == {"21": "paused", "31": "active", "41": "active"}


def test_an_email_that_was_taken_out_keeps_its_history_as_a_deleted_step(tmp_path):
    account = linear()
    with served(account, tmp_path) as night:
        night.run()
        account.steps["7"][7] = email(31, "mail4")
        del account.steps["7"][8]
        night.pull(pull.pull_journeys, TOMORROW)
        found = made(night)
    rows = found.steps.sort("position").select("step_id", "campaign_id", "status").rows()
    assert rows == [
        ("21", "mail1", "active"), ("31", "mail4", "active"), ("mail2", "mail2", "deleted"), ("41", "mail3", "deleted"),
    ]  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), [(0, []), (3, ["journey-8"])])
def test_a_draft_is_no_workflow_unless_mail_was_sent(tmp_path, sent, expected):
    account = JourneyAccount()
    stats = {"started": 0, "in_progress": 0, "completed": 0}
    account.add_journey(8, trigger(1), email(2, "mail9", sent=sent), status="draft", stats=stats, first_started_at="")
    assert read(account, tmp_path).workflows["workflow_id"].to_list() == expected


def test_an_email_of_two_journeys_belongs_to_the_first(tmp_path):
    account = linear()
    account.add_journey(8, trigger(51), email(52, "mail2"), email(53, "own"))
    found = read(account, tmp_path)
    owners = found.steps.filter(pl.col("campaign_id") == "mail2")["workflow_id"].to_list()
    assert owners == ["journey-7"]
    assert dict(found.steps.filter(workflow_id="journey-8").select("step_id", "campaign_id").iter_rows()) == {
        "52": None,
        "53": "own",
    }


def test_a_journey_that_mailchimp_lists_no_more_is_archived_with_its_history(tmp_path):
    account = linear()
    account.add_journey(8, trigger(51), email(52, "other"))
    with served(account, tmp_path) as night:
        night.run()
        del account.journeys[0]
        night.pull(pull.pull_journeys, TOMORROW)
        states = dict(made(night).workflows.select("workflow_id", "status").iter_rows())
    assert states == {"journey-7": "archived", "journey-8": "active"}


def test_the_first_flow_map_lists_journeys_and_changes_nothing(tmp_path):
    account = branched()
    account.add_journey(8, trigger(51), email(52, "other"), journey_name="Odd: 'name' # here")
    with served(account, tmp_path) as night:
        night.run()
        bare = made(night)
        journeys = known_journeys(night.lake.latest(Journeys).collect(), night.lake.latest(JourneySteps).collect())
        latest = (night.lake.latest(one).collect() for one in (tables.Automations, tables.AutomationEmails))
        text = initial_flow_map(*latest, night.lake.latest(tables.Campaigns).collect(), journeys)
        drafted = made(night, text)
    assert drafted.edges.equals(bare.edges)
    assert drafted.steps.equals(bare.steps)
    assert drafted.workflows.drop("category").equals(bare.workflows.drop("category"))
    assert "Mailchimp does not say how its branches go on" in text
    # Its comments are a map once the marks are taken away: the branch's targets then follow each other.
    whole = text.replace("    #   - ", "      - ").replace("    # steps:", "    steps:")
    assert made(night, whole).steps.select("step_id", "campaign_id").equals(bare.steps.select("step_id", "campaign_id"))
