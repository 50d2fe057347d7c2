"""The graph: every asset, check, job, schedule, sensor and resource. Nothing else."""

from typing import Any

import dagster as dg

from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.orchestration.assets.cohorts import cohort_assets
from pipeline.orchestration.assets.coordination import coordination_assets
from pipeline.orchestration.assets.decisions import decision_assets
from pipeline.orchestration.assets.dimensions import core_assets
from pipeline.orchestration.assets.experiments import experiment_assets
from pipeline.orchestration.assets.lake import lake_assets
from pipeline.orchestration.assets.loop import loop_assets
from pipeline.orchestration.assets.monitoring import monitoring_assets
from pipeline.orchestration.assets.performance import performance_assets
from pipeline.orchestration.assets.publication import publication_assets
from pipeline.orchestration.assets.reductions import sql_assets
from pipeline.orchestration.assets.timing import timing_assets
from pipeline.orchestration.jobs import apply_changes, nightly
from pipeline.orchestration.resources.ledger import ledger_resource
from pipeline.orchestration.resources.mailchimp import mailchimp_resource
from pipeline.orchestration.resources.warehouse import Warehouse, WarehouseIOManager
from pipeline.orchestration.schedules import nightly_schedule
from pipeline.orchestration.sensors import apply_approved, end_dead_runs, failure_alert, propose
from pipeline.settings import Settings


def build_defs(settings: Settings, **overrides: Any) -> dg.Definitions:
    """All definitions for the given settings; `overrides` replace resources by name."""
    working_file = str(settings.working_file)
    return dg.Definitions(
        assets=[
            *lake_assets,
            *core_assets,
            sql_assets(),
            *performance_assets,
            *cohort_assets,
            *timing_assets,
            *coordination_assets,
            *decision_assets,
            *experiment_assets,
            *monitoring_assets,
            *loop_assets,
            *publication_assets,
        ],
        jobs=[nightly, apply_changes],
        schedules=[nightly_schedule(settings)],
        sensors=[failure_alert(settings), end_dead_runs(settings), propose(settings), apply_approved(settings)],
        resources={
            "settings": settings,
            "lake": Lake(settings.lake_dir),
            # Drawn or read when a run needs it: loading the definitions writes nothing.
            "keys": dg.ResourceDefinition(lambda context: load_keys(settings)),
            "ledger": ledger_resource(settings),
            "mailchimp": mailchimp_resource(settings),
            "warehouse": Warehouse(path=working_file),
            "io_manager": WarehouseIOManager(database=working_file),
            **overrides,
        },
        executor=dg.in_process_executor,
    )


defs = build_defs(Settings())
