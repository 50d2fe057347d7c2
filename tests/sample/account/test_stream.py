"""The event files hold every valid event, and besides them what a real stream has: late, doubled and malformed rows."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.common.time import end_of_day_us
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.stream import FORMATS, MALFORMED, event_stream, write_events
from pipeline.settings import SAMPLE_TONIGHT

READERS = {
    "csv": lambda path: pl.read_csv(path, infer_schema=False),
    "ndjson": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    "parquet": pl.read_parquet,
}


def event_ids(folder: Path) -> pl.Series:
    files = sorted(folder.iterdir())
    return pl.concat([READERS[path.suffix[1:]](path).select(pl.col("event_id").cast(pl.String)) for path in files])[
        "event_id"
    ]


@pytest.fixture(scope="module")
def folder(account: SampleAccount, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("events")
    write_events(account, target, SAMPLE_TONIGHT)
    return target


def test_files_come_in_every_format(folder: Path) -> None:
    assert {path.suffix[1:] for path in folder.iterdir()} == set(FORMATS)


def test_every_event_that_arrived_is_in_some_file(folder: Path, account: SampleAccount) -> None:
    events = event_stream(account)
    arrived = events.filter(pl.col("arrived_us") < end_of_day_us(SAMPLE_TONIGHT))["event_id"]
    found = event_ids(folder)
    valid = found.drop_nulls().filter(~found.drop_nulls().str.starts_with("malformed"))
    assert set(valid.to_list()) == set(arrived.to_list())
    assert valid.len() > arrived.len()
    assert found.len() - valid.len() == len(MALFORMED)


def test_late_events_are_missing_until_they_arrive(account: SampleAccount, tmp_path: Path) -> None:
    day = SAMPLE_TONIGHT - timedelta(days=8)
    write_events(account, tmp_path, day)
    events = event_stream(account)
    happened = events.filter(pl.col("occurred_us") < end_of_day_us(day))
    missing = set(happened["event_id"].to_list()) - set(event_ids(tmp_path).drop_nulls().to_list())
    late = happened.filter(pl.col("arrived_us") >= end_of_day_us(day))
    assert missing == set(late["event_id"].to_list())
    assert missing


def test_tonight_no_step_is_missing_that_would_make_somebody_look_stuck(account: SampleAccount) -> None:
    events = event_stream(account)
    end_us = end_of_day_us(SAMPLE_TONIGHT)
    missing = events.filter((pl.col("occurred_us") < end_us) & (pl.col("arrived_us") >= end_us))
    assert missing["event_type"].unique().to_list() == ["visit"]


def test_writing_again_changes_no_byte(folder: Path, account: SampleAccount, tmp_path: Path) -> None:
    for path in write_events(account, tmp_path, SAMPLE_TONIGHT):
        assert path.read_bytes() == (folder / path.name).read_bytes()
