"""The bench compares engines only where they compute the same, and starts only where its accounts fit."""

from pathlib import Path

import duckdb
import pytest

from pipeline.engine.views import column_types, lake_tables
from tests.acceptance.bench import tasks
from tests.acceptance.bench.account import Scale, write_lake
from tests.acceptance.bench.limits import DISK_BYTES_PER_EVENT, check_disk
from tests.acceptance.bench.peers.engines import ENGINES
from tests.acceptance.bench.peers.facts import REDUCTIONS, columns_used, export, product_sql
from tests.acceptance.bench.rows import run

SCALE = Scale(20_000, days=40)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("account") / "lake"
    folder.mkdir()
    write_lake(SCALE, folder)
    return folder


@pytest.fixture(scope="module")
def facts(lake: Path) -> Path:
    folder = lake.parent
    file = folder / "full.duckdb"
    tasks.prepare(SCALE.events, str(file))
    tasks.build(str(file), str(lake))
    export(file, folder / "facts")
    return folder / "facts"


def test_the_synthetic_lake_has_the_types_of_the_products(lake: Path) -> None:
    # DuckDB reads others too, but Spark does not.
    for table in sorted({file.parts[-3] for file in lake.glob("*/*/*.parquet")}):
        files = f"read_parquet('{lake}/{table}/*/*.parquet', hive_partitioning = false)"
        held = {name: kind for name, kind, *_ in duckdb.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()}
        assert held.items() <= column_types(lake_tables()[table]).items(), table


def rows_of(engine: str, facts: Path) -> dict[str, str]:
    """The digest of the rows of each reduction, in a process of its own as in the bench."""
    return {name: told["rows"] for name, told in run("reduce", engine=engine, facts=str(facts)).figures.items()}


@pytest.fixture(scope="module")
def ours(facts: Path) -> dict[str, str]:
    return rows_of("ours", facts)


@pytest.mark.parametrize("name", ["duckdb", "polars", "pandas", "chdb", "postgresql"])
def test_every_engine_computes_what_ours_does(facts: Path, ours: dict[str, str], name: str) -> None:
    if reason := ENGINES[name].missing():
        pytest.skip(reason)
    assert rows_of(name, facts) == ours


def test_all_columns_that_a_reduction_needs_are_decoded(facts: Path) -> None:
    assert tasks.reduce("decoding", str(facts)).keys() == REDUCTIONS.keys()
    assert dict(columns_used(product_sql("hours_of_week"))) == {
        "messages": ["bounce_kind", "day", "human_clicks", "human_opens", "local_hour_of_week", "workflow_key"]
    }


def test_an_account_that_does_not_fit_on_the_disk_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert f"{1_000 * DISK_BYTES_PER_EVENT / 1e9:.1f} GB" in check_disk([10, 1_000], tmp_path)
    with pytest.raises(SystemExit, match=r"need .* GB of disk below .* are free"):
        check_disk([10**15], tmp_path)
