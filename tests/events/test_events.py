import json
import os
import tempfile
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo

import fsspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.common.errors import SourceError
from pipeline.events.raw import COLUMNS, LONGEST_ROW, RAW
from pipeline.events.reading import EventSummary, ingest_events, unread_files
from pipeline.events.rows import CONTENT, LONGEST_PROPERTIES, LONGEST_TEXT, parse_events
from pipeline.events.values import cents_of, instant_of
from pipeline.lake.keys import SubscriberKeys, member_id
from pipeline.lake.store import EPOCH, Lake
from pipeline.schemas.base import empty
from pipeline.schemas.lake import Addresses, Events, Quarantine
from pipeline.settings import Settings

KEYS = SubscriberKeys(b"secret")
SETTINGS = Settings(_env_file=None)
ANN = "ann@example.com"
TONIGHT = date(2026, 3, 31)
UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def event(event_id: str = "1", occurred_at: str = "2026-03-30T12:00:00Z", **columns) -> dict:
    return {"event_id": event_id, "occurred_at": occurred_at, "event_type": "visit", "subscriber": ANN} | columns


def write(folder: Path, name: str, *events: dict) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    return path


def read(folder: Path | str, lake: Lake, as_of: date = TONIGHT, chosen: Settings = SETTINGS) -> EventSummary:
    return ingest_events(str(folder), lake, KEYS, chosen, as_of)


def content(lake: Lake) -> pl.DataFrame:
    return lake.latest(Events).select(CONTENT).sort("event_id").collect()


def faults(lake: Lake) -> list[tuple[str, str, str]]:
    return lake.latest(Quarantine).select("reference", "field", "reason").sort("reference").collect().rows()


def only_fault(*rows: dict, addresses: pl.DataFrame | None = None, chosen: Settings = SETTINGS) -> tuple[str, str]:
    raw = pl.DataFrame([{"row": number} | row for number, row in enumerate(rows, start=1)], schema_overrides=RAW)
    raw = pl.concat([pl.DataFrame(schema=RAW), raw], how="diagonal")
    parsed = parse_events(raw, empty(Addresses) if addresses is None else addresses, KEYS, chosen)
    assert parsed.rows.height == len(rows) - 1
    return parsed.faults.select("field", "reason").row(0)


def instants(*texts: str) -> list[int | None]:
    return pl.DataFrame({"text": texts}).select(instant_of(pl.col("text"))).to_series().to_list()


# The contract of a row


