"""Runs the nightly job in this process, on the instance that the UI shares, and says in one sentence why it failed."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import dagster as dg

from pipeline.common.errors import NightlyError
from pipeline.definitions import build_defs
from pipeline.orchestration.instance import open_instance
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.partitions import check_nights, range_tags
from pipeline.settings import Settings

# Is told the name of each step when it ends, and how many steps there are.
Progress = Callable[[str, int], None]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_night(settings: Settings, as_of: date, progress: Progress, first: date | None = None) -> None:
    """Run the nightly for `as_of`, or as one backfill for the days from `first` to `as_of`.

    Args:
        settings: say where everything is.
        as_of: tonight.
        progress: is told of each step that ends.
        first: the first day whose facts are recomputed although nothing new came in for them.

    Raises:
        NightlyError: names each step that failed, and says why, or says which of the days cannot be run.
    """
    check_nights(first or as_of, as_of, datetime.now(UTC))
    settings.working_file.parent.mkdir(parents=True, exist_ok=True)
    job = build_defs(settings).resolve_job_def(nightly.name)
    with open_instance(settings.dagster_home) as instance:
        result = job.with_hooks({_telling(progress, len(job.nodes))}).execute_in_process(
            instance=instance,
            run_config=QUIET,
            raise_on_error=False,
            partition_key=as_of.isoformat() if first is None else None,
            tags=None if first is None else range_tags(first, as_of),
        )
    if not result.success:
        raise NightlyError("\n".join(_failures(result)))


def _telling(progress: Progress, steps: int) -> dg.HookDefinition:
    @dg.success_hook
    def tell(context: dg.HookContext) -> None:
        progress(context.op.name, steps)

    return tell


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """A line for each failed step. What failed outside of any step is told only if no step failed."""
    steps, job = [], []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                steps.append(f"{event.step_key}: {data.user_failure_data.description}")
            elif data.error:
                steps.append(f"{event.step_key}: {(data.error.cause or data.error).message.strip()}")
        elif event.is_job_failure and event.job_failure_data.error:
            job.append(event.job_failure_data.error.message.strip())
    return list(dict.fromkeys(steps or job))
