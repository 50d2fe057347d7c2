"""Nulls never decide a type: every asset on tables that are empty, on one row, and with every nullable column null.

The rows are those of the sample night, of few people and two workflows. What an asset makes of them must keep the
contract of its tables.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from pipeline.lake.store import Lake
from pipeline.optimizations.ledger import Ledger
from pipeline.orchestration import assets
from pipeline.orchestration.asset import asset_key
from pipeline.orchestration.resources.warehouse import Warehouse
from pipeline.schemas.base import Table, conform, empty, tables_of
from pipeline.schemas.cohorts import CohortTriangles
from pipeline.schemas.core import CoreEdges, CoreStepEntries, CoreSteps, CoreWorkflows
from pipeline.schemas.lake import AutomationEmails, Automations
from pipeline.schemas.timing import DelayRecommendations
from pipeline.settings import SAMPLE_TONIGHT, Settings

PEOPLE = 10
WORKFLOWS = ("onboarding", "7e7273f71b")
# These come from one asset and name each other, so one never lacks what another one has.
DIMENSIONS = {CoreWorkflows, CoreSteps, CoreEdges, Automations, AutomationEmails}
# No delay is recommended where none is in use, and a rate of people who are followed is known.
KNOWN = {(DelayRecommendations, "current_delay_hours"), (CohortTriangles, "conversion_rate")}
ROOMS = ("lake", "core", "reductions", "marts")
# These tell of the run itself, or run SQL, whose models have a test of their own.
OF_THE_RUN = {"build_facts_and_reductions", "marts__runs", "published__email_warehouse"}
Frames = dict[type[Table], pl.DataFrame]
Change = Callable[[type[Table], pl.DataFrame], pl.DataFrame]


class Given(Warehouse):
    """A warehouse that holds what it is given, and keeps nothing; it judges what it is to keep."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.failures = {}

    def read(self, model: type[Table]) -> pl.DataFrame:
        return self.frames[model]

    def scan(self, model: type[Table]) -> pl.LazyFrame:
        return self.frames[model].lazy()

    def keep(self, model: type[Table], error: Exception) -> pl.LazyFrame:
        raise error

    def replace(self, model: type[Table], frame: pl.DataFrame) -> int:
        self.frames = {**self.frames, model: conform(frame, model)}
        return frame.height

    @contextmanager
    def replacing(self, *models: type[Table]) -> Iterator[Callable[[type[Table], pl.DataFrame], None]]:
        made: dict[type[Table], list[pl.DataFrame]] = {model: [empty(model)] for model in models}
        yield lambda model, frame: made[model].append(conform(frame, model))
        self.frames = {**self.frames, **{model: pl.concat(blocks) for model, blocks in made.items()}}


class GivenLake(Lake):
    """A lake of the same kind."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def scan(self, model: type[Table]) -> pl.LazyFrame:
        return self.frames[model].lazy()

    def append(self, model: type[Table], frame: pl.DataFrame, as_of: Any) -> int:
        night = pl.lit(0, dtype=pl.Int64)
        return conform(frame.with_columns(as_of_day=night), model).height

    @property
    def people_forgotten(self) -> int:
        """Nobody was erased."""
        return 0


@dataclass(frozen=True)
class Step:
    """An asset's step: what it runs, and the tables that it takes."""

    name: str
    work: Callable[[Any], Iterator[Any]]
    takes: tuple[type[Table], ...]

    def run(self, frames: Frames, ledger: Ledger, settings: Settings) -> None:
        """What Dagster runs in a night; it raises what the step raises, or where a check fails."""
        resources = SimpleNamespace(
            lake=GivenLake(frames), warehouse=Given(frames), ledger=ledger, settings=settings, keys=None, mailchimp=None
        )
        tags = {"dagster/partition": SAMPLE_TONIGHT.isoformat()}
        for result in self.work(SimpleNamespace(resources=resources, run=SimpleNamespace(tags=tags))):
            failed = [check.check_name for check in result.check_results if not check.passed]
            assert not failed, f"{result.asset_key}: {failed}"


def steps() -> list[Step]:
    """Every step that makes tables from tables."""
    models = {asset_key(model): model for room in ROOMS for model in tables_of(room)}
    found = []
    for made in dg.load_assets_from_package_module(assets):
        assert isinstance(made, dg.AssetsDefinition)
        takes = tuple(models[key] for key in sorted(made.dependency_keys) if key in models)
        if made.op.name not in OF_THE_RUN and not {"mailchimp", "keys"} & made.required_resource_keys:
            found.append(Step(made.op.name, made.op.compute_fn.decorated_fn, takes))  # type: ignore[union-attr]
    return sorted(found, key=lambda step: step.name)


STEPS = steps()


@pytest.fixture(scope="module")
def few(settings: Settings, night: None) -> Frames:
    """The sample night's tables, of few people and workflows."""
    lake, held = Lake(settings.lake_dir), {}
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        warehouse = Warehouse(connection)
        for room in ROOMS:
            for model in tables_of(room):
                held[model] = lake.scan(model) if room == "lake" else warehouse.read(model).lazy()
        flows = held[CoreWorkflows].filter(pl.col("workflow_id").is_in(WORKFLOWS)).collect()
        entered = held[CoreStepEntries].filter(pl.col("workflow_key").is_in(flows["workflow_key"].to_list()))
        people = entered.select("subscriber_key").unique().sort("subscriber_key").head(PEOPLE).collect()
        return {model: _of(model, frame, flows, people) for model, frame in held.items()}


def _of(model: type[Table], frame: pl.LazyFrame, flows: pl.DataFrame, people: pl.DataFrame) -> pl.DataFrame:
    for key, some in {"subscriber_key": people, "workflow_key": flows, "workflow_id": flows}.items():
        if key in frame.collect_schema() and model not in DIMENSIONS:
            frame = frame.filter(pl.col(key).is_in(some[key].to_list()) | pl.col(key).is_null())
    return frame.collect()


def one_row(model: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    return frame if model in DIMENSIONS else frame.head(1)


def no_row(model: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    return empty(model)


def all_null(model: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """Every column null that may be."""
    nullable = [
        name for name, column in model.to_schema().columns.items() if column.nullable and (model, name) not in KNOWN
    ]
    return frame.with_columns(pl.lit(None, dtype=frame.schema[name]).alias(name) for name in nullable)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.mark.parametrize("change", [one_row, no_row, all_null])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_table_changed(step: Step, change: Change, few: Frames, ledger: Ledger, settings: Settings) -> None:
    step.run({model: change(model, few[model]) for model in few}, ledger, settings)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_one_table_changed_and_the_others_whole(step: Step, few: Frames, ledger: Ledger, settings: Settings) -> None:
    step.run(few, ledger, settings)
    for model in set(step.takes) - DIMENSIONS:
        for change in (one_row, no_row):
            step.run({**few, model: change(model, few[model])}, ledger, settings)