@pytest.mark.parametrize(
    ("broken", "field", "reason"),
    [
        ({"event_id": None}, "event_id", "is missing"),
        ({"event_id": "  "}, "event_id", "is missing"),
        ({"occurred_at": None}, "occurred_at", "is missing"),
        ({"occurred_at": "2026-03-30"}, "occurred_at", "is not a time such as 2026-03-01T12:00:00Z"),
        ({"occurred_at": "2026-02-30T12:00:00Z"}, "occurred_at", "is not a time such as 2026-03-01T12:00:00Z"),
        ({"occurred_at": "1774872000"}, "occurred_at", "is not a time such as 2026-03-01T12:00:00Z"),
        ({"occurred_at": "1969-12-31T23:59:59Z"}, "occurred_at", "lies before 1970"),
        ({"event_type": None}, "event_type", "is missing"),
        ({"subscriber": None}, "subscriber", "is missing"),
        ({"event_id": "order of bob@example.org"}, "event_id", "holds an e-mail address: write an id"),
        ({"plan": "bob%40example.org"}, "plan", "holds an e-mail address: write an id"),
        ({"event_id": "a\x00b"}, "event_id", "holds a control character"),
        ({"order_id": "x" * (LONGEST_TEXT + 1)}, "order_id", f"is longer than {LONGEST_TEXT} characters"),
        ({"event_type": "entry"}, "workflow_id", "is missing"),
        ({"event_type": "exit"}, "workflow_id", "is missing"),
        ({"event_type": "step_entered", "workflow_id": "w"}, "step_id", "is missing"),
        ({"revenue": "12,50"}, "revenue", "is not an amount such as 19.90"),
        ({"revenue": "-0.01", "event_type": "purchase"}, "revenue", "is negative: write a refund instead"),
        ({"revenue": "5", "currency": "EUR"}, "currency", "is not the workspace's currency USD"),
        ({"properties": "[1]"}, "properties", "is not a JSON object"),
        ({"properties": "{'a': 1}"}, "properties", "is not a JSON object"),
        (
            {"properties": json.dumps({"a": "x" * LONGEST_PROPERTIES})},
            "properties",
            f"exceeds {LONGEST_PROPERTIES} bytes",
        ),
        ({"properties": '{"assigned_delay_hours": -1}'}, "assigned_delay_hours", "is not a whole number of hours"),
        ({"properties": '{"is_delay_randomised": "maybe"}'}, "is_delay_randomised", "is neither true nor false"),
        ({"fault": "is not UTF-8 text", "event_id": None}, "row", "is not UTF-8 text"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_field_and_reason_and_the_good_one_stays(broken, field, reason):
    assert only_fault(event() | broken, event("good")) == (field, reason)


def test_a_stranger_is_set_aside_and_the_advice_fits_the_settings():
    with_field = SETTINGS.model_copy(update={"external_id_field": "CUSTOMER"})
    assert "DRIPTUNE_EXTERNAL_ID_FIELD" in only_fault(event(subscriber="c-7"), event())[1]
    assert "external id of a member" in only_fault(event(subscriber="c-7"), event(), chosen=with_field)[1]


def test_address_member_id_and_external_id_name_the_same_person(tmp_path):
    lake = Lake(tmp_path / "lake")
    known = {"subscriber_key": [KEYS.of_address(ANN)], "member_id": [member_id(ANN)], "email_address": [ANN]}
    lake.remember_addresses(pl.DataFrame(known | {"external_id": ["c-7"]}))
    names = [ANN, ANN.upper(), f" {ANN} ", member_id(ANN), member_id(ANN).upper(), "c-7"]
    write(tmp_path / "in", "a.ndjson", *(event(str(number), subscriber=name) for number, name in enumerate(names)))
    assert read(tmp_path / "in", lake).rows == len(names)
    assert set(content(lake)["subscriber_key"]) == {KEYS.of_address(ANN)}


def test_money_is_exact_and_a_refund_counts_what_was_given_back(tmp_path):
    lake = Lake(tmp_path / "lake")
    given = [("purchase", "0.29"), ("refund", "-5"), ("refund", "5.5"), ("conversion", None)]
    rows = [event(str(i), event_type=kind, revenue=amount) for i, (kind, amount) in enumerate(given)]
    write(tmp_path / "in", "a.ndjson", *rows)
    read(tmp_path / "in", lake)
    assert content(lake)["revenue_cents"].to_list() == [29, 500, 550, None]
    assert content(lake)["currency"].to_list() == ["USD", "USD", "USD", None]


def test_unknown_columns_are_kept_meaningful_ones_lifted_and_addresses_removed(tmp_path):
    lake = Lake(tmp_path / "lake")
    properties = {"next_step_id": "b", "assigned_delay_hours": 24, "is_delay_randomised": True, "note": "to bob@x.org"}
    row = event(event_type="exit", workflow_id="w", reason="goal", page="/\u00fc\U0001f600", properties=properties)
    write(tmp_path / "in", "a.ndjson", row)
    read(tmp_path / "in", lake)
    found = content(lake).row(0, named=True)
    assert [found[name] for name in ("reason", "next_step_id", "assigned_delay_hours", "is_delay_randomised")] == [
        "goal",
        "b",
        24,
        True,
    ]
    assert json.loads(found["properties"]) == {"page": "/\u00fc\U0001f600", "note": "to (removed)"}


def ten(strategy: st.SearchStrategy) -> st.SearchStrategy[list]:
    """Ten examples at once: a frame costs more than its rows."""
    return st.lists(strategy, min_size=10, max_size=10)


moments = st.tuples(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439), st.booleans())


@settings(max_examples=100, deadline=None)
@given(ten(moments))
def test_any_iso_time_becomes_its_instant(examples):
    texts, expected = [], []
    for moment, offset, with_seconds in examples:
        zoned = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))
        texts.append(zoned.isoformat(timespec="microseconds" if with_seconds else "minutes"))
        told = moment if with_seconds else moment.replace(second=0, microsecond=0)
        expected.append((told.replace(tzinfo=UTC) - UNIX) // timedelta(microseconds=1))
    assert instants(*texts) == expected


def test_both_hours_of_an_overlap_and_the_hour_beside_a_gap_keep_their_instants():
    vienna = ZoneInfo("Europe/Vienna")
    overlap = [datetime(2026, 10, 25, 2, 30, tzinfo=vienna, fold=fold) for fold in (0, 1)]
    gap = [datetime(2026, 3, 29, hour, 59, tzinfo=vienna) for hour in (1, 3)]
    moments = overlap + gap
    found = instants(*(moment.isoformat() for moment in moments))
    assert found == [(moment.astimezone(UTC) - UNIX) // timedelta(microseconds=1) for moment in moments]
    assert found[1] - found[0] == 3_600_000_000


@settings(max_examples=100, deadline=None)
@given(ten(st.decimals(min_value=-(10**12), max_value=10**12, places=4) | st.decimals(-100, 100, places=2)))
def test_any_decimal_becomes_its_cents(amounts):
    found = pl.DataFrame({"text": [f"{amount:f}" for amount in amounts]}).select(cents_of(pl.col("text"))).to_series()
    assert found.to_list() == [(amount * 100).to_integral_value(rounding=ROUND_HALF_UP) for amount in amounts]


@settings(max_examples=100, deadline=None)
@given(ten(st.text() | st.text("0123456789.,-+:TZ ", max_size=30)))
def test_any_text_is_an_instant_or_null_and_an_amount_or_null(texts):
    found = pl.DataFrame({"text": texts}).select(
        "text", instant=instant_of(pl.col("text")), cents=cents_of(pl.col("text"))
    )
    for text, instant, cents in found.rows():
        assert cents is None or abs(Decimal(text) * 100 - cents) <= Decimal("0.5")
        if instant is not None:
            told = datetime.fromisoformat(text.strip().upper().replace("UTC", "+00:00"))
            told = told if told.tzinfo else told.replace(tzinfo=UTC)
            assert instant == (told - UNIX) // timedelta(microseconds=1)


# Marked, because hypothesis likes to draw the words of our own messages.
MARK = "\u00a4"
anything = (
    st.none()
    | st.text(max_size=8).map(MARK.__add__)
    | st.sampled_from(["\x00", "\U0001f600", "x" * 300, "{}", '{"a":', "null", "@"])
)


@settings(max_examples=125, deadline=None)  # of eight rows each
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, anything)), min_size=8, max_size=8), st.data())
def test_every_row_is_taken_or_set_aside_and_never_both(rows, data):
    raw = pl.DataFrame([{"row": number} | row for number, row in enumerate(rows)], schema_overrides=RAW)
    raw = pl.concat([pl.DataFrame(schema=RAW), raw], how="diagonal")
    good = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    for name, value in event().items():
        raw = raw.with_columns(pl.when(pl.col("row").is_in(list(good))).then(pl.lit(value)).otherwise(name).alias(name))
    parsed = parse_events(raw, empty(Addresses), KEYS, SETTINGS)
    assert sorted([*parsed.rows["row"], *parsed.faults["row"]]) == list(range(len(rows)))
    told = {text for row in rows for text in row.values() if text and (text.startswith(MARK) or len(text) > 5)}
    assert not any(text in fault for text in told for fault in parsed.faults["reason"])


