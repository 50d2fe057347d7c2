"""The jobs: the nightly, which is the whole graph in one process, and the one that applies what was approved."""

from datetime import UTC, datetime

import dagster as dg

from pipeline.operations.applying import apply_due
from pipeline.optimizations.ledger import Ledger
from pipeline.settings import Settings

# Above any measured nightly; Dagster ends a run that takes longer, so that no zombie blocks the next one.
MAX_RUNTIME_SECONDS = 4 * 3600
# The UI keeps every event; in the terminal of `driptune up` they would bury the links that let approvers in.
CALM = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all(),
    description="Read what is new, recompute what it touches, analyse, check, publish.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
    config=CALM,
)


@dg.op(description="Write approved changes to Mailchimp; finish what a crash cut short; give newcomers their values.")
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
    """One step: records are applied one after the other."""
    write_changes()
