"""The graph as a newcomer sees it: groups, dependencies, checks, schedule, descriptions."""

import re
from datetime import date, timedelta
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from pipeline.definitions import build_defs
from pipeline.operations.nights import FIRST_NIGHT
from pipeline.orchestration.asset import Group, asset_key
from pipeline.reports.pages import CHARTS_FOLDER, PAGES_PATH
from pipeline.reports.pages.charts import CHARTED
from pipeline.reports.pages.reference import DICTIONARY, table_entries
from pipeline.schemas.base import identity, tables_of
from pipeline.settings import Settings

CONTRACT = {
    "analysis_failures",
    "workflows", "steps", "calendar", "step_metrics_daily", "step_metrics", "workflow_metrics", "step_links",
    "industry",
    "metric_changes", "release_starts", "release_plan", "releases",
    "funnel", "bottlenecks", "exit_reasons", "stuck_subscribers", "time_to_next_step", "revenue_attribution",
    "reconciliation", "runs", "quarantine", "data_dictionary",
    "delay_curves", "delay_recommendations", "send_time_clusters", "send_time_profiles", "subscriber_send_times",
    "engagement_hours", "frequency_pressure", "send_schedules", "send_time_assignments", "send_time_lift",
    "cohort_triangles", "cohort_metrics", "cohort_comparison", "cohort_insights",
    "experiments", "experiment_assignments", "experiment_results", "experiment_verdicts", "member_field_values",
    "holdouts", "holdout_members",
    "anomaly_baselines", "anomalies", "metric_trends", "opportunities",
    "workflow_conflicts", "conflict_replay", "capped_sends", "decision_points", "path_decisions", "content_decisions",
    "rule_coverage", "decision_lint", "policy_values", "policy_choices",
    "optimizations", "optimization_events", "deliveries", "realised_lift", "learnings", "journeys", "journey_lint",
    "outcome_baselines",
}  # fmt: skip


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs(Settings(_env_file=None))


@pytest.fixture(scope="module")
def graph(defs: dg.Definitions):
    return defs.resolve_asset_graph()


def test_definitions_load_as_the_workspace_loads_them(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_group_has_assets_and_no_asset_is_in_another(graph) -> None:
    assert {graph.get(key).group_name for key in graph.get_all_asset_keys()} == set(get_args(Group))


def test_every_table_of_the_contract_is_published(graph) -> None:
    assert {identity(model).name for model in tables_of("marts")} == CONTRACT
    parents = graph.get(dg.AssetKey(["published", "email_warehouse"])).parent_keys
    assert {key.path[-1] for key in parents} == CONTRACT
    assert all(graph.get(key).is_materializable for key in parents)


def test_every_asset_says_what_it_is_who_owns_it_and_when_it_is_late(graph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        assert node.freshness_policy_or_from_metadata, key


def test_every_mart_leads_to_its_place_in_the_dictionary(graph) -> None:
    for entry in table_entries():
        url = graph.get(dg.AssetKey(["marts", entry.name])).metadata["meaning"].value
        assert url == f"{PAGES_PATH}/{DICTIONARY}#{entry.name}"


def test_a_description_shows_the_chart_that_is_written_beside_the_pages(graph) -> None:
    shown = {}
    for entry in table_entries():
        description = graph.get(dg.AssetKey(["marts", entry.name])).description
        for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", description):
            shown[entry.name] = path
    assert shown == {name: f"{PAGES_PATH}/{CHARTS_FOLDER}/{name}.svg" for name in CHARTED}


def test_facts_and_reductions_show_columns_and_their_lineage(graph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        if node.group_name in {"facts", "reductions"}:
            columns = {column.name for column in node.metadata["dagster/column_schema"].columns}
            assert set(node.metadata["dagster/column_lineage"].deps_by_column) == columns
            assert node.partitions_def is not None


def starts(settings: Settings, *asked: date) -> set[str]:
    """The first partition of every asset that has any, and of the nightly."""
    defs = build_defs(settings, *asked)
    graph = defs.resolve_asset_graph()
    found = [graph.get(key).partitions_def for key in graph.get_all_asset_keys()]
    found.append(defs.resolve_job_def("nightly").partitions_def)
    return {days.get_first_partition_key() for days in found if days is not None}


def test_partitions_start_where_the_accounts_data_do(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, as_of=date(2026, 3, 1), _env_file=None)
    assert starts(settings) == {FIRST_NIGHT.isoformat()}
    for table, day in (("sends", "2025-10-01"), ("events", "2026-01-01")):
        (settings.lake_dir / table / f"day={day}").mkdir(parents=True)
    assert starts(settings) == {"2025-10-01"}
    assert starts(settings, date(2025, 9, 1)) == {"2025-09-01"}
    assert starts(settings.model_copy(update={"as_of": date(2025, 8, 1)})) == {"2025-08-01"}
    (settings.lake_dir / "events" / "day=1970-01-01").mkdir()
    assert starts(settings) == {FIRST_NIGHT.isoformat()}


def test_a_mart_is_checked_before_anything_that_needs_it(graph) -> None:
    for model in tables_of("marts"):
        key = asset_key(model)
        checks = graph.get_check_keys_for_assets({key})
        assert checks, key
        assert all(graph.get(check).blocking for check in checks)


def test_funnel_reads_transitions_and_dimensions_only(graph) -> None:
    parents = graph.get(dg.AssetKey(["marts", "funnel"])).parent_keys
    assert {key.to_user_string() for key in parents} == {
        "core/edges",
        "core/steps",
        "reductions/funnel_transitions",
        "reductions/transition_hours",
    }


def test_reading_from_outside_is_retried(defs: dg.Definitions) -> None:
    nodes = {node.name: node for node in defs.resolve_job_def("nightly").nodes}
    reading = [node for name, node in nodes.items() if name.startswith("read_") and name != "read_flow_map"]
    assert len(reading) >= 6
    assert all(node.definition.retry_policy and node.definition.retry_policy.max_retries > 0 for node in reading)


def test_the_schedule_runs_in_the_configured_zone_and_is_on() -> None:
    settings = Settings(timezone="America/New_York", nightly_cron="15 2 * * *", _env_file=None)
    schedule = build_defs(settings).resolve_schedule_def("every_night")
    assert schedule.cron_schedule == "15 2 * * *"
    assert schedule.execution_timezone == "America/New_York"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_freshness_warns_before_it_fails(graph) -> None:
    policy = graph.get(dg.AssetKey(["published", "email_warehouse"])).freshness_policy_or_from_metadata
    assert policy.warn_window.to_timedelta() < policy.fail_window.to_timedelta()
    assert policy.warn_window.to_timedelta() > timedelta(days=1)


def test_loading_the_definitions_writes_nothing(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", mailchimp_url="http://127.0.0.1:9/3.0", _env_file=None)
    build_defs(settings).resolve_job_def("nightly")
    assert list(tmp_path.iterdir()) == []
