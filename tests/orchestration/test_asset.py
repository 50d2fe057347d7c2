"""The asset decorator: annotations are dependencies, rows are kept where their table is, checks stop what follows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pandera.typing.polars import DataFrame

from pipeline.analysis.experiments.exposures import Facts
from pipeline.common.time import to_date
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import Latest, Night, Scan, asset, asset_key
from pipeline.orchestration.resources.warehouse import open_warehouse
from pipeline.schemas import core, lake
from pipeline.schemas import performance as marts
from pipeline.settings import Settings

FIRST, SECOND = date(2026, 6, 1), date(2026, 6, 2)
OFFSETS = pl.DataFrame({"zone": ["UTC", "Asia/Tokyo"], "from_us": [0, 0], "to_us": [9, 9], "offset_us": [0, 5]})
AUDIENCE = {"audience_id": "a", "name": "first", "created_us": 1}
EXITS = {
    "workflow_id": "welcome",
    "step_id": "hello",
    "exit_reason": "goal",
    "window": "28d",
    "exits": 5,
    "ended": 10,
    "exit_rate": 0.5,
    "exit_rate_low": 0.4,
    "exit_rate_high": 0.6,
    "as_of_day": FIRST,
    "method": "wilson",
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dg.ExecuteInProcessResult]:
    """Materializes assets in one run for a night, in a folder that the runs of a test share."""
    settings = Settings(data_dir=tmp_path, _env_file=None)

    @dg.resource
    @contextmanager
    def warehouse(context: dg.InitResourceContext) -> Iterator[Any]:
        with open_warehouse(settings.working_file) as opened:
            yield opened

    resources = {"settings": settings, "lake": Lake(settings.lake_dir), "warehouse": warehouse}

    def materialize(*assets: dg.AssetsDefinition, as_of: date = FIRST) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": str(as_of), "dagster/asset_partition_range_end": str(as_of)}
        return dg.materialize(assets, resources=resources, tags=tags, raise_on_error=False)

    return materialize


@asset(core.CoreZoneOffsets, group="dimensions", summary=lambda rows: {"zones": rows["zone"].n_unique()})
def offsets() -> pl.DataFrame:
    return OFFSETS.select(reversed(OFFSETS.columns))


def exit_reasons(*rows: dict[str, Any]) -> dg.AssetsDefinition:
    @asset(marts.ExitReasons, group="performance")
    def made() -> pl.DataFrame:
        return pl.DataFrame(rows)

    return made


def test_what_a_function_is_annotated_with_is_what_its_asset_depends_on() -> None:
    @asset(marts.Workflows, lake.Decisions, group="performance")
    def made(
        facts: Facts,
        zones: DataFrame[core.CoreZoneOffsets],
        log: Latest[lake.Decisions],
        orders: Scan[lake.Orders],
        night: Night,
        store: Lake,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        raise NotImplementedError

    of_facts = [core.CoreSteps, core.CoreWorkflows, core.CoreMessages, core.CoreConversions, core.CoreSubscribers]
    expected = {asset_key(model) for model in (*of_facts, core.CoreZoneOffsets, lake.Orders)}
    assert {dependency.asset_key for spec in made.specs for dependency in spec.deps} == expected


@pytest.mark.parametrize("hint", [pl.DataFrame, DataFrame[lake.Orders], Latest[core.CoreSteps], Settings])
def test_an_annotation_for_which_nothing_is_given_is_refused_at_once(hint: Any) -> None:
    def made(wanted: hint) -> pl.DataFrame:
        raise NotImplementedError

    with pytest.raises(TypeError, match="nothing that an asset is given"):
        asset(marts.Workflows, group="performance")(made)


def test_rows_of_the_warehouse_come_back_whatever_the_order_of_their_columns(run) -> None:
    seen = []

    @asset(core.CoreEdges, group="dimensions")
    def reader(zones: DataFrame[core.CoreZoneOffsets], night: Night) -> dict[str, Any]:
        seen.append((zones, night.as_of))
        return {}

    result = run(offsets, reader)
    [(rows, as_of)] = seen
    assert rows.sort("zone").equals(OFFSETS.sort("zone"))
    assert as_of == FIRST
    metadata = result.asset_materializations_for_node("core__zone_offsets")[0].metadata
    assert metadata["dagster/row_count"].value == OFFSETS.height
    assert metadata["zones"].value == OFFSETS["zone"].n_unique()


def test_rows_of_the_lake_are_appended_and_the_latest_or_all_versions_of_them_read(run) -> None:
    seen = []

    def of_night(name: str) -> dg.AssetsDefinition:
        @asset(lake.Audiences, group="lake")
        def audiences() -> pl.DataFrame:
            return pl.DataFrame([{**AUDIENCE, "name": name}])

        return audiences

    @asset(core.CoreEdges, group="dimensions")
    def reader(latest: Latest[lake.Audiences], versions: Scan[lake.Audiences]) -> dict[str, Any]:
        nights = versions.select(to_date("as_of_day").sort()).collect()["as_of_day"].to_list()
        seen.append((latest["name"].to_list(), nights))
        return {}

    run(of_night("first"), reader)
    again = run(of_night("first"), reader)
    run(of_night("second"), reader, as_of=SECOND)
    assert seen == [(["first"], [FIRST]), (["first"], [FIRST]), (["second"], [FIRST, SECOND])]
    assert again.asset_materializations_for_node("lake__audiences")[0].metadata["new_rows"].value == 0


@pytest.mark.parametrize(
    ("rows", "failed"),
    [
        ([EXITS], set()),
        ([EXITS, EXITS], {"natural_key_is_unique"}),
        ([{**EXITS, "exit_rate": 0.7}], {"rates_lie_within_their_bounds"}),
    ],
)
def test_a_failed_check_stops_what_comes_after(run, rows: list[dict[str, Any]], failed: set[str]) -> None:
    seen = []

    @asset(core.CoreEdges, group="dimensions")
    def reader(exits: DataFrame[marts.ExitReasons]) -> dict[str, Any]:
        seen.append(exits)
        return {}

    result = run(exit_reasons(*rows), reader)
    evaluations = result.get_asset_check_evaluations()
    assert {one.check_name for one in evaluations if not one.passed} == failed
    assert result.success is (not failed)
    assert len(seen) == (0 if failed else 1)


def test_rows_that_break_their_model_fail_the_step(run) -> None:
    result = run(exit_reasons({**EXITS, "exit_rate": 1.5, "exit_rate_high": 1.6}))
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "exit_rate" in failure.step_failure_data.error.to_string()


def test_a_function_that_returns_too_few_tables_fails(run) -> None:
    @asset(core.CoreZoneOffsets, core.CoreEdges, group="dimensions")
    def forgetful() -> tuple[pl.DataFrame, ...]:
        return (OFFSETS,)

    assert not run(forgetful).success
