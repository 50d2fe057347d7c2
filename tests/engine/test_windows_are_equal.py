"""Nightly increments, late data and backfill give the rows of a full rebuild."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.words import PROGRESS
from pipeline.engine import EVERYTHING, Engine, Window, coalesce, models
from pipeline.engine.windows import LEAST_DAYS, MEMORY_PER_LAKE_BYTE, MOST_WINDOWS, cut
from pipeline.lake.store import Lake
from pipeline.schemas import core, lake
from pipeline.settings import SQL_DIR
from tests.acceptance.bench import tasks
from tests.acceptance.bench.account import FIRST_DAY, Scale, write_lake
from tests.acceptance.bench.nights import HeldBack
from tests.acceptance.bench.rows import differing_rows as differing_rows_of_files
from tests.engine.world import (
    DAY,
    HOUR,
    PARAMETERS,
    Night,
    build_all,
    connect,
    day_number,
    differing_rows,
    dimensions,
    engine,
    random_nights,
    write_dimension,
)

SUBSCRIBERS = 12
NAMES = [model.name for model in models(SQL_DIR)]
# `make bench` compares the same over a year at 1M and 10M.
LARGE = Scale(40_000, days=30)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 120), days_late=st.sampled_from([8, 80, 250]))
def test_any_nights_one_by_one_equal_all_at_once(seed: int, rows: int, days_late: int):
    """Rows that repeat, change, move to another day, and come late."""
    frames = dimensions(SUBSCRIBERS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        nightly = connect(frames)
        for night in random_nights(seed, 3, rows, SUBSCRIBERS, days_late):
            night.write(Lake(root))
            build_all(engine(nightly, root))
        at_once = connect(frames)
        build_all(engine(at_once, root))
        assert differing_rows(nightly, at_once, NAMES) == {}


def test_nights_of_a_large_account_equal_a_full_rebuild(tmp_path: Path):
    root = tmp_path / "lake"
    root.mkdir()
    write_lake(LARGE, root)
    last_day = FIRST_DAY + timedelta(days=LARGE.days - 1)
    held = HeldBack(root, tmp_path / "held")
    days = held.hold(last_day - timedelta(days=1))
    held.delay(last_day - timedelta(days=20), told=days[-1])
    nightly, full = (str(tmp_path / f"{name}.duckdb") for name in ("nightly", "full"))
    tasks.prepare(LARGE.events, nightly)
    tasks.build(nightly, str(root))
    for day in days:
        held.release(day)
        if day == days[-1]:
            held.release_late()
        increment = tasks.build(nightly, str(root))
    tasks.prepare(LARGE.events, full)
    everything = tasks.build(full, str(root))
    assert differing_rows_of_files(Path(full), Path(nightly)) == 0
    assert increment["rows"] < everything["rows"] / 2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a built account: its lake, and the working file."""
    folder = tmp_path_factory.mktemp("built")
    for night in random_nights(7, 3, 150, SUBSCRIBERS):
        night.write(Lake(folder / "lake"))
    with connect(dimensions(SUBSCRIBERS), folder / "working.duckdb") as connection:
        build_all(engine(connection, folder / "lake"))
    return folder


