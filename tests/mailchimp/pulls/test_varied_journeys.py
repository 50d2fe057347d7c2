"""The first night of an account with journeys of every kind and no file: what is told is right, nothing stops it."""

from pathlib import Path

import polars as pl
import pytest

from pipeline.cli.nightly import run_night
from pipeline.published.reader import read_publication
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, NIGHT
from tests.mailchimp.loopback import serve
from tests.mailchimp.pulls.varied_journeys import BARE, LEFT, OLD, RIGHT, TEXTED, TOLD, WELCOMED, varied

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder: Path = tmp_path_factory.mktemp("varied")
    with serve(varied().answer) as url:
        given = {"data_dir": folder, "mailchimp_url": url, "MAILCHIMP_API_KEY": API_KEY}
        settings = Settings(**given, _env_file=None)  # type: ignore[arg-type]
        run_night(settings, NIGHT, lambda step, steps: None)
        return dict(read_publication(settings.published_dir))


def test_every_message_is_counted_at_its_step(night: Tables) -> None:
    rows = night["step_metrics"].filter((pl.col("window") == "all") & (pl.col("sent") > 0))
    counted = {(flow.removeprefix("journey-"), step): sent for flow, step, sent in rows.select(
        "workflow_id", "step_id", "sent").iter_rows()}  # fmt: skip
    assert counted == {
        ("101", "5"): WELCOMED,
        ("101", "8"): TOLD,
        ("102", "2"): LEFT + RIGHT,
        ("102", "5"): LEFT,
        ("102", "7"): RIGHT,
        ("102", "9"): LEFT + RIGHT,
        ("103", "2"): OLD,
        ("105", "4"): BARE,
        ("107", "4"): TEXTED,
        ("113", "2"): TOLD,
    }
    assert night["reconciliation"].filter(pl.col("reason") == "unexplained").is_empty()


def test_a_journey_is_a_workflow_if_it_sends_mail_and_is_no_draft(night: Tables) -> None:
    rows = night["workflows"].select("workflow_id", "name", "status", "trigger").rows()
    assert {(flow.removeprefix("journey-"), *told) for flow, *told in rows} == {
        ("101", "Welcome", "active", "signup or tag_added: vip"),
        ("102", "Fork", "active", "event: came"),
        ("103", "journey-103", "archived", "signup"),
        ("105", "journey-105", "active", "something_new"),
        ("107", "journey-107", "active", "api"),
        ("109", "Welcome", "active", "signup"),
        ("112", "journey-112", "active", "signup"),
        ("113", "journey-113", "active", "tag_added"),
    }


def test_delays_add_up_over_actions_and_a_branch_shows_where_people_went(night: Tables) -> None:
    steps = night["steps"].select("workflow_id", "step_id", "next_step_id", "planned_delay_hours", "next_step_source")
    ways = {(flow, step): told for flow, step, *told in steps.drop_nulls("next_step_id").iter_rows()}
    assert ways["journey-101", "5"] == ["8", 37, "mailchimp"]
    assert ways["journey-102", "2"] == ["5", 48, "observed"]
    assert [ways["journey-102", step][0] for step in ("5", "7")] == ["9", "9"]
    assert ways["journey-105", "2"] == ["4", 0, "mailchimp"]


def test_those_who_wait_and_those_who_are_stuck_are_told_apart(night: Tables) -> None:
    rows = night["funnel"].filter(pl.col("entrants") > 0)
    told = {tuple(row[:2]): tuple(row[2:]) for row in rows.select(
        "from_step_id", "to_step_id", "advanced", "lost", "waiting").iter_rows()}  # fmt: skip
    assert told["5", "8"] == (TOLD, 0, WELCOMED - TOLD)
    assert told["8", "9"] == (0, TOLD, 0)
    stuck = night["stuck_subscribers"]
    assert (stuck.height, set(stuck["cause"])) == (TOLD, {"paused step"})


def test_what_is_probably_not_meant_is_found(night: Tables) -> None:
    found = night["journey_lint"].select("journey_id", "step_id", "finding", "people").rows()
    assert set(found) == {
        ("101", "9", "paused step with a queue", TOLD),
        ("102", "", "no exit condition", None),
        ("102", "8", "unknown delay", None),
        ("105", "3", "unknown delay", None),
        ("110", "", "paused journey with a queue", 5),
    }


def test_a_journey_whose_steps_are_not_told_costs_itself(night: Tables) -> None:
    assert "111" not in set(night["journeys"]["journey_id"])
    untold = night["reconciliation"].filter((pl.col("campaign_id") == "111") & (pl.col("metric") == "steps"))
    assert untold.item(0, "reason").startswith("never read: ")