# Files


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
    assert "Write CSV, NDJSON or Parquet" in reason
    assert unread_files(lake) == {name: reason}


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

    def ids(source: str, name: str) -> list[str]:
        lake = Lake(tmp_path / name)
        read(source, lake)
        return content(lake)["event_id"].to_list()

    assert ids(str(tmp_path / "in"), "folder") == ["1", "2", "3"]
    assert ids(f"{tmp_path}/in/*.ndjson*", "glob") == ["1", "3"]
    assert ids((tmp_path / "in" / "a.ndjson").as_uri(), "url") == ["1"]
    assert ids("memory://stream", "memory") == ["4"]


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
    assert content(lake)["event_id"].to_list() == ["1"]


def test_no_source_and_an_empty_folder_are_valid(tmp_path):
    (tmp_path / "in").mkdir()
    lake = Lake(tmp_path / "lake")
    assert ingest_events(None, lake, KEYS, SETTINGS, TONIGHT) == EventSummary()
    assert read(tmp_path / "in", lake) == EventSummary()


# Nights


def test_a_file_is_read_once_until_it_changes(tmp_path):
    lake = Lake(tmp_path / "lake")
    write(tmp_path / "in", "a.ndjson", event("1"), event("bad", "never"))
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=1, files=1)
    assert read(tmp_path / "in", lake) == EventSummary()
    write(tmp_path / "in", "a.ndjson", event("1"), event("bad", "never"))
    os.utime(tmp_path / "in" / "a.ndjson", (0, 0))
    assert read(tmp_path / "in", lake) == EventSummary()
    write(tmp_path / "in", "a.ndjson", event("1"), event("bad", "never"), event("2"))
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=0, files=1)


def test_later_days_stay_for_their_night(tmp_path):
    lake = Lake(tmp_path / "lake")
    tomorrow, bad = event("2", "2026-04-01T00:00:00Z"), event("3", "2026-04-03T00:00:00Z", revenue="much")
    write(tmp_path / "in", "a.ndjson", event("1", "2026-03-31T23:59:59Z"), tomorrow, bad)
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=0, files=1, later=2)
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=1)) == EventSummary(rows=1, files=1, later=1)
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=2)) == EventSummary()
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=3)) == EventSummary(quarantined=1, files=1)


def on(day: date) -> str:
    return f"{day}T12:00:00Z"


