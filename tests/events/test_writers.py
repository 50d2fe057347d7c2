"""Any writer gives the lake of the sorted, deduplicated clean input, and what is broken in between is counted."""

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.lake.store import Lake
from tests.events.stream import ANN, UNIX, content, put, read, read_bytes

COLUMNS = ["event_id", "occurred_at", "event_type", "subscriber", "revenue", "note"]
Event = tuple[str, datetime, Decimal, str]
# No control character, no escape of a dialect, and nothing that looks like an address, which would be removed.
notes = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="@%\\"), min_size=1, max_size=9)
events = st.tuples(
    st.sampled_from("abcdef"),
    st.datetimes(datetime(2020, 1, 1), datetime(2026, 3, 30)).map(lambda one: one.replace(microsecond=0, tzinfo=UTC)),
    st.decimals(0, 10**6, places=2),
    notes,
)
LONG_ROW = f"bad,2026-03-30T12:00:00Z,visit,{ANN},,a,b\n"
BROKEN = {
    "csv": ['bad,x,visit,ann,,"x" y\n', 'bad,x,visit,ann,,"open\n', LONG_ROW],
    "lines": ['{"event_id": "bad", "note": }\n', "bad\n", '{"event_id": "bad"\n'],
    "array": ['{"event_id": "bad", "note": },', "bad,", "[7],"],
}


def times(moment: datetime) -> list[str]:
    """One instant as databases write it."""
    east = moment + timedelta(hours=5, minutes=30)
    return [
        moment.isoformat(),
        f"{moment:%Y-%m-%d %H:%M:%S}",
        f"{moment:%Y-%m-%d %H:%M:%S}+00",
        f"{moment:%Y-%m-%d %H:%M:%S.000} UTC",
        f"{moment:%Y-%m-%dT%H:%M:%S.000000Z}",
        f"{east:%Y-%m-%d %H:%M:%S.000000000} +0530",
        f"{east:%Y-%m-%d %H:%M:%S} Asia/Kolkata",
    ]


def rows_of(draw: Callable, written: list[Event]) -> list[dict]:
    rows = []
    for event_id, moment, amount, note in written:
        # A sum of floats is noisy, and a wide decimal has many zeros.
        revenue = draw(
            st.sampled_from([str(amount), f"{amount:.18f}", repr(float(amount)), repr(float(amount) * 3 / 3)])
        )
        told = {"occurred_at": draw(st.sampled_from(times(moment))), "revenue": revenue, "note": note}
        rows.append({"event_id": event_id, "event_type": "purchase", "subscriber": ANN, **told})
    return rows


def as_csv(draw: Callable, written: list[Event]) -> tuple[str, bytes, int]:
    text, broken = io.StringIO(), 0
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    writer = csv.DictWriter(text, COLUMNS, quoting=quoting, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writeheader()
    for row in rows_of(draw, written):
        broken += put_between(draw, text, "csv")
        writer.writerow(row)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return "a.csv", text.getvalue().encode(encoding), broken


def as_json(draw: Callable, written: list[Event]) -> tuple[str, bytes, int]:
    is_array, indent = draw(st.booleans()), draw(st.sampled_from([None, 1, 2]))
    text, broken = io.StringIO(), 0
    for number, row in enumerate(rows_of(draw, written)):
        broken += put_between(draw, text, "array" if is_array else "lines")
        # A line may hold a number where a program wrote one.
        row["revenue"] = draw(st.sampled_from([row["revenue"], json.loads(row["revenue"])]))
        is_last = number == len(written) - 1
        text.write(json.dumps(row, indent=indent) + ("" if is_array and is_last else "," if is_array else "\n"))
    body = f"[{text.getvalue()}]" if is_array else text.getvalue()
    return "a.json", body.encode(draw(st.sampled_from(["utf-8", "utf-16"]))), broken


def as_parquet(draw: Callable, written: list[Event]) -> tuple[str, bytes, int]:
    unit, zone = draw(st.sampled_from(["s", "ms", "us", "ns"])), draw(st.sampled_from([None, "UTC", "Asia/Kolkata"]))
    kind = draw(st.sampled_from([pa.float64(), pa.decimal128(38, 18), pa.decimal128(12, 2), pa.string()]))
    convert = {pa.float64(): float, pa.string(): str}.get(kind, Decimal)
    text = draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
    seconds = [int((moment - UNIX).total_seconds()) for _, moment, _, _ in written]
    columns = {
        "event_id": pa.array([one for one, *_ in written], text),
        "occurred_at": pa.array(seconds, pa.timestamp("s")).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone)),
        "event_type": pa.array(["purchase"] * len(written)).dictionary_encode(),
        "subscriber": pa.array([ANN] * len(written), text),
        "revenue": pa.array([convert(amount) for _, _, amount, _ in written], kind),
        "note": pa.array([note for *_, note in written]),
    }
    body = io.BytesIO()
    pq.write_table(pa.table(columns), body, compression=draw(st.sampled_from(["snappy", "zstd", "none"])))
    return "a.parquet", body.getvalue(), 0


