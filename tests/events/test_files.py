"""Files wherever they lie: found, told apart, and named when something is wrong with them."""

import bz2
import gzip
import json
import lzma
import threading
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import fsspec
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from pipeline.common.errors import SourceError
from pipeline.engine.views import create_view, list_files, read_footers
from pipeline.events.raw import COLUMNS, LONGEST_ROW
from pipeline.events.reading import EventSummary, ingest_events, unread_files
from pipeline.lake.store import Lake
from tests.events.stream import (
    KEYS,
    SETTINGS,
    TONIGHT,
    UNIX,
    content,
    event,
    faults,
    ids,
    put,
    read,
    read_bytes,
    write,
)


def test_csv_ndjson_and_parquet_give_one_table(tmp_path):
    rows = [
        event("1", "2026-03-30T12:00:00.5Z", event_type="purchase", order_id="7", revenue="19.9", page="/a"),
        event("2", "2026-03-30T14:00:00+02:00", properties='{"a":{"b":[1,2]}}'),
        event("3", "2026-03-30 12:00", plan='gr\u00fcn, "quoted"\U0001f600'),
    ]
    columns = [*COLUMNS, "page"]
    frame = pl.DataFrame([dict.fromkeys(columns) | row for row in rows], schema=dict.fromkeys(columns, pl.String))
    tables = []
    for kind, writer in (("csv", frame.write_csv), ("ndjson", frame.write_ndjson), ("parquet", frame.write_parquet)):
        folder = tmp_path / kind
        folder.mkdir()
        writer(folder / f"events.{kind}")
        lake = Lake(tmp_path / f"lake_{kind}")
        assert read(folder, lake) == EventSummary(rows=3, quarantined=0, files=1, later=0)
        tables.append(content(lake))
    assert_frame_equal(tables[0], tables[1])
    assert_frame_equal(tables[0], tables[2])


def test_typed_parquet_columns_are_understood(tmp_path):
    moment = datetime(2026, 3, 30, 14, tzinfo=ZoneInfo("Europe/Vienna"))
    frame = pl.DataFrame(event() | {"occurred_at": [moment], "revenue": [Decimal("19.90")], "properties": [{"a": 1}]})
    (tmp_path / "in").mkdir()
    frame.with_columns(seen=pl.lit(date(2026, 1, 1)), raw=pl.lit(b"x")).write_parquet(tmp_path / "in" / "a.parquet")
    lake = Lake(tmp_path / "lake")
    read(tmp_path / "in", lake)
    found = content(lake).row(0, named=True)
    assert found["occurred_us"] == (moment - UNIX) // timedelta(microseconds=1)
    assert found["revenue_cents"] == 1990
    assert json.loads(found["properties"]) == {"a": 1, "seen": "2026-01-01", "raw": "eA=="}


def test_rows_that_cannot_be_read_are_named_by_file_and_row(tmp_path):
    (tmp_path / "in").mkdir()
    header = b"event_id,occurred_at,event_type,subscriber\n"
    good = b"1,2026-03-30T12:00:00Z,visit,ann@example.com"
    (tmp_path / "in" / "a.csv").write_bytes(header + good + b",more\n\n\xff" + good + b"\n" + good + b"\n3\n")
    long = json.dumps(event("4", note="x" * LONGEST_ROW))
    lines = [b"{", b"7", b"\xff", b"null", b"", json.dumps(event("2")).encode(), long.encode()]
    (tmp_path / "in" / "b.ndjson").write_bytes(b"\n".join(lines))
    lake = Lake(tmp_path / "lake")
    assert read(tmp_path / "in", lake) == EventSummary(rows=2, quarantined=8, files=2, later=0)
    assert faults(lake) == [
        ("a.csv row 1", "row", "has more fields than the header"),
        ("a.csv row 3", "row", "is not UTF-8 text"),
        ("a.csv row 5", "occurred_at", "is missing"),
        ("b.ndjson row 1", "row", "is not a JSON object"),
        ("b.ndjson row 2", "row", "is not a JSON object"),
        ("b.ndjson row 3", "row", "is not UTF-8 text"),
        ("b.ndjson row 4", "row", "is not a JSON object"),
        ("b.ndjson row 7", "row", f"is longer than {LONGEST_ROW} bytes"),
    ]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.csv", b"id;when\n1;2\n", "lacks event_id, occurred_at, event_type, subscriber in its header"),
        ("a.csv", b'event_id,"occurred_at\n1,2\n', "has a quote in its header"),
        ("a.parquet", b"PAR1 no", "is no valid Parquet file"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_what_to_do_and_costs_only_itself(tmp_path, name, body, said):
    write(tmp_path / "in", "b.ndjson", event())
    (tmp_path / "in" / name).write_bytes(body)
    lake = Lake(tmp_path / "lake")
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=1, files=1, unread=1)
    [(reference, field, reason)] = faults(lake)
    assert (reference, field) == (name, "file")
    assert said in reason
    assert reason == f"{unread_files(lake)[name]}. {reason[reason.index('Write CSV, NDJSON or Parquet') :]}"


