"""When the nightly runs."""

import dagster as dg

from pipeline.orchestration.jobs import nightly
from pipeline.settings import Settings


def nightly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The nightly, every night at the configured time; one run a night, however often the tick is repeated."""

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
