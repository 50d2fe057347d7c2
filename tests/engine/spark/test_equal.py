"""Every model gives the same rows on Spark as in DuckDB: at once, night by night, and after a night that was cut."""

from pathlib import Path

import pytest

from pipeline.common.errors import SourceError
from pipeline.engine import Engine, models
from pipeline.engine.spark import open_cluster
from pipeline.lake.store import Lake
from pipeline.settings import SQL_DIR
from tests.acceptance.spark_server import missing, spark_server
from tests.engine.world import PARAMETERS, build_all, connect, differing_rows, dimensions, engine, random_nights

SUBSCRIBERS = 12
NAMES = [model.name for model in models(SQL_DIR)]
pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory):
    with spark_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def build_on_spark(address: str, connection, root: Path) -> None:
    with open_cluster(address, root / "exchange") as cluster:
        build_all(Engine(connection, SQL_DIR, root, PARAMETERS, cluster=cluster))


def test_three_nights_some_told_late_give_the_rows_of_duckdb(address: str, tmp_path: Path):
    on_spark, on_duckdb = connect(dimensions(SUBSCRIBERS)), connect(dimensions(SUBSCRIBERS))
    for night in random_nights(7, 3, 150, SUBSCRIBERS):
        night.write(Lake(tmp_path))
        build_on_spark(address, on_spark, tmp_path)
        build_all(engine(on_duckdb, tmp_path))
        assert differing_rows(on_spark, on_duckdb, NAMES) == {}
    empty = [name for name in NAMES if on_spark.execute(f"SELECT COUNT(*) FROM {name}").fetchone() == (0,)]
    assert empty == []
    assert not (tmp_path / "exchange").exists()
