"""The schedules: of the nightly, and of the releases between two nights."""

from datetime import datetime

import dagster as dg
from dagster._utils.schedules import get_next_cron_tick, is_valid_cron_schedule

from pipeline.common.errors import ConfigurationError
from pipeline.optimizations.account.releasing import releases_in_charge
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.record import IN_EFFECT
from pipeline.orchestration.jobs import nightly, release_people
from pipeline.settings import Settings

# Often enough for the best hour, and seldom enough that a tick ends before the next one.
RELEASE_CRON = "*/10 * * * *"


def nightly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Run the nightly at the configured time, in any zone, for the UTC day that was over last.

    A tick that is repeated starts no second run.

    Raises:
        ConfigurationError: if the configured time is none.
    """
    if not is_valid_cron_schedule(settings.nightly_cron):
        what = f"'{settings.nightly_cron}' is no cron schedule"
        raise ConfigurationError("DRIPTUNE_NIGHTLY_CRON", what, "Write five fields such as '30 3 * * *'.")

    @dg.schedule(
        name="every_night",
        job=nightly,
        cron_schedule=settings.nightly_cron,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Starts the nightly for the last complete UTC day.",
    )
    def every_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        as_of = settings.resolve_as_of(context.scheduled_execution_time)
        return dg.RunRequest(run_key=f"nightly-{as_of}", partition_key=as_of.isoformat())

    return every_night


def next_nightly(settings: Settings, now: datetime) -> datetime:
    """When the nightly is due next, in the zone of its schedule."""
    return get_next_cron_tick(settings.nightly_cron, now, settings.timezone)


def release_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Let people into flows every ten minutes. No run is started while no release is in effect, or all are stopped."""

    @dg.schedule(
        name="every_ten_minutes",
        job=release_people,
        cron_schedule=RELEASE_CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Lets people into the flows that driptune releases.",
    )
    def every_ten_minutes(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with open_ledger(settings) as ledger:
            records = releases_in_charge(ledger.records(*IN_EFFECT))
        if not records or settings.stop_file.exists():
            return dg.SkipReason("No release is in effect, or releases are stopped.")
        return dg.RunRequest(run_key=f"release-{context.scheduled_execution_time:%Y-%m-%dT%H:%M}")

    return every_ten_minutes
