"""The nightly job: the whole graph, in one process, because DuckDB and Polars use the cores themselves."""

import dagster as dg

# Above any measured nightly; Dagster ends a run that takes longer, so that no zombie blocks the next one.
MAX_RUNTIME_SECONDS = 4 * 3600

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all(),
    description="Read what is new, recompute what it touches, analyse, check, publish.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
