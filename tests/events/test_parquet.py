"""Parquet of other writers: every type is kept or its column is set aside, and damage costs the file alone."""

import io
import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common.errors import SourceError
from pipeline.events.contents import raw_events
from pipeline.events.parquet_rows import INEXACT
from pipeline.events.reading import EventSummary
from pipeline.lake.store import Lake
from tests.events.stream import content, event, faults, ids, put, read, read_bytes

MOMENT = datetime(2026, 3, 30, 12)
MOMENT_US = 1_774_872_000_000_000
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def parquet(rows: int = 1, /, **columns: Any) -> bytes:
    """A file of events; each column given is an array or a value for all rows."""
    given = event() | {"event_id": [str(number) for number in range(rows)]} | columns
    arrays = {
        name: value if isinstance(value, pa.Array | list) else pa.array([value] * rows) for name, value in given.items()
    }
    body = io.BytesIO()
    pq.write_table(pa.table(arrays), body)
    return body.getvalue()


def from_duckdb(expression: str) -> bytes:
    """A file that DuckDB writes, with one column of a type of its own."""
    known = ", ".join(f"'{value}' AS {name}" for name, value in event().items())
    memory = fsspec.filesystem("memory")
    with duckdb.connect() as connection:
        connection.register_filesystem(memory)
        connection.sql(f"COPY (SELECT {known}, {expression} AS x) TO 'memory://types.parquet' (FORMAT parquet)")
    return memory.cat("/types.parquet")


def one(value: Any, kind: pa.DataType) -> pa.Array:
    return pa.array([value], kind)


ARROW: dict[str, tuple[pa.Array, Any]] = {
    "null": (pa.nulls(1), None),
    "bool": (one(True, pa.bool_()), True),
    "uint64": (one(2**64 - 1, pa.uint64()), 2**64 - 1),
    "float16": (pa.array(np.array([1.5], dtype="float16")), 1.5),
    "float32": (one(0.5, pa.float32()), 0.5),
    "not a number": (one(float("nan"), pa.float64()), None),
    "infinity": (one(float("inf"), pa.float64()), None),
    "large string": (one("a", pa.large_string()), "a"),
    "string view": (one("a", pa.string_view()), "a"),
    "binary": (one(b"\xff", pa.binary()), "/w=="),
    "binary view": (one(b"\xff", pa.binary_view()), "/w=="),
    "fixed binary": (one(b"abc", pa.binary(3)), "YWJj"),
    "uuid": (one(UUID(int=7).bytes, pa.uuid()), str(UUID(int=7))),
    "decimal": (one(Decimal("1.50"), pa.decimal128(38, 18)), 1.5),
    "decimal256": (one(Decimal("1.50"), pa.decimal256(60, 18)), 1.5),
    "date": (one(date(2026, 1, 1), pa.date64()), "2026-01-01"),
    "time": (one(time(1, 2, 3), pa.time64("ns")), "01:02:03"),
    "duration": (one(1_000, pa.duration("ms")), 1_000),
    "timestamp ns": (one(MOMENT, pa.timestamp("ns")), "2026-03-30 12:00:00"),
    "timestamp in a zone": (one(MOMENT, pa.timestamp("us", "America/New_York")), "2026-03-30 12:00:00+00"),
    "timestamp at an offset": (one(MOMENT, pa.timestamp("us", "+05:30")), "2026-03-30 12:00:00+00"),
    "list": (one([1, None], pa.list_(pa.int64())), [1, None]),
    "large list": (one([1], pa.large_list(pa.int64())), [1]),
    "list view": (one([1], pa.list_view(pa.int64())), [1]),
    "fixed list": (one([1, 2], pa.list_(pa.int64(), 2)), [1, 2]),
    "struct": (pa.array([{"a": 1, "b": {"c": "x"}}]), {"a": 1, "b": {"c": "x"}}),
    "map": (one([("a", 1)], pa.map_(pa.string(), pa.int64())), {"a": 1}),
    "map of numbers": (one([(1, 1.5)], pa.map_(pa.int64(), pa.float64())), {"1": 1.5}),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "a"),
    "json": (one('{"a": 1}', pa.json_()), {"a": 1}),
    "nested infinity": (pa.array([[float("inf")]]), "[inf]"),
    "tensor": (pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(2).reshape(1, 2)), [0, 1]),
}
DUCKDB = {
    "INTERVAL 3 DAY": "3 days",
    "12::HUGEINT": 12.0,
    "'a'::ENUM('a')": "a",
    "'101'::BIT": "101",
    "TIMETZ '01:02:03+00'": "01:02:03+00",
    "'infinity'::TIMESTAMP": "infinity",
    "MAP{'a': INTERVAL 1 MONTH}": {"a": "1 month"},
    "[{'a': [1]}]": [{"a": [1]}],
    "({'a': 1})::VARIANT": {"a": 1},
    "TIME_NS '01:02:03.123456789'": "01:02:03.123456789",
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        *(pytest.param(parquet(x=array), value, id=name) for name, (array, value) in ARROW.items()),
        *(pytest.param(from_duckdb(written), value, id=written) for written, value in DUCKDB.items()),
    ],
)
def test_a_column_of_any_type_is_kept_as_json(tmp_path, body, expected):
    lake = read_bytes(tmp_path, "a.parquet", body)
    properties = json.loads(content(lake)["properties"].item())
    assert properties == ({} if expected is None else {"x": expected})


