"""Alert and dead runs by real runs on an ephemeral instance."""

import json
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from pipeline.common.lock import exclusive
from pipeline.orchestration.dead_runs import YOUNG, end_dead_nightlies
from pipeline.orchestration.partitions import day_range, range_tags, tonight
from pipeline.orchestration.sensors import failure_alert
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.conftest import SECRET


@dg.op
def break_down() -> None:
    raise ValueError("something that may hold an address")


@dg.job
def failing_job() -> None:
    break_down()


def evaluate_alert(settings: Settings) -> None:
    with dg.instance_for_test() as instance:
        result = failing_job.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="alert_on_failure",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        failure_alert(settings)(context)


def test_a_failed_run_is_told_to_the_webhook_by_names_only(webhook: tuple[str, list[dict]]) -> None:
    url, told = webhook
    evaluate_alert(Settings(alert_webhook=url, _env_file=None))
    [alert] = told
    assert alert["failed_steps"] == ["break_down"]
    assert "failing_job" in alert["text"]
    assert "address" not in json.dumps(alert)


def test_a_webhook_that_does_not_answer_is_no_second_failure(caplog: pytest.LogCaptureFixture) -> None:
    evaluate_alert(Settings(alert_webhook=f"http://127.0.0.1:9/{SECRET}", _env_file=None))
    assert SECRET not in caplog.text


def test_tonight_is_the_runs_partition_or_the_end_of_its_range() -> None:
    settings = Settings(_env_file=None)
    assert tonight({}, settings) == SAMPLE_TONIGHT
    assert tonight({"dagster/partition": "2026-03-01"}, settings) == date(2026, 3, 1)
    tags = range_tags(date(2026, 3, 1), date(2026, 3, 9))
    assert tonight(tags, settings) == date(2026, 3, 9)
    assert day_range(tags, settings) == (date(2026, 3, 1), date(2026, 3, 9))


@pytest.mark.parametrize(
    ("seconds_later", "is_held", "is_ended"), [(61, False, True), (59, False, False), (61, True, False)]
)
def test_a_nightly_whose_process_is_gone_is_ended(
    tmp_path: Path, seconds_later: int, is_held: bool, is_ended: bool
) -> None:
    working_file = tmp_path / "working.duckdb"
    with dg.instance_for_test() as instance, ExitStack() as stack:
        run = dg.DagsterRun(job_name="nightly", run_id=make_new_run_id(), status=dg.DagsterRunStatus.NOT_STARTED)
        instance.add_run(run)
        # However long the next line takes, the run is no older than this.
        before = datetime.now(UTC)
        started = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="nightly")
        instance.report_dagster_event(started, run.run_id)
        if is_held:
            stack.enter_context(exclusive(working_file.with_suffix(".lock"), 0))
        since = datetime.now(UTC) if seconds_later > YOUNG.total_seconds() else before
        ended = end_dead_nightlies(instance, working_file, since + timedelta(seconds=seconds_later))
        found = instance.get_run_by_id(run.run_id)
    assert ended == ([run.run_id] if is_ended else [])
    assert found is not None
    assert found.status is (dg.DagsterRunStatus.FAILURE if is_ended else dg.DagsterRunStatus.STARTED)