def put_between(draw: Callable, text: io.StringIO, kind: str) -> int:
    drawn = draw(st.lists(st.sampled_from(BROKEN[kind]), max_size=2))
    text.write("".join(drawn))
    return len(drawn)


writers = st.sampled_from([as_csv, as_json, as_parquet])


@settings(max_examples=40, deadline=None)
@given(st.lists(events, min_size=1, max_size=6), writers, st.booleans(), st.data())
def test_any_writer_with_broken_rows_between_gives_the_clean_input(drawn, writer, is_packed, data):
    """Of events with one id the earliest stands, so that clean input holds each id once."""
    standing = {one[0]: one for one in sorted(drawn, key=lambda one: (one[1], one[2], one[3]), reverse=True)}
    clean = [
        {"event_id": one, "occurred_at": moment.isoformat(), "event_type": "purchase", "subscriber": ANN,
         "revenue": str(amount), "note": note}
        for one, moment, amount, note in standing.values()
    ]  # fmt: skip
    name, body, broken = writer(data.draw, drawn)
    different = len(set(drawn)) - len(standing)
    with tempfile.TemporaryDirectory() as folder:
        expected, found = Lake(Path(folder) / "clean"), Lake(Path(folder) / "written")
        put(Path(folder) / "a", "clean.ndjson", "".join(json.dumps(one) + "\n" for one in clean).encode())
        put(Path(folder) / "b", name, gzip.compress(body, mtime=0) if is_packed else body)
        assert read(Path(folder) / "a", expected).rows == len(standing)
        summary = read(Path(folder) / "b", found)
        assert_frame_equal(content(found), content(expected))
        assert summary.quarantined == broken + different


@pytest.mark.parametrize("kind", ["csv", "json", pa.float32(), pa.float64(), pa.decimal128(38, 9)])
def test_ids_of_which_a_writer_made_fractions_are_those_of_the_source(tmp_path, kind):
    """Pandas makes fractions of ids where one is missing, and databases write those of NUMERIC columns so."""
    orders = [1001, None]
    common = {"occurred_at": "2026-03-30T12:00:00Z", "event_type": "purchase", "subscriber": ANN, "plan": "2.0"}
    rows = [{"event_id": str(at), "order_id": order and float(order)} | common for at, order in enumerate(orders)]
    if isinstance(kind, pa.DataType):
        body = io.BytesIO()
        table = pa.Table.from_pylist([one | {"order_id": None} for one in rows])
        column = pa.array(orders, pa.int64()).cast(kind)
        pq.write_table(table.set_column(table.column_names.index("order_id"), "order_id", column), body)
        lake = read_bytes(tmp_path, "a.parquet", body.getvalue())
    elif kind == "json":
        lake = read_bytes(tmp_path, "a.json", json.dumps(rows).encode())
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        lake = read_bytes(tmp_path, "a.csv", text.getvalue().encode())
    assert content(lake).select("order_id", "plan").rows() == [("1001", "2.0"), (None, "2.0")]


def test_a_fraction_that_says_something_stays_in_an_id(tmp_path):
    rows = [
        f"{event_id},2026-03-30T12:00:00Z,step_entered,{ANN},7,{step}" for event_id, step in ((1, "1.0"), (2, "1.5"))
    ]
    lake = read_bytes(tmp_path, "a.csv", "\n".join([",".join([*COLUMNS[:4], "workflow_id,step_id"]), *rows]).encode())
    assert content(lake)["step_id"].to_list() == ["1.0", "1.5"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_names_in_capitals_are_those_of_the_contract(tmp_path, kind):
    """Snowflake unloads tables with them."""
    small = [
        {"event_id": f"{at}", "occurred_at": "2026-03-30T12:00:00Z", "event_type": "visit", "subscriber": ANN,
         "order_id": "7", "NOTE": "kept"}
        for at in range(2)
    ]  # fmt: skip
    for folder, rows in {"small": small, "large": [{name.upper(): one[name] for name in one} for one in small]}.items():
        body = io.BytesIO()
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), body)
        elif kind == "json":
            body.write("".join(json.dumps(one) + "\n" for one in rows).encode())
        else:
            body.write("".join(",".join(line) + "\n" for line in (rows[0], *(one.values() for one in rows))).encode())
        (tmp_path / folder).mkdir()
        read_bytes(tmp_path / folder, f"a.{kind}", body.getvalue())
    small_lake, large_lake = (Lake(tmp_path / folder / "lake") for folder in ("small", "large"))
    assert content(large_lake).height == len(small)
    assert_frame_equal(content(large_lake), content(small_lake))
