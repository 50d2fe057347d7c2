"""Nights after the first, and forgetting, on a sample account of fewer people: their number changes nothing here."""

import re
from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.forgetting import forget_person
from pipeline.ingest.keys import load_keys, member_id
from pipeline.ingest.lake import Lake
from pipeline.nightly import Night, run_night
from pipeline.resources.publish import SNAPSHOT_NAME, Manifest
from pipeline.sample import population
from pipeline.settings import SAMPLE_TONIGHT, Settings

FEW_NEW_SUBSCRIBERS = 1_500


def ignore(step: str) -> None:
    """Progress nobody watches."""


@pytest.fixture(scope="module", autouse=True)
def few_people() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "NEW_SUBSCRIBERS", FEW_NEW_SUBSCRIBERS)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("data"), _env_file=None)


@pytest.fixture(scope="module")
def night(settings: Settings, few_people: None) -> Night:
    return run_night(settings, SAMPLE_TONIGHT, ignore)


def test_a_second_nightly_on_the_same_input_changes_nothing(settings: Settings, night: Night) -> None:
    before = Manifest.read(settings.published_dir)
    published_at = (settings.published_dir / SNAPSHOT_NAME).stat().st_mtime_ns
    lake = {path: path.stat().st_mtime_ns for path in settings.lake_dir.rglob("*.parquet")}
    run_night(settings, SAMPLE_TONIGHT, ignore)
    assert Manifest.read(settings.published_dir) == before
    assert (settings.published_dir / SNAPSHOT_NAME).stat().st_mtime_ns == published_at
    assert {path: path.stat().st_mtime_ns for path in settings.lake_dir.rglob("*.parquet")} == lake


def test_the_next_night_adds_a_day(settings: Settings, night: Night) -> None:
    tomorrow: date = SAMPLE_TONIGHT + timedelta(days=1)
    run_night(settings, tomorrow, ignore)
    calendar = pl.read_parquet(settings.published_dir / "parquet" / "calendar.parquet")
    assert calendar["day"].max() == tomorrow
    assert len(list((settings.published_dir / "snapshots").iterdir())) == 1


def test_what_dagster_keeps_of_a_night_names_no_subscriber(settings: Settings, night: Night) -> None:
    """Its records are not rebuilt when a person is forgotten."""
    kept = b"".join(path.read_bytes() for path in settings.dagster_home.rglob("*") if path.is_file())
    long_numbers = {int(number) for number in re.findall(rb"\d{15,19}", kept)}
    keys = Lake(settings.lake_dir).addresses()["subscriber_key"]
    assert keys.len() > 1_000
    assert long_numbers.isdisjoint(keys.to_list())


def test_a_forgotten_person_leaves_no_byte(settings: Settings, night: Night) -> None:
    """Runs last: it takes the publication away until the next nightly."""
    address = Lake(settings.lake_dir).addresses()["email_address"][0]
    key = load_keys(settings).of_address(address)
    removed, _ = forget_person(settings, address)
    assert removed > 0
    for path in settings.data_dir.rglob("*"):
        if path.is_file() and settings.sample_dir not in path.parents:
            content = path.read_bytes()
            assert address.encode() not in content
            assert member_id(address).encode() not in content
        if path.suffix == ".parquet" and settings.lake_dir in path.parents:
            rows = pl.read_parquet(path, hive_partitioning=False)
            assert "subscriber_key" not in rows.columns or key not in rows["subscriber_key"]
