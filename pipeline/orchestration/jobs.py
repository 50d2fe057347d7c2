"""The jobs: the nightly runs the whole graph in one process, and another job applies what was approved."""

from datetime import UTC, datetime

import dagster as dg

from pipeline.operations.applying import apply_due
from pipeline.operations.releasing import release_due
from pipeline.optimizations.ledger import Ledger
from pipeline.reports.pages import INBOX_PATH, PAGES_PATH
from pipeline.settings import Settings

# No measured nightly took as long. Dagster ends a run that does, so that it cannot block the next one.
MAX_RUNTIME_SECONDS = 4 * 3600
# The UI keeps every event. In the terminal of `driptune up` they would bury the links that let approvers in.
CALM = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all(),
    description="Reads what is new, recomputes what it touches, analyses, checks and publishes. "
    f"What it found: [the morning's pages]({PAGES_PATH}/index.html). What waits for you: [the inbox]({INBOX_PATH}/).",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
    config=CALM,
)


@dg.op(description="Writes approved changes to Mailchimp, finishes what a crash cut short, and gives newcomers values.")
def write_changes(
    context: dg.OpExecutionContext, ledger: dg.ResourceParam[Ledger], settings: dg.ResourceParam[Settings]
) -> None:
    """Apply what is due."""
    apply_due(settings, ledger, now=datetime.now(UTC), tell=context.log.info)


@dg.job(
    executor_def=dg.in_process_executor,
    config=CALM,
    description="Applies what people approved, and nothing else.",
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
def apply_changes() -> None:
    """Apply one record after the other, in one step."""
    write_changes()


@dg.op(description="Lets into the flows that driptune releases whoever is due now, each person once.")
def let_people_in(
    context: dg.OpExecutionContext, ledger: dg.ResourceParam[Ledger], settings: dg.ResourceParam[Settings]
) -> None:
    """Let in who is due."""
    release_due(settings, ledger, context.log.info)


@dg.job(
    executor_def=dg.in_process_executor,
    config=CALM,
    description="Lets people into flows at the moment that was decided, under approved records only.",
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
def release_people() -> None:
    """Let people in, in one step."""
    let_people_in()
