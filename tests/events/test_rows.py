"""The contract of a row: what is taken, what is set aside and why."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events.raw import COLUMNS, RAW
from pipeline.events.rows import LONGEST_PROPERTIES, LONGEST_TEXT, parse_events
from pipeline.lake.keys import member_id
from pipeline.lake.store import Lake
from pipeline.schemas.base import empty
from pipeline.schemas.lake import Addresses
from pipeline.settings import Settings
from tests.events.stream import ANN, KEYS, SETTINGS, content, event, read, write


def only_fault(*rows: dict, addresses: pl.DataFrame | None = None, chosen: Settings = SETTINGS) -> tuple[str, str]:
    raw = pl.DataFrame([{"row": number} | row for number, row in enumerate(rows, start=1)], schema_overrides=RAW)
    raw = pl.concat([pl.DataFrame(schema=RAW), raw], how="diagonal")
    parsed = parse_events(raw, empty(Addresses) if addresses is None else addresses, KEYS, chosen)
    assert parsed.rows.height == len(rows) - 1
    return parsed.faults.select("field", "reason").row(0)


@pytest.mark.parametrize(
    ("broken", "field", "reason"),
    [
        ({"event_id": None}, "event_id", "is missing"),
        ({"event_id": "  "}, "event_id", "is missing"),
        ({"occurred_at": None}, "occurred_at", "is missing"),
        ({"occurred_at": "2026-03-30"}, "occurred_at", "is not a time such as 2026-03-01T12:00:00Z"),
        ({"occurred_at": "2026-02-30T12:00:00Z"}, "occurred_at", "is not a time such as 2026-03-01T12:00:00Z"),
        ({"occurred_at": "1774872000"}, "occurred_at", "is not a time such as 2026-03-01T12:00:00Z"),
        (
            {"occurred_at": "2026-10-25 02:30:00 Europe/Vienna"},
            "occurred_at",
            "is no single instant: its zone is unknown, or has this hour twice or never. Write an offset",
        ),
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
        ({"revenue": "1e+16"}, "revenue", "is too large to be exact to the cent"),
        (
            {"subscriber": f"\u200b{ANN}"},
            "subscriber",
            "holds an invisible character, such as a zero-width space: write it without",
        ),
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