@pytest.fixture
def told(built: Path, tmp_path: Path) -> Iterator[tuple[Path, duckdb.DuckDBPyConnection]]:
    """A copy of its lake, and the copied working file."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    with duckdb.connect(tmp_path / "working.duckdb", config={"threads": 1}) as connection:
        yield tmp_path / "lake", connection


def test_nothing_new_recomputes_nothing_but_queues(told):
    root, connection = told
    assert [result.windows for result in build_all(engine(connection, root))] == [()] * len(NAMES)


def test_a_backfill_and_a_full_rebuild_change_no_row(told):
    root, connection = told
    reference = connect(dimensions(SUBSCRIBERS))
    build_all(engine(reference, root))
    for window in (Window(day_number(FIRST_DAY) - 60, day_number(FIRST_DAY) + 1), EVERYTHING):
        runner = engine(connection, root)
        runner.touch(window)
        # A model that looks back has later days due as well.
        for result in build_all(runner):
            assert any(
                done.first_day <= window.first_day and done.last_day >= window.last_day for done in result.windows
            )
        assert differing_rows(connection, reference, NAMES) == {}


def test_a_message_told_late_counts_before_the_messages_of_the_next_weeks(tmp_path: Path):
    """It lies between two messages whose days are built already, and nothing else makes these days due."""
    connection, nights = connect(dimensions(SUBSCRIBERS)), []
    for number, told in enumerate((((0, "one"), (20, "three")), ((14, "two"),))):
        night = Night(FIRST_DAY + timedelta(days=20 + number))
        for days, step in told:
            sent_us = (day_number(FIRST_DAY) + days) * DAY
            night.add(lake.Sends, campaign_id=f"flow-{step}", subscriber_key=1, sent_us=sent_us,
                      sent_at_source="feed", status="sent")  # fmt: skip
        night.write(Lake(tmp_path))
        build_all(engine(connection, tmp_path))
        nights.append(connection.execute("SELECT messages_28d FROM reductions.frequency_days ORDER BY day").fetchall())
    assert nights == [[(0,), (1,)], [(0,), (1,), (2,)]]


def test_a_changed_flow_setting_zone_or_person_reaches_what_depends_on_it(told):
    root, connection = told
    changed = dimensions(SUBSCRIBERS)
    longer = changed[core.CoreEdges].with_columns(grace_hours=changed[core.CoreEdges]["grace_hours"] + 30)
    moved = changed[core.CoreSubscribers].with_columns(zone=changed[core.CoreSubscribers]["zone"].reverse())
    regrouped = moved.with_columns(cohort_value=moved["cohort_value"].reverse())
    for model, frame in ((core.CoreSubscribers, moved), (core.CoreSubscribers, regrouped), (core.CoreEdges, longer)):
        changed[model] = frame
        write_dimension(connection, model, frame)
        build_all(engine(connection, root))
        reference = connect(changed)
        build_all(engine(reference, root))
        assert differing_rows(connection, reference, NAMES) == {}


def test_somebody_new_and_somebody_in_a_new_zone_change_their_own_days_only(told):
    root, connection = told
    changed = dimensions(SUBSCRIBERS + 1)
    tokyo = {"zone": ["Asia/Tokyo"], "from_us": [0], "to_us": [2**61], "offset_us": [9 * HOUR]}
    offsets = changed[core.CoreZoneOffsets]
    changed[core.CoreZoneOffsets] = pl.concat([offsets, pl.DataFrame(tokyo, schema=offsets.schema)])
    is_moved = pl.col("subscriber_key") == 1
    people = changed[core.CoreSubscribers]
    changed[core.CoreSubscribers] = people.with_columns(
        zone=pl.when(is_moved).then(pl.lit("Asia/Tokyo")).otherwise("zone")
    )
    for model, frame in changed.items():
        write_dimension(connection, model, frame)
    windows = [window for result in build_all(engine(connection, root)) for window in result.windows]
    assert windows
    assert EVERYTHING not in windows
    reference = connect(changed)
    build_all(engine(reference, root))
    assert differing_rows(connection, reference, NAMES) == {}


def test_a_night_that_tells_a_message_twice_counts_it_on_its_later_day(tmp_path: Path):
    connection, nightly = connect(dimensions(SUBSCRIBERS)), []
    for days in (0, 1):
        night = Night(FIRST_DAY + timedelta(days=1))
        sent_us = (day_number(FIRST_DAY) + days) * DAY
        night.add(lake.Sends, campaign_id="flow-one", subscriber_key=1, sent_us=sent_us, sent_at_source="feed",
                  status="sent")  # fmt: skip
        night.write(Lake(tmp_path))
        build_all(engine(connection, tmp_path))
        nightly.append(connection.execute("SELECT day FROM core.sends").fetchall())
    assert nightly == [[(day_number(FIRST_DAY),)], [(day_number(FIRST_DAY) + 1,)]]
    runner = engine(connection, tmp_path)
    runner.touch(Window(day_number(FIRST_DAY), day_number(FIRST_DAY)))
    build_all(runner)
    assert connection.execute("SELECT day FROM core.sends").fetchall() == nightly[-1]


def test_an_order_is_one_conversion_however_late_its_parts_are_told(tmp_path: Path):
    """The store tells it, an event tells it two months later for an earlier day, then a refund comes, then it moves."""
    connection, first = connect(dimensions(SUBSCRIBERS)), day_number(FIRST_DAY)
    order = {"store_id": "store", "order_id": "order", "subscriber_key": 1, "currency": "USD", "total_cents": 1_000,
             "tax_cents": 0, "shipping_cents": 0, "financial_status": "paid"}  # fmt: skip
    event = {"subscriber_key": 1, "order_id": "order", "currency": "USD", "properties": "{}"}
    nights = [
        (lake.Orders, {**order, "processed_us": first * DAY}),
        (lake.Events, {**event, "event_id": "a", "event_type": "purchase", "revenue_cents": 900,
                       "occurred_us": (first - 3) * DAY}),
        (lake.Events, {**event, "event_id": "b", "event_type": "refund", "revenue_cents": 200,
                       "occurred_us": (first + 100) * DAY}),
        (lake.Orders, {**order, "processed_us": (first + 40) * DAY}),
    ]  # fmt: skip
    found = []
    for number, (model, row) in enumerate(nights):
        night = Night(FIRST_DAY + timedelta(days=60 * number))
        night.add(model, **row)
        night.write(Lake(tmp_path))
        build_all(engine(connection, tmp_path))
        found.append(connection.execute("SELECT day, net_cents FROM core.conversions").fetchall())
    assert found == [[(first, 1_000)], [(first - 3, 900)], [(first - 3, 700)], [(first - 3, 700)]]
    claims = connection.execute("SELECT day FROM core.conversion_claims WHERE claim_source = 'store'").fetchall()
    assert claims == [(first + 40,)]


def test_files_without_a_column_and_files_that_are_gone(told):
    """The first night's events are of a release without routes, and later a file of sends is deleted."""
    root, connection = told
    for file in Lake(root).files(lake.Events)[::2]:
        pl.read_parquet(file).drop("next_step_id", "assigned_delay_hours").write_parquet(file)
    build_all(engine(connection, root))
    random_nights(8, 4, 150, SUBSCRIBERS)[-1].write(Lake(root))
    build_all(engine(connection, root))
    Lake(root).files(lake.Sends)[0].unlink()
    build_all(engine(connection, root))
    reference = connect(dimensions(SUBSCRIBERS))
    build_all(engine(reference, root))
    assert differing_rows(connection, reference, NAMES) == {}