@pytest.mark.parametrize("column", ["plan", "order_id", "properties", "revenue", "occurred_at"])
def test_a_column_of_any_type_under_a_known_name_is_taken_or_set_aside_with_a_reason(tmp_path, column):
    for name, (array, _) in ARROW.items():
        put(tmp_path / "in", f"{name}.parquet", parquet(event_id=name, **{column: array}))
    lake = Lake(tmp_path / "lake")
    summary = read(tmp_path / "in", lake)
    set_aside = [reference.removesuffix(".parquet row 1") for reference, _, _ in faults(lake)]
    assert sorted([*ids(lake), *set_aside]) == sorted(ARROW)
    assert (summary.quarantined, summary.unread) == (len(set_aside), 0)
    assert {field for _, field, _ in faults(lake)} <= {column}


@pytest.mark.parametrize("name", ARROW)
def test_ids_of_any_type_are_taken_or_set_aside_with_a_reason(tmp_path, name):
    put(tmp_path / "in", "a.parquet", parquet(event_id=ARROW[name][0]))
    lake = Lake(tmp_path / "lake")
    summary = read(tmp_path / "in", lake)
    assert summary.rows + summary.quarantined == 1
    assert summary.unread == 0
    assert all(told[:2] == ("a.parquet row 1", "event_id") for told in faults(lake))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Vienna", "+05:30", "-00:00"])