def test_places_that_cannot_be_reached_are_named_without_their_query(tmp_path):
    with pytest.raises(SourceError, match="is not there"):
        read(tmp_path / "absent", Lake(tmp_path / "lake"))
    with pytest.raises(SourceError, match="cannot be read") as caught:
        read("nosuch://host/a.csv?token=s3cr3t", Lake(tmp_path / "lake"))
    assert "s3cr3t" not in str(caught.value)


def test_folder_below_glob_single_file_compressed_and_url(tmp_path):
    write(tmp_path / "in", "a.ndjson", event("1"))
    write(tmp_path / "in" / "below", "b.jsonl", event("2"))
    write(tmp_path / "in", "_part.ndjson", event("hidden"))
    write(tmp_path / "in", "notes.txt", event("no event file"))
    packed = json.dumps(event("3")).encode()
    with fsspec.open(str(tmp_path / "in" / "c.ndjson.gz"), "wb", compression="gzip") as file:
        file.write(packed)
    with fsspec.open("memory://stream/d.ndjson", "wb") as file:
        file.write(json.dumps(event("4")).encode())

    def found(source: str, name: str) -> list[str]:
        lake = Lake(tmp_path / name)
        read(source, lake)
        return ids(lake)

    assert found(str(tmp_path / "in"), "folder") == ["1", "2", "3"]
    assert found(f"{tmp_path}/in/*.ndjson*", "glob") == ["1", "3"]
    assert found((tmp_path / "in" / "a.ndjson").as_uri(), "url") == ["1"]
    assert found("memory://stream", "memory") == ["4"]


def test_files_on_a_web_server(tmp_path):
    write(tmp_path / "in", "a.ndjson", event("1"))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "in"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lake = Lake(tmp_path / "lake")
    address = f"http://127.0.0.1:{server.server_port}"
    read(f"{address}/a.ndjson", lake)
    with pytest.raises(SourceError):
        read(f"{address}/absent.ndjson?token=s3cr3t", lake)
    server.shutdown()
    assert ids(lake) == ["1"]


def test_no_source_and_an_empty_folder_are_valid(tmp_path):
    (tmp_path / "in").mkdir()
    lake = Lake(tmp_path / "lake")
    assert ingest_events(None, lake, KEYS, SETTINGS, TONIGHT) == EventSummary()
    assert read(tmp_path / "in", lake) == EventSummary()


NAMES = ["a[1].csv", "a*.csv", "a?.csv", "a b.csv", 'it\'s "a".csv', "{a,b}.csv", "caf\u00e9 \u2603.csv", "#1;%40.csv"]
CSV = "event_id,occurred_at,event_type,subscriber\n{},2026-03-30T12:00:00Z,visit,ann@example.com\n"


@pytest.mark.parametrize("folder", ["in[1]", "in*", "in ?", 'it\'s "in"', "caf\u00e9", "a::b", "in"])
def test_no_name_of_a_folder_or_a_file_is_a_pattern(tmp_path, folder):
    for number, name in enumerate(NAMES):
        put(tmp_path / folder, name, CSV.format(number).encode())
    # What the names would match if they were patterns.
    for other in ("in1", "inn", "in x"):
        put(tmp_path / other, "a1.csv", CSV.format("wrong").encode())
    everything = [str(number) for number in range(len(NAMES))]

    def found(source: Path, name: str) -> list[str]:
        lake = Lake(tmp_path / f"lake {name}")
        read(source, lake)
        return ids(lake)

    assert found(tmp_path / folder, "of the folder") == everything
    assert found(tmp_path / folder / "*.csv", "of a pattern below it") == everything


@pytest.mark.parametrize("name", NAMES)
def test_a_file_whose_name_looks_like_a_pattern_is_read_alone(tmp_path, name):
    for number, other in enumerate(NAMES):
        put(tmp_path / "in[1]", other, CSV.format(number).encode())
    lake = Lake(tmp_path / "lake")
    read(tmp_path / "in[1]" / name, lake)
    assert ids(lake) == [str(NAMES.index(name))]


def test_a_lake_in_a_folder_named_like_a_pattern_keeps_its_own_events(tmp_path):
    write(tmp_path / "in", "a.ndjson", event("1"))
    read(tmp_path / "in", Lake(tmp_path / "lake1"))
    write(tmp_path / "in", "a.ndjson", event("2"))
    lake = Lake(tmp_path / "lake[1]'*?")
    read(tmp_path / "in", lake)
    assert ids(lake) == ["2"]
    with duckdb.connect() as connection:
        files = read_footers(connection, list_files(lake.root, ["events"]))
        create_view(connection, "lake", "events", files)
        assert connection.sql("SELECT event_id FROM lake.events").fetchall() == [("2",)]


def test_a_folder_named_like_a_file_is_read_as_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    put(tmp_path / "in" / "events.csv", "part-0.csv", CSV.format(1).encode())
    for number, source in enumerate(("in", "in/events.csv", "in/*.csv")):
        lake = Lake(tmp_path / f"lake {number}")
        assert read(tmp_path / source, lake).files == 1
        assert ids(lake) == ["1"]