def test_a_warehouse_that_does_not_know_the_footers_is_built_anew(told):
    root, connection = told
    connection.execute("ALTER TABLE engine.files DROP COLUMN last_night")
    assert {result.windows for result in build_all(engine(connection, root))} == {(EVERYTHING,)}


def test_the_warehouse_of_a_release_that_watched_less_is_built_anew(told):
    root, connection = told
    connection.execute("ALTER TABLE engine.subscribers DROP COLUMN cohort_value")
    connection.execute("DELETE FROM reductions.cohort_cells WHERE cohort_type = 'member_field'")
    build_all(engine(connection, root))
    reference = connect(dimensions(SUBSCRIBERS))
    build_all(engine(reference, root))
    assert differing_rows(connection, reference, NAMES) == {}


def test_a_model_built_alone_does_not_skip_what_its_sources_have_not_seen(told):
    root, connection = told
    late = random_nights(8, 4, 150, SUBSCRIBERS)[-1]
    late.write(Lake(root))
    engine(connection, root).build("core.step_entries")
    build_all(engine(connection, root))
    reference = connect(dimensions(SUBSCRIBERS))
    build_all(engine(reference, root))
    assert differing_rows(connection, reference, NAMES) == {}


def test_somebody_forgotten_is_gone_everywhere(told):
    root, connection = told
    Lake(root).forget(3)
    build_all(engine(connection, root))
    told_of = ("sends", "messages", "engagements", "step_entries", "conversions")
    for name in (*(f"core.{table}" for table in told_of), "reductions.subscriber_hours"):
        rows = connection.execute(f"SELECT COUNT(*) FROM {name} WHERE subscriber_key = 3").fetchall()
        assert rows == [(0,)]


