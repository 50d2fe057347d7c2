"""The schedule in any zone: every tick asks for the last complete UTC day, and a tick that fails is told."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import available_timezones

import dagster as dg
import pytest
from dagster._core.definitions.repository_definition import RepositoryDefinition
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.definitions import build_defs
from pipeline.orchestration.schedules import nightly_schedule, release_schedule
from pipeline.orchestration.sensors import tick_alert
from pipeline.settings import Settings

ZONES = sorted(zone for zone in available_timezones() if "/" in zone)
CRONS = ["30 3 * * *", "0 0 * * *", "59 23 * * *", "30 2 * * *", "15 */4 * * *", "0 12 * * 1-5", "@daily"]
# The days around these hold a change of the clocks in most zones that have one, and the turn of the year.
TURNS = [
    datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 8), (3, 29), (4, 5), (10, 25), (11, 1), (12, 31))
]


@pytest.fixture(scope="module")
def repository() -> RepositoryDefinition:
    return build_defs(account()).get_repository_def()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as ephemeral:
        yield ephemeral


def account(**more: object) -> Settings:
    return Settings(mailchimp_url="http://127.0.0.1:9/3.0", _env_file=None, **more)  # type: ignore[arg-type]


def night_of_tick(settings: Settings, tick: datetime, repository: RepositoryDefinition, instance: dg.DagsterInstance):
    """What a tick asks for when the clock stands at its time."""
    with freeze_time(tick):
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=tick, repository_def=repository)
        [request] = nightly_schedule(settings).evaluate_tick(context).run_requests or []
    return request


@given(
    zone=st.sampled_from(ZONES),
    cron=st.sampled_from(CRONS),
    turn=st.sampled_from(TURNS),
    hours=st.integers(-72, 72),
)
@settings(max_examples=25, deadline=None)
def test_every_tick_of_every_zone_takes_the_last_complete_utc_day(repository, instance, zone, cron, turn, hours):
    settings = account(timezone=zone, nightly_cron=cron)
    schedule = nightly_schedule(settings)
    start = turn + timedelta(hours=hours)
    ticks = schedule_execution_time_iterator(start.timestamp(), str(schedule.cron_schedule), zone, True)
    for tick in islice(ticks, 3):
        request = night_of_tick(settings, tick, repository, instance)
        midnight_after = datetime.fromisoformat(request.partition_key).replace(tzinfo=UTC) + timedelta(days=1)
        assert timedelta(0) <= tick - midnight_after < timedelta(days=1)
        assert request.run_key == f"nightly-{request.partition_key}"


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Europe/Vienna", "Etc/GMT+12"])
def test_a_schedule_once_a_day_takes_every_day_where_no_clock_is_changed(repository, instance, zone):
    settings = account(timezone=zone)
    start = datetime(2026, 4, 10, tzinfo=UTC)
    ticks = schedule_execution_time_iterator(start.timestamp(), settings.nightly_cron, zone, True)
    nights = [night_of_tick(settings, tick, repository, instance).partition_key for tick in islice(ticks, 14)]
    first = datetime.fromisoformat(nights[0])
    assert nights == [f"{first + timedelta(days=number):%Y-%m-%d}" for number in range(14)]


@pytest.fixture
def fallen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance whose schedule has just failed: the night that the settings name is not over yet."""
    for name, value in {
        "DRIPTUNE_AS_OF": f"{datetime.now(UTC).date() + timedelta(days=30)}",
        "DRIPTUNE_DATA_DIR": str(tmp_path),
        "DRIPTUNE_NIGHTLY_CRON": "* * * * *",
    }.items():
        monkeypatch.setenv(name, value)
    target = LoadableTargetOrigin(module_name="pipeline.definitions", attribute="defs")
    origin = InProcessCodeLocationOrigin(target, location_name="driptune")
    with (
        dg.instance_for_test() as instance,
        create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget(origin), instance) as workspace,
    ):
        times: dict = {}
        # The first look notes since when the schedule runs, the second one finds a tick due.
        for minutes in (0, 1):
            moment = datetime.now(UTC) + timedelta(minutes=minutes)
            with freeze_time(moment):
                list(launch_scheduled_runs(workspace, logging.getLogger("daemon"), moment, times))
        yield instance


def test_a_tick_that_fails_is_told_to_the_webhook_once(fallen, webhook) -> None:
    url, told = webhook
    sensor = tick_alert(account(alert_webhook=url))
    [schedule] = [state for state in fallen.all_instigator_state() if state.instigator_name == "every_night"]
    ticks = fallen.get_ticks(schedule.instigator_origin_id, schedule.selector_id)
    assert [tick.status for tick in ticks] == [TickStatus.FAILURE]
    first = sensor(context := dg.build_sensor_context(instance=fallen))
    assert first.skip_message == "1 failed ticks were told."
    again = sensor(dg.build_sensor_context(instance=fallen, cursor=context.cursor))
    assert again.skip_message == "0 failed ticks were told."
    [alert] = told
    assert alert["text"].startswith("driptune: the schedule 'every_night' failed at ")
    assert alert["text"].endswith("UTC (DagsterUnknownPartitionError)")


def test_no_run_is_started_while_no_release_is_in_effect(tmp_path: Path, repository: RepositoryDefinition) -> None:
    with dg.instance_for_test() as instance:
        moment = datetime(2026, 6, 30, 4, 10, tzinfo=UTC)
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=moment, repository_def=repository
        )
        found = release_schedule(account(data_dir=tmp_path)).evaluate_tick(context)
    assert (found.run_requests, found.skip_message) == ([], "No release is in effect, or releases are stopped.")
