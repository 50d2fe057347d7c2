"""What the sample night recommends, decides and tests, held against the generator's truth."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from pipeline.analysis.delays.recommendations import MINIMUM_CONVERSIONS
from pipeline.analysis.experiments.exposures import Facts
from pipeline.analysis.experiments.registry import register
from pipeline.common.errors import SourceError
from pipeline.config.constraints import DEFAULT_QUIET_HOURS
from pipeline.config.experiments import load_experiments
from pipeline.config.flow_map import find_flow
from pipeline.lake.store import Lake
from pipeline.operations.after_publication import standing_proposals
from pipeline.operations.proposed_workflow import check_workflow
from pipeline.schemas import lake
from pipeline.schemas.lake import MAILABLE, Members
from pipeline.settings import SAMPLE_TONIGHT, Settings

STEP = ["workflow_id", "step_id"]
COUNTS = ["sent", "hard_bounces", "soft_bounces", "delivered", "unsubscribes", "complaints", "unique_human_clicks"]


def test_the_planted_days_are_found_by_the_clusters(
    settings: Settings, tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    rows = [{"subscriber_key": key, "profile": name} for name, keys in truth["profiles"].items() for key in keys]
    mailable = Lake(settings.lake_dir).latest(Members).filter(pl.col("status").is_in(MAILABLE)).collect()
    planted = pl.DataFrame(rows).join(mailable, on="subscriber_key", how="semi")
    found = planted.join(tables["subscriber_send_times"], on="subscriber_key", how="inner")
    assert found.height > 0.99 * planted.height
    # By chance 0, and 1 only if there were as many clusters as kinds of day.
    assert adjusted_rand_score(found["profile"], found["cluster_id"]) > 0.3
    sizes = found.group_by("profile", "cluster_id").len().sort("len", descending=True)
    homes = sizes.unique("profile", keep="first")
    assert homes["cluster_id"].is_unique().all()
    active = dict(
        homes.join(tables["send_time_clusters"], on="cluster_id").select("profile", "active_local_hour").rows()
    )
    assert active["morning"] < active["lunch"] < active["evening"]


def test_a_lift_of_send_times_is_promised_only_once_hours_are_drawn(tables: dict[str, pl.DataFrame]) -> None:
    lift = tables["send_time_lift"]
    assert set(lift["status"]) == {"cannot be estimated"}
    assert lift["engagement_lift"].null_count() == lift.height
    assert (lift["randomised_sends_needed"] > 0).all()
    assert (lift["exploration_share"] > 0).all()


def test_a_share_of_hours_is_drawn_logged_and_exported(tables: dict[str, pl.DataFrame], settings: Settings) -> None:
    exported, everybody = tables["send_time_assignments"], tables["subscriber_send_times"]
    drawn_share = exported["is_randomised"].sum() / everybody.height
    assert drawn_share == pytest.approx(settings.send_time_exploration_share, abs=0.02)
    moved = pl.col("recommended_local_hour") != pl.col("current_local_hour")
    led = everybody.filter((pl.col("fallback_level") == "subscriber") & moved)
    assert set(exported.filter(~pl.col("is_randomised"))["subscriber_key"]) <= set(led["subscriber_key"])
    quiet_from, quiet_until = DEFAULT_QUIET_HOURS
    drawn = exported.filter("is_randomised")["assigned_local_hour"]
    assert sorted(drawn.unique()) == list(range(quiet_until, quiet_from))
    logged = Lake(settings.lake_dir).latest(lake.SendTimeAssignments).collect()
    columns = ["subscriber_key", "assigned_local_hour", "is_randomised", "choice_probability"]
    assert logged.select(columns).sort(columns).equals(exported.select(columns).sort(columns))


def test_schedules_keep_the_night_quiet(tables: dict[str, pl.DataFrame]) -> None:
    schedules = tables["send_schedules"]
    quiet_from, quiet_until = DEFAULT_QUIET_HOURS
    hours = schedules["local_hour"].drop_nulls()
    assert hours.len() > 0
    assert hours.is_between(quiet_until, quiet_from - 1).all()
    assert set(schedules.filter(pl.col("local_hour").is_null())["status"]) == {"not enough data"}


def recommendation(tables: dict[str, pl.DataFrame], transition: Sequence[str]) -> dict[str, Any]:
    workflow, start, end = transition
    same = (pl.col("workflow_id") == workflow) & (pl.col("from_step_id") == start) & (pl.col("to_step_id") == end)
    [row] = tables["delay_recommendations"].filter(same).to_dicts()
    return row


def test_the_delay_that_matters_is_found(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    planted = truth["planted"]
    found = recommendation(tables, planted["delay_that_matters"])
    best = max(planted["delay_purchase"], key=planted["delay_purchase"].__getitem__)
    assert (found["identification"], found["action"], found["status"]) == ("randomised", "change", "ok")
    assert found["recommended_delay_hours"] == float(best)
    # Purchases at once are a part of all conversions, so the planted ratio bounds the whole improvement.
    most = planted["delay_purchase"][best] / planted["delay_purchase"][str(int(found["current_delay_hours"]))] - 1
    assert 0 < found["improvement_low"] < found["improvement"] < found["improvement_high"] < most


def test_the_delay_that_does_not_matter_is_left_alone(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    found = recommendation(tables, truth["planted"]["delay_that_does_not"])
    assert (found["identification"], found["status"]) == ("randomised", "ok")
    assert found["action"] != "change"


def test_too_few_for_a_delay_are_told_with_the_count_still_needed(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    transition = truth["planted"]["delay_of_too_few"]
    found = recommendation(tables, transition)
    assert (found["status"], found["identification"], found["action"]) == ("not enough data", "randomised", "wait")
    assert 0 < found["conversions"] == MINIMUM_CONVERSIONS - found["conversions_needed"]
    assert found["improvement"] is found["recommended_delay_hours"] is None
    curve = tables["delay_curves"].filter(
        (pl.col("workflow_id") == transition[0]) & (pl.col("from_step_id") == transition[1])
    )
    assert curve["entrants"].sum() == found["entrants"]


def test_opportunities_are_led_by_the_planted_bottleneck_and_the_delay_that_matters(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    listed = tables["opportunities"].sort("rank")
    leading = listed.head(2).select("kind", "workflow_id", "step_id").rows()
    delay, bottleneck = truth["planted"]["delay_that_matters"], truth["bottleneck"]
    assert sorted(leading) == [
        ("bottleneck", bottleneck["workflow_id"], bottleneck["from_step_id"]),
        ("delay", delay[0], delay[1]),
    ]
    silent = tuple(truth["planted"]["silent_step"])
    assert silent in listed.filter(pl.col("kind") == "anomaly").select("workflow_id", "step_id").rows()


def test_colliding_flows_are_found_and_the_lower_priority_yields(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    [replayed] = tables["conflict_replay"].to_dicts()
    priority = dict(tables["workflows"].select("workflow_id", "priority").rows())
    assert priority[replayed["workflow_id"]] < priority[replayed["prevailing_workflow_id"]]
    first = date.toordinal(replayed["first_day"]) - date(1970, 1, 1).toordinal()
    mailed_by_both = {row["subscriber_key"] for row in truth["collisions"] if row["day"] >= first}
    assert len(mailed_by_both) > 10
    assert replayed["subscribers"] >= len(mailed_by_both)
    tonight = tables["workflow_conflicts"]
    assert set(tonight["workflow_id"]) <= {replayed["workflow_id"]}
    assert tonight["reason"].str.contains("priority 5 is below 30").all()


def test_a_workflow_is_checked_before_it_starts(settings: Settings, night: None, tmp_path: Path) -> None:
    proposed = tmp_path / "review.yaml"
    proposed.write_text(
        "flows:\n  - id: review\n    category: promotional\n    trigger: purchase\n"
        "    steps:\n      - {id: ask}\n      - {id: again, delay: 5 days}\n"
    )
    lines = list(check_workflow(settings, find_flow(settings.definitions, str(proposed))))
    assert "would have been in it" in lines[0]
    assert any("yields to onboarding (delay)" in line for line in lines)
    assert lines[-1].startswith("  mail    with it:")
    with pytest.raises(SourceError, match="no workflow"):
        find_flow(settings.definitions, "nowhere")


def test_the_real_lift_is_declared_the_winner_inside_its_plan(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    verdict = tables["experiment_verdicts"].row(by_predicate=pl.col("experiment_id") == "setup-subject", named=True)
    plan = tables["experiments"].row(by_predicate=pl.col("experiment_id") == "setup-subject", named=True)
    assert (verdict["verdict"], verdict["winner_arm"]) == ("winner", "B")
    assert verdict["looks"] <= plan["planned_looks"]
    assert verdict["information_fraction"] <= 1
    assert 0 < verdict["shrunk_lift"] < verdict["lift"]


def test_two_equal_arms_are_told_apart_on_no_night(tables: dict[str, pl.DataFrame]) -> None:
    nights = tables["experiment_results"].filter(pl.col("experiment_id") == "hello-twins")
    verdict = tables["experiment_verdicts"].row(by_predicate=pl.col("experiment_id") == "hello-twins", named=True)
    # Futility may end it before the sixtieth night, and nothing is looked at after that.
    assert nights["as_of_day"].n_unique() >= 50
    assert not nights["is_significant"].any()
    assert verdict["verdict"] in ("continue", "futile", "no difference", "ended without an answer")


def test_a_test_changed_after_its_start_is_refused_with_the_difference(
    settings: Settings, night: None, tmp_path: Path
) -> None:
    written = (settings.definitions / "experiments.yaml").read_text(encoding="utf-8")
    changed = written.replace("minimum_lift: 0.3 ", "minimum_lift: 0.4 ").replace("window_days: 7 ", "window_days: 5 ")
    assert changed != written
    (tmp_path / "experiments.yaml").write_text(changed, encoding="utf-8")
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        names = ("steps", "workflows", "messages", "conversions", "subscribers")
        tables = {name: connection.sql(f"SELECT * FROM core.{name}").pl() for name in names}
    growing = {name: tables[name].lazy() for name in ("messages", "conversions", "subscribers")}
    facts = Facts(**{**tables, **growing})
    plans = Lake(settings.lake_dir).latest(lake.ExperimentPlans).collect()
    drafts = load_experiments(tmp_path)
    registered = register(drafts, plans, facts, {}, baseline_days=56, as_of_day=SAMPLE_TONIGHT)
    [refused] = [one for one in registered if one.draft.experiment_id == "setup-subject"]
    assert "minimum_lift 0.3 -> 0.4; window_days 7 -> 5" in refused.status
    assert refused.status.startswith("refused: the definition changed after the start")
    assert refused.plan
    assert refused.plan.window_days == 7


def mailable(settings: Settings) -> pl.Series:
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        people = connection.sql("SELECT subscriber_key, status FROM core.subscribers").pl()
    assert people["status"].n_unique() > 1
    return people.filter(pl.col("status") == "subscribed")["subscriber_key"]


@pytest.mark.parametrize(
    "name", ["send_time_assignments", "subscriber_send_times", "workflow_conflicts", "member_field_values"]
)
def test_nobody_is_in_a_plan_who_cannot_be_mailed(
    tables: dict[str, pl.DataFrame], settings: Settings, name: str
) -> None:
    assert set(tables[name]["subscriber_key"]) <= set(mailable(settings))


def test_before_anything_is_delivered_nothing_is_served(tables: dict[str, pl.DataFrame]) -> None:
    for name in ("path_decisions", "content_decisions", "send_time_assignments"):
        assert tables[name].height > 0
        assert not tables[name]["is_served"].any()
    drawn = tables["experiment_assignments"].filter(pl.col("experiment_id") == "tips-length")
    assert not drawn["is_served"].any()
    assert tables["deliveries"].is_empty()
    assert tables["policy_values"].is_empty()


def test_instructions_call_flows_and_steps_by_their_names(settings: Settings, tables: dict[str, pl.DataFrame]) -> None:
    named = pl.concat(
        tables[table].select(id=name, name="name")
        for table, name in (("workflows", "workflow_id"), ("steps", "step_id"))
    )
    ids = named.filter(pl.col("id") != pl.col("name"))["id"].to_list()
    found, failures = standing_proposals(settings)
    instructions = [line for proposal in found for line in proposal.after.get("instructions", [])]
    assert not failures
    assert instructions
    assert not [(id_, line) for line in instructions for id_ in ids if f"'{id_}'" in line]


@pytest.mark.parametrize("name", ["path_decisions", "content_decisions"])
def test_decisions_cover_everybody_who_can_be_mailed_and_count_the_defaults(
    tables: dict[str, pl.DataFrame], settings: Settings, name: str
) -> None:
    decisions = tables[name]
    everybody = set(mailable(settings))
    for _, at_point in decisions.group_by("decision_point_id"):
        assert set(at_point["subscriber_key"]) == everybody
        assert at_point.height == len(everybody)
    assert decisions["choice_probability"].is_between(0, 1).all()
    assert (decisions["is_default"] == decisions["default_reason"].is_not_null()).all()