def test_a_run_cut_short_is_made_good_by_the_next(told, monkeypatch: pytest.MonkeyPatch):
    root, connection = told
    random_nights(8, 4, 150, SUBSCRIBERS)[-1].write(Lake(root))
    runner = engine(connection, root)
    monkeypatch.setattr(runner, "_insert", _fail_at("core.messages", runner._insert))
    with pytest.raises(KeyboardInterrupt):
        build_all(runner)
    build_all(engine(connection, root))
    reference = connect(dimensions(SUBSCRIBERS))
    build_all(engine(reference, root))
    assert differing_rows(connection, reference, NAMES) == {}


def _fail_at(name, insert):
    def replaced(model, window):
        if model.name == name:
            raise KeyboardInterrupt
        return insert(model, window)

    return replaced


def test_a_full_rebuild_within_little_memory_gives_the_same_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for night in random_nights(9, 3, 150, SUBSCRIBERS, days_late=200):
        night.write(Lake(tmp_path))
    at_once, in_pieces = (connect(dimensions(SUBSCRIBERS)) for _ in range(2))
    build_all(engine(at_once, tmp_path))
    build_all(engine(in_pieces, tmp_path, memory_bytes=MEMORY_PER_LAKE_BYTE))
    assert differing_rows(at_once, in_pieces, NAMES) == {}
    told = [record.getMessage() for record in caplog.records if record.name == PROGRESS.name]
    assert re.fullmatch(r"core\.\w+: [\d,]+ rows, 1 of \d+ pieces, less than a minute left", told[0])


def test_a_table_of_an_older_release_is_built_anew(told):
    root, connection = told
    connection.execute("ALTER TABLE reductions.entry_days DROP COLUMN entries")
    connection.execute("UPDATE engine.built SET fingerprint = 'older' WHERE model = 'reductions.entry_days'")
    build_all(engine(connection, root))
    reference = connect(dimensions(SUBSCRIBERS))
    build_all(engine(reference, root))
    assert differing_rows(connection, reference, NAMES) == {}


def test_settings_that_a_model_reads_rebuild_it(told):
    root, connection = told
    changed = {**PARAMETERS, "shared_ip_recipients": 2}
    runner = Engine(connection, SQL_DIR, root, changed, memory_bytes=2**30)
    windows = {result.model: result.windows for result in build_all(runner)}
    assert windows["core.engagements"] == (EVERYTHING,)
    assert windows["core.messages"] == (EVERYTHING,)
    assert windows["core.conversions"] == ()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5)), max_size=40))
def test_windows_cover_all_days_and_are_few(spans):
    windows = [Window(first, first + length) for first, length in spans]
    runs = coalesce(windows)
    wanted = {day for window in windows for day in range(window.first_day, window.last_day + 1)}
    covered = [day for run in runs for day in range(run.first_day, run.last_day + 1)]
    assert wanted <= set(covered)
    assert len(covered) == len(set(covered))
    assert len(runs) <= MOST_WINDOWS
    assert all(later.first_day > earlier.last_day + 1 for earlier, later in pairwise(runs))


def test_a_piece_is_as_long_as_the_memory_allows_and_a_month_at_least():
    year = dict.fromkeys(range(365), 10)
    for memory, pieces in ((3650, 1), (1830, 2), (920, 4), (1, 12)):
        found = cut(EVERYTHING, year, memory * MEMORY_PER_LAKE_BYTE)
        assert len(found) == pieces
        assert all(piece.last_day - piece.first_day + 1 >= LEAST_DAYS for piece in found[:-1])


@given(st.dictionaries(st.integers(0, 400), st.integers(1, 9)), st.integers(1, 2000))
def test_pieces_are_the_whole(bytes_by_day: dict[int, int], most: int):
    for window in (EVERYTHING, Window(10, 340)):
        pieces = cut(window, bytes_by_day, most * MEMORY_PER_LAKE_BYTE)
        assert pieces[0].first_day == window.first_day
        assert pieces[-1].last_day == window.last_day
        assert all(later.first_day == earlier.last_day + 1 for earlier, later in pairwise(pieces))