TEXT = CSV.format("1").encode()
LINE = json.dumps(event("1", note="caf\u00e9")).encode()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", TEXT),
        ("a.csv.gz", gzip.compress(TEXT, mtime=0)),
        ("a.csv", gzip.compress(TEXT, mtime=0)),
        ("a.csv.gz", TEXT),
        ("a.gz", gzip.compress(TEXT, mtime=0)),
        ("a.gz", gzip.compress(LINE, mtime=0)),
        ("a.csv.bz2", bz2.compress(TEXT)),
        ("a.csv.xz", lzma.compress(TEXT)),
        ("a.csv.zst", pa.compress(TEXT, codec="zstd", asbytes=True)),
        ("a.csv.gz", gzip.compress(TEXT[:50], mtime=0) + gzip.compress(TEXT[50:], mtime=0)),
        *(("a.csv", TEXT.decode().encode(encoding)) for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")),
        *(("a.json", LINE.decode().encode(encoding)) for encoding in ("utf-8-sig", "utf-16", "utf-16-be", "utf-32")),
        ("a.csv", TEXT.replace(b"\n", b"\r\n")),
        ("a.csv", TEXT.replace(b"\n", b"\r")),
    ],
)
def test_a_file_is_known_by_its_content_however_it_is_packed_encoded_or_named(tmp_path, name, body):
    assert ids(read_bytes(tmp_path, name, body)) == ["1"]


def test_a_file_that_is_named_itself_needs_no_suffix(tmp_path):
    for number, body in enumerate((TEXT, LINE, gzip.compress(TEXT, mtime=0))):
        put(tmp_path / "in", "events", body)
        lake = Lake(tmp_path / f"lake {number}")
        read(tmp_path / "in" / "events", lake)
        assert ids(lake) == ["1"]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.csv.gz", gzip.compress(TEXT, mtime=0)[:-9], "is a gzip file that is cut short"),
        ("a.csv", gzip.compress(TEXT, mtime=0)[:20], "is a gzip file that is cut short"),
        ("a.csv.gz", gzip.compress(TEXT, mtime=0)[:-6] + b"\0\1\2\3\4\5", "is a gzip file that is damaged"),
        ("a.csv.bz2", bz2.compress(TEXT)[:-9], "is a bzip2 file that is cut short"),
        ("a.csv.xz", lzma.compress(TEXT)[:-9], "is a xz file that is cut short"),
        ("a.csv.zst", pa.compress(TEXT * 99, codec="zstd", asbytes=True)[:-9], "is a Zstandard file that is cut short"),
        ("a.csv", b"PK\x03\x04 and so on", "is a ZIP archive or an Excel workbook, not text"),
        ("a.json", b"ARROW1\0\0 and so on", "is an Arrow file, not text"),
        ("a.parquet", b"", "is empty"),
        ("a.parquet", b"PAR1" + b"\0" * 99, "is no valid Parquet file (it is cut short or of another kind)"),
        ("a.parquet", TEXT, "is no valid Parquet file (it is cut short or of another kind)"),
    ],
)
def test_what_cannot_be_read_is_called_what_it_is(tmp_path, name, body, said):
    [(reference, field, reason)] = faults(read_bytes(tmp_path, name, body))
    assert (reference, field) == (name, "file")
    assert reason.startswith(said)


def test_latin_1_costs_the_rows_that_need_it_and_is_said(tmp_path):
    lines = [CSV.format(1), "2,2026-03-30T12:00:00Z,caf\u00e9,ann@example.com\n", "3" + CSV.partition("{}")[2]]
    lake = read_bytes(tmp_path, "a.csv", "".join(lines).encode("latin-1"))
    assert ids(lake) == ["1", "3"]
    assert faults(lake) == [("a.csv row 2", "row", "is not UTF-8 text")]


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.json"])
def test_an_empty_file_has_no_events(tmp_path, name):
    assert faults(read_bytes(tmp_path, name, b"")) == []


def test_a_file_that_cannot_be_read_is_tried_every_night_and_its_events_are_never_late(tmp_path):
    """It breaks on the first night, which takes events of any age, and is mended a year later."""
    lake, old = Lake(tmp_path / "lake"), event("old", "2020-01-01T00:00:00Z")
    put(tmp_path / "in", "a.ndjson.gz", gzip.compress(json.dumps(old).encode())[:-9])
    for night in (0, 1, 365):
        assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=night)).unread == 1
    assert list(unread_files(lake)) == ["a.ndjson.gz"]
    put(tmp_path / "in", "a.ndjson.gz", gzip.compress(json.dumps(old).encode()))
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=366)) == EventSummary(rows=1, files=1)
    assert unread_files(lake) == {}


def test_a_file_that_could_not_be_read_and_is_gone_is_forgotten(tmp_path):
    lake = Lake(tmp_path / "lake")
    put(tmp_path / "in", "b.csv", b"nothing\n")
    read(tmp_path / "in", lake)
    (tmp_path / "in" / "b.csv").unlink()
    read(tmp_path / "in", lake)
    assert unread_files(lake) == {}
