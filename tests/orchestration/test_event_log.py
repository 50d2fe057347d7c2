"""The event log with open files holds what Dagster's own class would hold."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from pipeline.orchestration.event_log import MOST_OPEN_RUNS, OpenSqliteStorage
from pipeline.orchestration.instance import open_instance

RUNS = MOST_OPEN_RUNS + 3


@dg.asset
def weather() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"degrees": 3})


job = dg.Definitions(assets=[weather]).resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", "set anew")
    with open_instance(tmp_path) as opened:
        yield opened


def test_more_runs_than_open_files_are_kept_and_dagsters_own_class_reads_them(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert instance.event_log_storage.__module__ == OpenSqliteStorage.__module__
    runs = [job.execute_in_process(instance=instance).run_id for _ in range(RUNS)]
    told = {run: [entry.message for entry in instance.all_logs(run)] for run in runs}
    own = SqliteEventLogStorage(str(tmp_path / "history" / "runs"))
    assert told == {run: [entry.message for entry in own.get_logs_for_run(run)] for run in runs}
    assert all("ASSET_MATERIALIZATION" in str(instance.all_logs(run)) for run in runs)


def test_what_was_wiped_is_gone_and_the_next_run_is_written(instance: dg.DagsterInstance) -> None:
    first = job.execute_in_process(instance=instance).run_id
    instance.wipe()
    assert instance.all_logs(first) == []
    second = job.execute_in_process(instance=instance).run_id
    assert len(instance.all_logs(second)) > 0
    record = instance.get_latest_materialization_event(weather.key)
    assert record is not None
    assert record.run_id == second
