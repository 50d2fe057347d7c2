"""Every model gives the same rows on Spark as in DuckDB: at once, night by night, and after a night that was cut."""

from pathlib import Path

import pytest

from pipeline.common.errors import ConfigurationError, SourceError
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
        build_all(Engine(connection, SQL_DIR, root, PARAMETERS, 2**30, cluster))


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


def test_a_night_whose_cluster_loses_the_lake_is_made_good_by_the_next(address: str, tmp_path: Path):
    root, away = tmp_path / "lake", tmp_path / "away"
    for night in random_nights(8, 1, 100, SUBSCRIBERS):
        night.write(Lake(root))
    on_spark, on_duckdb = connect(dimensions(SUBSCRIBERS)), connect(dimensions(SUBSCRIBERS))
    with open_cluster(address, tmp_path / "exchange") as cluster:
        cut_short = Engine(on_spark, SQL_DIR, root, PARAMETERS, 2**30, cluster)
        cut_short.build("core.sends")
        (root / "events").rename(away)
        with pytest.raises(SourceError, match="DRIPTUNE_ENGINE, view lake_events") as told:
            cut_short.build("core.tracked_steps")
        away.rename(root / "events")
    assert "PATH_NOT_FOUND" in str(told.value)
    assert "\n" not in str(told.value)
    build_on_spark(address, on_spark, root)
    build_all(engine(on_duckdb, root))
    assert differing_rows(on_spark, on_duckdb, NAMES) == {}


def test_a_cluster_of_another_version_is_refused(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.engine.spark.cluster.SUPPORTED_VERSIONS", ("2.4.",))
    with (
        pytest.raises(ConfigurationError, match="the cluster runs Spark"),
        open_cluster(address, tmp_path / "exchange"),
    ):
        pass


def test_what_a_killed_night_left_is_removed_and_what_it_still_writes_is_not_read(address: str, tmp_path: Path):
    exchange = tmp_path / "exchange"
    with open_cluster(address, exchange) as killed:
        left = killed.new_path()
        left.mkdir()
        with open_cluster(address, exchange) as following:
            assert not left.exists()
            assert following.new_path() != left