def test_timestamps_of_any_unit_and_zone_are_their_instant(tmp_path, unit, zone):
    moments = pa.array(
        [MOMENT_US * UNITS[unit] // 10**6, MOMENT_US * UNITS[unit] // 10**6 + 1], pa.timestamp(unit, zone)
    )
    lake = read_bytes(tmp_path, "a.parquet", parquet(2, occurred_at=moments))
    assert content(lake)["occurred_us"].to_list() == [MOMENT_US, MOMENT_US + 10**6 // UNITS[unit]]


@pytest.mark.parametrize(
    ("unit", "kind"), [*((unit, pa.int64()) for unit in UNITS), *((unit, pa.float64()) for unit in ("s", "ms", "us"))]
)
def test_numbers_since_1970_are_their_instant(tmp_path, unit, kind):
    count = MOMENT_US * UNITS[unit] // 10**6
    lake = read_bytes(tmp_path, "a.parquet", parquet(occurred_at=pa.array([count]).cast(kind)))
    assert content(lake)["occurred_us"].to_list() == [MOMENT_US]


def test_ids_in_bytes_are_read_as_text_or_as_hexadecimal_digits(tmp_path):
    columns = {"order_id": pa.array([b"abc", b"\x00\xff"]), "plan": pa.array(["a", "b"]).dictionary_encode()}
    lake = read_bytes(tmp_path, "a.parquet", parquet(2, **columns))
    assert content(lake)["order_id"].to_list() == ["abc", "00ff"]


AMOUNTS = [Decimal("19.90"), Decimal("0.07"), Decimal("123456.78")]


@pytest.mark.parametrize(
    "kind", [pa.float32(), pa.float64(), pa.decimal128(38, 18), pa.decimal256(50, 20), pa.decimal64(18, 2), pa.string()]
)
def test_amounts_of_any_type_are_exact_to_the_cent(tmp_path, kind):
    given = [str(one) if kind == pa.string() else float(one) if pa.types.is_floating(kind) else one for one in AMOUNTS]
    lake = read_bytes(tmp_path, "a.parquet", parquet(3, event_type="purchase", revenue=pa.array(given, kind)))
    assert content(lake)["revenue_cents"].to_list() == [int(amount * 100) for amount in AMOUNTS]


def test_an_amount_is_refused_where_its_type_cannot_tell_a_cent(tmp_path):
    revenue = pa.array([131_071.99, 131_072.0], pa.float32())
    lake = read_bytes(tmp_path, "a.parquet", parquet(2, event_type="purchase", revenue=revenue))
    assert content(lake)["revenue_cents"].to_list() == [13_107_199]
    assert faults(lake) == [("a.parquet row 2", "row", INEXACT)]


def broken_text() -> pa.Array:
    """A string array whose bytes are no UTF-8, as some writers leave them."""
    offsets = pa.py_buffer(np.array([0, 1], dtype="int32").tobytes())
    return pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xff"))


def test_a_column_that_cannot_be_read_is_set_aside_with_its_reason_and_the_rows_are_kept(tmp_path):
    put(tmp_path / "in", "a.parquet", parquet(note=broken_text(), plan=broken_text(), page="/a"))
    lake = Lake(tmp_path / "lake")
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=2, files=1)
    assert content(lake).select("plan", "properties").row(0) == (None, '{"page":"/a"}')
    reason = "cannot be read (InvalidInputException)"
    assert faults(lake) == [("a.parquet", "note", reason), ("a.parquet", "plan", reason)]


def test_a_column_that_every_event_needs_costs_the_file_and_no_other(tmp_path):
    put(tmp_path / "in", "a.parquet", parquet(subscriber=broken_text()))
    put(tmp_path / "in", "b.parquet", parquet(event_id="good"))
    lake = Lake(tmp_path / "lake")
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=1, files=1, unread=1)
    assert ids(lake) == ["good"]
    [(reference, field, reason)] = faults(lake)
    assert (reference, field) == ("a.parquet", "file")
    assert reason.startswith("is no valid Parquet file (InvalidInputException in subscriber). ")


WHOLE = parquet(50, x=pa.array([[{"a": number}] for number in range(50)]), revenue=1.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)), max_size=4), st.integers(0, len(WHOLE)))
def test_damage_is_read_or_named_and_never_ends_the_process(flips, kept):
    """Bytes are changed, or the file is cut; the reader gives rows or says that the file is no valid one."""
    damaged = bytearray(WHOLE)
    for place, mask in flips:
        damaged[place] ^= mask
    rows, what = None, "nothing"
    try:
        rows = raw_events("a.parquet", bytes(damaged if flips else damaged[:kept])).rows
    except SourceError as error:
        what = f"{error.endpoint} {error.what}"
    assert rows is not None or what.startswith(
        tuple(f"a.parquet {one}" for one in ("is no valid", "is empty", "lacks"))
    )