def test_the_first_night_takes_any_age_and_later_ones_what_is_in_time(tmp_path):
    lake, second = Lake(tmp_path / "lake"), TONIGHT + timedelta(days=1)
    oldest_in_time = second - timedelta(days=SETTINGS.lateness_days)
    write(tmp_path / "in", "a.ndjson", event("old", on(TONIGHT - timedelta(days=400))))
    assert read(tmp_path / "in", lake).rows == 1
    late = event("late", on(oldest_in_time - timedelta(days=1)))
    in_time = event("in time", on(oldest_in_time))
    write(tmp_path / "in", "b.ndjson", late, in_time)
    write(tmp_path / "in", "a.ndjson", event("old", on(TONIGHT - timedelta(days=400))), event("new"))
    assert read(tmp_path / "in", lake, second) == EventSummary(rows=2, quarantined=1, files=2)
    assert faults(lake) == [("b.ndjson row 1", "occurred_at", "arrived more than 30 days after it occurred")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_different_events_with_one_id_the_earliest_stands_alone(tmp_path, order):
    lake = Lake(tmp_path / "lake")
    told = [event("1", on(TONIGHT - timedelta(days=1))), event("1", on(TONIGHT), plan="b")]
    for night, number in enumerate(order):
        write(tmp_path / "in", f"{night}.ndjson", told[number])
        read(tmp_path / "in", lake, TONIGHT + timedelta(days=night))
    # SQL reads the files day by day: a second version on another day would count.
    assert lake.scan(Events).select("plan").collect()["plan"].to_list() == [None]
    assert faults(lake) == [("1.ndjson row 1", "event_id", "names different events: the earliest stands")]


def test_nights_that_were_missed_are_not_held_against_an_event(tmp_path):
    lake = Lake(tmp_path / "lake")
    write(tmp_path / "in", "a.ndjson", event("1"))
    read(tmp_path / "in", lake)
    write(tmp_path / "in", "b.ndjson", event("2", on(TONIGHT)))
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=60)).rows == 1


def test_a_crash_before_the_state_moves_loses_and_repeats_nothing(tmp_path, monkeypatch):
    lake = Lake(tmp_path / "lake")
    write(tmp_path / "in", "a.ndjson", event("1"), event("1", plan="b"))

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("pipeline.events.reading.write_state", crash)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path / "in", lake)
    files = lake.files(Events)
    assert read(tmp_path / "in", lake) == EventSummary(rows=0, quarantined=0, files=1)
    assert lake.files(Events) == files
    assert len(faults(lake)) == 1


# Few days make few nights, and many events on the edges of the rules.
IDS, DAYS, LATENESS = st.sampled_from("abcdef"), st.sampled_from([0, 1, 40]), st.sampled_from([0, 1, 30])
arrivals = st.lists(st.tuples(IDS, DAYS, LATENESS, st.sampled_from([None, "x", "\U0001f600"])), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(arrivals, st.randoms(use_true_random=False))
def test_any_order_duplicates_and_lateness_equal_the_sorted_deduplicated_input(rows, random):
    """Nights one by one, with files in any order and repeated, against one backfill and against plain Python."""
    first = date(2026, 1, 1)
    events = [
        (event(one, on(first + timedelta(days=day)), plan=plan), day + lateness) for one, day, lateness, plan in rows
    ]
    # Syncing costs much of the time and adds nothing here.
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
        nightly, backfill = Lake(Path(folder) / "nightly"), Lake(Path(folder) / "backfill")
        stream, everything = Path(folder) / "stream", Path(folder) / "everything"
        stream.mkdir()
        nights = sorted({0, *(arrival for _, arrival in events)})
        for night in nights:
            tonight = [one for one, arrival in events if arrival == night]
            again = [one for one, arrival in events if arrival <= night and random.random() < 0.3]
            batch = [*tonight, *again]
            random.shuffle(batch)
            write(stream, f"{random.random()}.ndjson", *batch)
            read(stream, nightly, first + timedelta(days=night))
        shuffled = [one for one, _ in events]
        random.shuffle(shuffled)
        write(everything, "all.ndjson", *shuffled)
        read(everything, backfill, first + timedelta(days=nights[-1]))
        assert_frame_equal(content(nightly), content(backfill))
        # No version of an event but the one that stands: SQL reads the files day by day.
        assert nightly.scan(Events).collect()["event_id"].is_unique().all()

        ordered = sorted((one["event_id"], one["occurred_at"], one["plan"] or "") for one, _ in events)
        expected = {one: (when, plan) for one, when, plan in reversed(ordered)}
        found = content(nightly).select("event_id", "occurred_us", pl.col("plan").fill_null("")).rows()
        assert [(one, (on(EPOCH + timedelta(microseconds=us)), plan)) for one, us, plan in found] == sorted(
            expected.items()
        )
        different = len(set(ordered)) - len(expected)
        assert backfill.latest(Quarantine).collect().height == different
