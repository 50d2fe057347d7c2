"""The whole nightly on the sample account, held against the truth its generator wrote."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars import selectors
from sklearn.metrics import adjusted_rand_score

from pipeline.analysis.delays.recommendations import MINIMUM_ENTRANTS
from pipeline.analysis.experiments.exposures import Facts
from pipeline.analysis.experiments.registry import register
from pipeline.cli.nightly import run_night
from pipeline.common.errors import SourceError
from pipeline.config.constraints import DEFAULT_QUIET_HOURS
from pipeline.config.experiments import load_experiments
from pipeline.decisions.log import model_from_text, replay
from pipeline.lake.store import Lake
from pipeline.operations.proposed_workflow import check_workflow
from pipeline.published.reader import read_publication
from pipeline.published.snapshot import SNAPSHOT_NAME
from pipeline.reports.digest import summary
from pipeline.reports.pages.site import file_name, write_pages
from pipeline.schemas import lake
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.acceptance.bi.queries import PLACE, readme_queries
from tests.reports.pages.numbers import unfounded

STEP = ["workflow_id", "step_id"]
COUNTS = ["sent", "hard_bounces", "soft_bounces", "delivered", "unsubscribes", "complaints", "unique_human_clicks"]


def ignore(step: str, steps: int) -> None:
    """Progress nobody watches."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("data"), _env_file=None)


@pytest.fixture(scope="module")
def night(settings: Settings) -> None:
    run_night(settings, SAMPLE_TONIGHT, ignore)


@pytest.fixture(scope="module")
def tables(settings: Settings, night: None) -> dict[str, pl.DataFrame]:
    return dict(read_publication(settings.published_dir))


@pytest.fixture(scope="module")
def truth(settings: Settings, night: None) -> dict[str, Any]:
    return json.loads((settings.sample_dir / "truth.json").read_text())


