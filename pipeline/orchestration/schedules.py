"""The schedule of the nightly."""

import dagster as dg
from dagster._utils.schedules import is_valid_cron_schedule

from pipeline.common.errors import ConfigurationError
from pipeline.orchestration.jobs import nightly
from pipeline.settings import Settings


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
