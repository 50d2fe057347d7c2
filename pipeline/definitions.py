"""The graph: every asset, check, job, schedule, sensor and resource. Nothing else."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from typing import Any

import dagster as dg

from pipeline.mailchimp.connection import connect
from pipeline.operations.forgetting import finish_forgetting
from pipeline.operations.soundness import sound_keys, sound_lake
from pipeline.optimizations.ledger import open_ledger
from pipeline.orchestration import assets
from pipeline.orchestration.jobs import apply_changes, nightly, release_people
from pipeline.orchestration.partitions import days, tonight
from pipeline.orchestration.resources.warehouse import Warehouse, open_warehouse
from pipeline.orchestration.schedules import nightly_schedule, release_schedule
from pipeline.orchestration.sensors import apply_approved, end_dead_runs, failure_alert, propose, tick_alert
from pipeline.settings import Settings


def build_defs(settings: Settings, *asked: date, **overrides: Any) -> dg.Definitions:
    """All definitions for the given settings.

    Args:
        settings: say where everything is. Of the lake only the first day is looked up; nothing else is read or written
            before a run.
        asked: days that are to be run, although the account may begin later.
        overrides: replace resources by name.
    """
    partitions = days(settings, *asked)
    found = dg.load_assets_from_package_module(assets)
    made = [one for one in found if isinstance(one, dg.AssetsDefinition)]
    return dg.Definitions(
        assets=dg.map_asset_specs(lambda spec: _by_day(spec, partitions), made),
        jobs=[nightly, apply_changes, release_people],
        schedules=[nightly_schedule(settings), release_schedule(settings)],
        sensors=[sensor(settings) for sensor in (failure_alert, tick_alert, end_dead_runs, propose, apply_approved)],
        resources={
            "settings": settings,
            # Whoever holds the working file's lock alone writes the lake.
            "lake": dg.ResourceDefinition(lambda context: sound_lake(settings), required_resource_keys={"warehouse"}),
            "keys": dg.ResourceDefinition(
                lambda context: sound_keys(settings, context.resources.ledger), required_resource_keys={"ledger"}
            ),
            "ledger": _opened(lambda tags: open_ledger(settings)),
            "mailchimp": _opened(lambda tags: connect(settings, tonight(tags, settings))),
            "warehouse": _opened(lambda tags: _clean_warehouse(settings)),
            **overrides,
        },
        executor=dg.in_process_executor,
    )


def _by_day(spec: dg.AssetSpec, partitions: dg.DailyPartitionsDefinition) -> dg.AssetSpec:
    """The asset, which has the given days if it has any."""
    return spec.replace_attributes(partitions_def=partitions) if spec.partitions_def else spec


def _clean_warehouse(settings: Settings) -> AbstractContextManager[Warehouse]:
    """The warehouse, without anybody whom a cut `driptune forget` was to remove."""
    finish_forgetting(settings)
    return open_warehouse(settings.working_file)


def _opened(open_for: Callable[[Mapping[str, str]], AbstractContextManager[Any]]) -> dg.ResourceDefinition:
    """A resource that is opened for a run, whose tags `open_for` is given, and closed when the run ends."""

    @dg.resource
    @contextmanager
    def opened(context: dg.InitResourceContext) -> Iterator[Any]:
        with open_for(context.dagster_run.tags if context.dagster_run else {}) as resource:
            yield resource

    return opened


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's UI and daemon load."""
    return build_defs(Settings())