@pytest.fixture(scope="module")
def steps(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> pl.DataFrame:
    """Our counts of every step over all time, beside the truth's."""
    ours = tables["step_metrics"].filter(pl.col("window") == "all")
    joined = pl.DataFrame(truth["steps"]).join(ours, on=STEP, how="left", suffix="_counted")
    assert joined.height == len(truth["steps"])
    # A step that never had a fact has no row.
    return joined.with_columns(pl.col(f"{name}_counted" for name in COUNTS).fill_null(0))


@pytest.mark.parametrize("count", COUNTS)
def test_counts_of_every_step_equal_the_truth(steps: pl.DataFrame, count: str) -> None:
    different = steps.filter(pl.col(count).ne_missing(pl.col(f"{count}_counted")))
    assert different.select(*STEP, count, f"{count}_counted").to_dicts() == []


def test_the_bounds_on_human_opens_contain_the_truth(steps: pl.DataFrame) -> None:
    mailed = steps.filter(pl.col("delivered") > 0).with_columns(true=pl.col("unique_human_opens") / pl.col("delivered"))
    outside = mailed.filter(
        (pl.col("true") < pl.col("human_open_rate_low") - 1e-12)
        | (pl.col("true") > pl.col("human_open_rate_high") + 1e-12)
    )
    assert outside.select(*STEP, "true", "human_open_rate_low", "human_open_rate_high").to_dicts() == []
    assert mailed.filter(pl.col("human_open_rate_low") < pl.col("human_open_rate_high")).height > 0


def test_the_planted_bottleneck_is_ranked_first(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    first = tables["bottlenecks"].filter(pl.col("rank") == 1).row(0, named=True)
    planted = truth["bottleneck"]
    assert {name: first[name] for name in planted if name in first} == {n: planted[n] for n in planted if n in first}
    assert first["from_step_id"] == planted["from_step_id"]
    assert first["first_rank_probability"] > 0.95


def test_each_stuck_subscriber_has_its_cause_and_nobody_who_waits_is_listed(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    found = {
        (row["subscriber_key"], row["workflow_id"]): row["cause"] for row in tables["stuck_subscribers"].to_dicts()
    }
    planted = {(row["subscriber_key"], row["workflow_id"]): row["cause"] for row in truth["stuck"]}
    assert found == planted
    waiting = {row["subscriber_key"] for row in truth["waiting"]} - {key for key, _ in planted}
    assert waiting
    assert not waiting & {key for key, _ in found}


def test_the_planted_days_are_found_by_the_clusters(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    planted = [{"subscriber_key": key, "profile": name} for name, keys in truth["profiles"].items() for key in keys]
    found = pl.DataFrame(planted).join(tables["subscriber_send_times"], on="subscriber_key", how="inner")
    assert found.height > 0.99 * len(planted)
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
    exported = tables["send_time_assignments"]
    assert exported["is_randomised"].mean() == pytest.approx(settings.send_time_exploration_share, abs=0.02)
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
    assert 0 < found["entrants"] == MINIMUM_ENTRANTS - found["entrants_needed"]
    assert found["improvement"] is found["recommended_delay_hours"] is None
    curve = tables["delay_curves"].filter(
        (pl.col("workflow_id") == transition[0]) & (pl.col("from_step_id") == transition[1])
    )
    assert curve["entrants"].sum() == found["entrants"]


def test_every_difference_to_mailchimps_reports_has_a_name(tables: dict[str, pl.DataFrame]) -> None:
    reconciliation = tables["reconciliation"]
    assert reconciliation.filter(pl.col("reason") == "unexplained").to_dicts() == []
    is_rate = pl.col("metric").str.ends_with("_rate")  # Mailchimp rounds its rates
    assert reconciliation.filter((pl.col("reason") == "equal") & ~is_rate & (pl.col("difference") != 0)).height == 0
    assert reconciliation.filter(pl.col("reason") == "deleted members").height > 0


def test_bad_events_are_counted_with_reasons(tables: dict[str, pl.DataFrame]) -> None:
    quarantine = tables["quarantine"]
    assert quarantine.filter(pl.col("reason").str.contains("(?i)currency")).height > 0
    assert quarantine.filter(pl.col("reason") == "").height == 0


def test_credits_never_exceed_the_orders(settings: Settings, night: None) -> None:
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        [(repeated,)] = connection.execute(
            "SELECT count(*) - count(DISTINCT (conversion_id, view)) FROM core.credits"
        ).fetchall()
        excess = connection.execute(
            "SELECT view FROM core.credits GROUP BY view "
            "HAVING sum(net_cents) > (SELECT sum(greatest(net_cents, 0)) FROM core.conversions)"
        ).fetchall()
    assert repeated == 0
    assert excess == []


def test_the_data_dictionary_names_every_published_column(settings: Settings, tables: dict[str, pl.DataFrame]) -> None:
    with duckdb.connect(str(settings.published_dir / SNAPSHOT_NAME), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'marts'"
        ).fetchall()
    described = tables["data_dictionary"].filter(pl.col("meaning") != "").select("table", "column").rows()
    assert sorted(described) == sorted(columns)


def test_every_query_of_the_readme_has_an_answer(settings: Settings, night: None) -> None:
    opening, queries = readme_queries()
    with duckdb.connect() as connection:
        connection.execute(opening.replace(PLACE, str(settings.published_dir / SNAPSHOT_NAME)))
        answers = {query: len(connection.execute(query).fetchall()) for query in queries}
    assert len(answers) >= 8
    assert [query for query, rows in answers.items() if not rows] == []


def test_the_planted_cohorts_stand_out_and_no_other_does(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    insights = tables["cohort_insights"]
    found = insights.filter((pl.col("insight_kind") == "above mean") & (pl.col("workflow_id") == "onboarding"))
    lifted = [
        ("signup_date", truth["planted"]["cohort_month"]),
        *(("subscription_plan", plan) for plan, lift in truth["planted"]["plan_lift"].items() if lift > 1),
    ]
    assert sorted(found.select("cohort_type", "cohort").rows()) == sorted(lifted)
    above = insights.filter(pl.col("insight_kind") == "above mean").select("cohort_type", "cohort").rows()
    below = insights.filter(pl.col("insight_kind") == "below mean").select("cohort_type", "cohort").rows()
    assert set(above) == set(lifted)
    # The mean holds the lifted month, so an early month may well lie below it; a plan or a later month does not.
    assert all(kind == "signup_date" and cohort < truth["planted"]["cohort_month"] for kind, cohort in below)


def test_cohorts_by_age_are_masked_where_they_are_young(tables: dict[str, pl.DataFrame]) -> None:
    triangles = tables["cohort_triangles"]
    closed = SAMPLE_TONIGHT - pl.duration(days=7 * (pl.col("age_weeks") + 1))
    youngest = pl.col("cohort") == SAMPLE_TONIGHT.strftime("%Y-%m")
    young = triangles.filter(youngest & (pl.col("cohort_type") == "signup_date"))
    assert young.filter((pl.col("followed") > 0) & (closed < SAMPLE_TONIGHT.replace(day=1))).is_empty()
    assert triangles.filter(pl.col("is_projected") & pl.col("is_mature")).is_empty()


def test_a_step_that_falls_silent_is_found_the_first_night(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    workflow, step = truth["planted"]["silent_step"]
    silence = tables["anomalies"].filter(pl.col("anomaly_kind") == "silence")
    assert silence.select("workflow_id", "step_id").unique().rows() == [(workflow, step)]
    assert silence["day"].min() == date.fromisoformat(truth["planted"]["silent_days"][0])
    assert silence.filter("is_latest")["day"].unique().to_list() == [SAMPLE_TONIGHT]


def anomalies_of(tables: dict[str, pl.DataFrame], place: Sequence[str]) -> pl.DataFrame:
    workflow, step = place
    return tables["anomalies"].filter(
        (pl.col("workflow_id") == workflow) & (pl.col("step_id") == step) & pl.col("is_adverse")
    )


def test_the_outage_is_found_while_it_lasts(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    planted = truth["planted"]
    first, last = map(date.fromisoformat, planted["outage_days"])
    found = anomalies_of(tables, planted["outage_step"]).filter(
        (pl.col("metric") == "prompt_human_click_rate") & pl.col("day").is_between(first, last)
    )
    assert found.height > 0


def test_the_slow_decay_is_found_as_drift(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    planted = truth["planted"]
    found = anomalies_of(tables, planted["decay_step"]).filter(
        (pl.col("metric") == "prompt_human_click_rate") & (pl.col("anomaly_kind") == "drift")
    )
    assert found["day"].min() > date.fromisoformat(planted["decay_from"])


def test_a_night_without_a_planted_cause_is_rarely_called_bad(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    """Conversions truly fall when the month of the lifted cohort is over, so those of its flows are no false alarm."""
    planted = truth["planted"]
    steps = [tuple(planted[name]) for name in ("silent_step", "outage_step", "decay_step")]
    month_over = date.fromisoformat(f"{planted['cohort_month']}-01") + timedelta(days=31)
    is_end_of_lift = (pl.col("metric") == "conversion_rate") & pl.col("day").is_between(
        month_over, month_over + timedelta(days=45)
    )
    adverse = tables["anomalies"].filter(pl.col("is_adverse") & ~is_end_of_lift)
    unplanted = {
        row for row in adverse.select("workflow_id", "step_id", "cause_id").unique().rows() if row[:2] not in steps
    }
    scored = tables["anomaly_baselines"].filter(pl.col("status") == "ok")
    assert len(unplanted) <= 2.1e-3 * scored.height


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
    lines = list(check_workflow(settings, str(proposed)))
    assert "would have been in it" in lines[0]
    assert any("yields to onboarding (delay)" in line for line in lines)
    assert lines[-1].startswith("  mail    with it:")
    with pytest.raises(SourceError, match="no workflow"):
        list(check_workflow(settings, "nowhere"))


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
    assert verdict["verdict"] in ("continue", "futile", "no difference")


def test_a_test_changed_after_its_start_is_refused_with_the_difference(
    settings: Settings, night: None, tmp_path: Path
) -> None:
    written = (settings.definitions / "experiments.yaml").read_text(encoding="utf-8")
    changed = written.replace("minimum_lift: 0.3 ", "minimum_lift: 0.4 ").replace("window_days: 7 ", "window_days: 5 ")
    assert changed != written
    (tmp_path / "experiments.yaml").write_text(changed, encoding="utf-8")
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        names = ("steps", "workflows", "messages", "conversions", "subscribers")
        facts = Facts(**{name: connection.sql(f"SELECT * FROM core.{name}").pl() for name in names})
    plans = Lake(settings.lake_dir).latest(lake.ExperimentPlans).collect()
    registered = register(load_experiments(tmp_path), plans, facts, baseline_days=56, as_of_day=SAMPLE_TONIGHT)
    [refused] = [one for one in registered if one.draft.experiment_id == "setup-subject"]
    assert "minimum_lift 0.3 -> 0.4; window_days 7 -> 5" in refused.status
    assert refused.status.startswith("refused: the definition changed after the start")
    assert refused.plan
    assert refused.plan.window_days == 7


def test_no_published_number_is_not_a_number(tables: dict[str, pl.DataFrame]) -> None:
    for name, rows in tables.items():
        for column in rows.select(selectors.float()):
            assert column.drop_nulls().is_finite().all(), f"{name}.{column.name}"


@pytest.mark.parametrize("name", ["path_decisions", "content_decisions"])
def test_decisions_cover_every_subscriber_and_count_the_defaults(
    tables: dict[str, pl.DataFrame], settings: Settings, name: str
) -> None:
    decisions = tables[name]
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        everybody = connection.sql("SELECT subscriber_key FROM core.subscribers").pl()["subscriber_key"]
    for _, at_point in decisions.group_by("decision_point_id"):
        assert at_point["subscriber_key"].sort().equals(everybody.sort())
    assert decisions["choice_probability"].is_between(0, 1).all()
    assert (decisions["is_default"] == decisions["default_reason"].is_not_null()).all()


def test_decisions_about_to_be_served_can_be_replayed(settings: Settings, night: None) -> None:
    kept = Lake(settings.lake_dir)
    models = {row["model_version"]: row["model"] for row in kept.latest(lake.PolicyModels).collect().to_dicts()}
    logged = kept.latest(lake.Decisions).collect()
    assert set(logged["decision_point_id"]) == {"onboarding-route", "win-back-segment", "cart-hero"}
    for row in logged.sample(60, seed=1).iter_rows(named=True):
        text = models.get(row["model_version"])
        again = replay(row, model_from_text(text) if text else None)
        assert (again["arm"], again["is_default"]) == (row["arm"], row["is_default"])


def test_no_address_leaves_the_private_table(settings: Settings, night: None) -> None:
    private = settings.lake_dir / "addresses"
    marks = [b"@sample.example"]
    for path in settings.data_dir.rglob("*"):
        if path.is_file() and settings.sample_dir not in path.parents and private not in path.parents:
            content = path.read_bytes()
            assert not any(mark in content for mark in marks), path.relative_to(settings.data_dir)


def test_files_of_state_are_private_and_published_ones_read_only(settings: Settings, night: None) -> None:
    def mode(path: Path) -> str:
        return oct(path.stat().st_mode & 0o777)

    assert mode(settings.working_file) == "0o600"
    assert mode(settings.lake_dir / "addresses" / "addresses.parquet") == "0o600"
    assert mode(settings.published_dir / SNAPSHOT_NAME) == "0o444"
    assert mode(settings.published_dir / "manifest.json") == "0o444"


def test_the_morning_is_told_in_ten_lines(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    lines = summary(tables, waiting=11)
    assert len(lines) <= 10
    assert truth["bottleneck"]["from_step_id"] in "\n".join(lines)


def test_every_number_of_a_page_is_in_the_mart_named_beside_it(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    flows = tables["workflows"].filter(pl.col("kind") != "campaign")["workflow_id"]
    write_pages(tables, [], tmp_path / "reports")
    for name, flow in [("index.html", None), *((file_name(flow), flow) for flow in flows)]:
        page = (tmp_path / "reports" / name).read_text(encoding="utf-8")
        assert page.count("data-raw=") > 100
        assert unfounded(page, tables, flow) == []
