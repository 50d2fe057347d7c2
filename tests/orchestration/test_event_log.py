"""The event log with open files holds what Dagster's own class would hold."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from pipeline.cli.nightly import run_night
from pipeline.orchestration.event_log import MOST_OPEN_RUNS, OpenSqliteStorage, _OpenEventLog
from pipeline.orchestration.instance import open_instance
from pipeline.settings import SAMPLE_TONIGHT, Settings

RUNS = MOST_OPEN_RUNS + 3
FEW_EVENTS = 20


@dg.asset(check_specs=[dg.AssetCheckSpec("is_mild", asset="weather"), dg.AssetCheckSpec("is_dry", asset="weather")])
def weather() -> dg.MaterializeResult:
    checks = [
        dg.AssetCheckResult(check_name="is_mild", passed=True),
        dg.AssetCheckResult(check_name="is_dry", passed=False),
    ]
    return dg.MaterializeResult(metadata={"degrees": 3}, tags={"sky": "grey"}, check_results=checks)


@dg.asset(deps=[weather])
def mood() -> None:
    """What follows from the weather."""


job = dg.Definitions(assets=[weather, mood]).resolve_implicit_global_asset_job_def()


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


def held(home: Path, runs: list[str]) -> list[list[tuple[object, ...]]]:
    """The rows of every table of the log, with the number of its run in place of each run's id, and without times."""
    queries = {
        "index": (
            "SELECT dagster_event_type, step_key, asset_key, partition, run_id FROM event_logs",
            "SELECT asset_key, last_materialization IS NULL, last_run_id FROM asset_keys",
            "SELECT asset_key, key, count(*), '' FROM asset_event_tags GROUP BY 1, 2",
            "SELECT check_name, execution_status, materialization_event_storage_id, run_id FROM asset_check_executions",
        ),
        **dict.fromkeys(runs, ("SELECT dagster_event_type, step_key, asset_key, run_id FROM event_logs",)),
    }
    found = []
    for shard, asked in queries.items():
        with closing(sqlite3.connect(home / "history" / "runs" / f"{shard}.db")) as connection:
            for query in asked:
                rows = connection.execute(query).fetchall()
                numbered = [(*row[:-1], runs.index(row[-1]) if row[-1] in runs else row[-1]) for row in rows]
                found.append(sorted(numbered, key=str))
    return found


def test_every_table_holds_what_dagsters_own_class_would_have_written(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    runs = [job.execute_in_process(instance=instance).run_id for _ in range(2)]
    own_home = tmp_path / "own"
    own_home.mkdir()
    with dg.DagsterInstance.local_temp(str(own_home)) as own:
        assert isinstance(own.event_log_storage, SqliteEventLogStorage)
        own_runs = [job.execute_in_process(instance=own).run_id for _ in range(2)]
    ours = held(tmp_path, runs)
    assert all(ours)
    assert ours == held(own_home, own_runs)


def test_what_the_disk_refuses_to_keep_is_raised_and_not_printed_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[dg.EventLogEntry] = []
    keep = _OpenEventLog.store_event_batch

    def full(log: _OpenEventLog, events: Sequence[dg.EventLogEntry]) -> None:
        if len(kept) > FEW_EVENTS:
            raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))
        kept.extend(events)
        keep(log, events)

    monkeypatch.setattr(_OpenEventLog, "store_event_batch", full)
    with pytest.raises(sa.exc.OperationalError):
        run_night(Settings(data_dir=tmp_path, _env_file=None), SAMPLE_TONIGHT, lambda step, steps: None)
    assert "Exception while" not in capsys.readouterr().err
