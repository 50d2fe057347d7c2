"""JSON: lines, arrays and objects over several lines give the same events, and a broken element costs itself."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events.json_rows import CUT_ARRAY, NO_NUMBER, NOT_JSON, read_json
from pipeline.events.raw import LONGEST_ROW, NOT_TEXT, TOO_LONG
from tests.events.stream import content, event, faults, ids, read_bytes


def text(event_id: str, **columns) -> str:
    return json.dumps(event(event_id, **columns))


PRETTY = json.dumps([event(one, properties={"items": [{"a": 1}, {"b": 2}]}) for one in "123"], indent=2)
# The lines on which its elements begin, each right above the id.
SECOND, THIRD = (PRETTY[: PRETTY.index(f'"event_id": "{one}"')].count("\n") for one in "23")
CUT = PRETTY[:-30]


@pytest.mark.parametrize(
    ("body", "taken", "set_aside"),
    [
        (f"[{text('1')}, {text('2')}]", "12", {}),
        (PRETTY, "123", {}),
        ("\n".join(json.dumps(event(one), indent=4) for one in "12"), "12", {}),
        (text("1") + text("2") + " " + text("3"), "123", {}),
        (f"{text('1')},\n{text('2')},\n", "12", {}),
        (f"[[{text('1')}], [{text('2')}]]\n", "12", {}),
        (f"[{text('1')}]\n[{text('2')}]\n", "12", {}),
        ("[]", "", {}),
        ("[\n]\n", "", {}),
        # A broken element: its value is missing, its string or its bracket is not closed, it is no object, or is cut.
        (f'[{text("1")}, {{"event_id": "2", "plan": }}, {text("3")}]', "13", {2: NOT_JSON}),
        (f'[{text("1")}, {{"event_id": "2", "plan": "x, {text("3")}]', "13", {2: NOT_JSON}),
        (f'[{text("1")}, {{"event_id": "2", "a": {{"b": 1, {text("3")}, {text("4")}]', "134", {2: NOT_JSON}),
        (f'[{text("1")}, 7, null, "x, y", true, {text("2")}]', "12", dict.fromkeys([2, 3, 4, 5], NOT_JSON)),
        (PRETTY.replace('"event_id": "2"', '"event_id": '), "13", {SECOND: NOT_JSON}),
        (PRETTY.replace('"event_id": "2"', '"event_id": 2"'), "13", {SECOND: NOT_JSON}),
        (PRETTY.replace('"event_id": "2"', '"event_id": {'), "13", {SECOND: NOT_JSON}),
        (CUT, "12", {THIRD: NOT_JSON, CUT.count("\n") + 1: CUT_ARRAY}),
        (f'{text("1")}\n{text("2")[:-9]}\n{text("3")}}}\n{text("4")}\n', "134", {2: NOT_JSON, 4: NOT_JSON}),
        ("garbage\n" + text("1") + '\n"also": garbage,\n' + text("2"), "12", {1: NOT_JSON, 3: NOT_JSON}),
        (f'[{text("1")}, {text("2", note="x" * LONGEST_ROW)}, {text("3")}]', "13", {2: TOO_LONG}),
        ("[" * 9999, "", {1: CUT_ARRAY}),
        ('{"a":' * 9999, "", {1: NOT_JSON}),
    ],
)  # fmt: skip
def test_every_way_to_write_objects_is_read_and_a_broken_one_costs_itself(tmp_path, body, taken, set_aside):
    lake = read_bytes(tmp_path, "a.json", body.encode())
    assert "".join(ids(lake)) == taken
    told = [(f"a.json row {number}", "row", reason) for number, reason in set_aside.items()]
    assert faults(lake) == sorted(told)


def test_a_broken_byte_costs_the_element_it_stands_in(tmp_path):
    lake = read_bytes(tmp_path, "a.json", PRETTY.replace('"event_id": "2"', '"event_id": "\u00ff"').encode("latin-1"))
    assert ids(lake) == ["1", "3"]
    assert faults(lake) == [(f"a.json row {SECOND}", "row", NOT_TEXT)]


def test_a_number_is_a_time_where_its_digits_leave_no_doubt(tmp_path):
    moment = 1_774_872_000
    times = [
        moment,
        moment + 0.25,
        moment * 1_000 + 250,
        moment * 10**6,
        moment * 10**9,
        str(moment),
        moment * 10,
        True,
    ]
    events = [event(str(number), occurred_at=time) for number, time in enumerate(times)]
    lake = read_bytes(tmp_path, "a.json", json.dumps(events).encode())
    microseconds = [moment * 10**6 + part for part in (0, 250_000, 250_000, 0, 0)]
    assert content(lake)["occurred_us"].to_list() == microseconds
    assert [reference for reference, field, _ in faults(lake) if field == "occurred_at"] == [
        f"a.json row {number}" for number in (6, 7, 8)
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab{}[]",:\\\n\u00fc', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
objects = st.fixed_dictionaries({"event_id": st.just("sound"), "note": values, "more": values})
# Each as it stands in an array or on a line of its own.
BROKEN = ['{"event_id": "broken", "a": }', '{"event_id": "broken" "a": 1}', '{"event_id": broken}']
layouts = st.sampled_from(["lines", "array", "long array", "pretty", "concatenated"])


def written(layout: str, elements: list[str]) -> str:
    if layout == "array":
        return f"[{', '.join(elements)}]"
    if layout == "long array":
        return "[\n" + ",\n".join(elements) + "\n]\n"
    return ("" if layout == "concatenated" else "\n").join(elements)


@settings(max_examples=50, deadline=None)
@given(st.lists(objects, min_size=1, max_size=5), layouts, st.integers(0, 3), st.data())
def test_any_layout_gives_the_objects_that_were_written_and_counts_the_broken_ones(found, layout, indent, data):
    """Sound objects keep their order and content, whatever broken elements stand between them."""
    elements, broken = [], 0
    for number, one in enumerate(found):
        for bad in data.draw(st.lists(st.sampled_from(BROKEN), max_size=2)):
            elements.append(bad)
            broken += 1
        numbered = one | {"event_id": f"sound {number}"}
        elements.append(json.dumps(numbered, indent=indent if layout in ("pretty", "long array") else None))
    rows = read_json(written(layout, elements).encode()).rows
    sound = rows.filter(rows["fault"].is_null())
    assert sound["event_id"].to_list() == [f"sound {number}" for number in range(len(found))]
    # The patch that removes the known columns removes what is null as well.
    kept = [without_nulls({"note": one["note"], "more": one["more"]}) for one in found]
    assert [without_nulls(json.loads(extra)) for extra in sound["extra"]] == kept
    assert len(rows) - len(sound) == broken
    assert rows["row"].is_unique().all()


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


@settings(max_examples=50, deadline=None)
@given(st.text('{}[]",:1 \n\\"a', max_size=60) | st.binary(max_size=60).map(lambda one: one.decode("latin-1")))
def test_no_text_breaks_the_reader_and_an_event_behind_it_on_its_own_line_is_read(noise):
    rows = read_json(noise.encode("latin-1") + b"\n" + json.dumps(event("1")).encode() + b"\n").rows
    assert rows["row"].is_unique().all()
    assert "1" in rows.filter(rows["fault"].is_null())["event_id"].to_list()


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "inf"])
@pytest.mark.parametrize("field", ["revenue", "score", "properties"])
def test_numbers_that_are_none_set_their_row_aside(tmp_path, word, field):
    value = f'{{"score": [1, {word}]}}' if field == "properties" else word
    bad = json.dumps(event("1") | {field: "here"}).replace('"here"', value)
    good = json.dumps(event("2") | {"note": 'an \\"infinite\\" NaN: Infinity'})
    for name, written in {"lines.ndjson": f"{bad}\n{good}\n", "array.json": f"[{bad},\n{good}]"}.items():
        lake = read_bytes(tmp_path / name, name, written.encode())
        assert ids(lake) == ["2"]
        assert [reason for _, _, reason in faults(lake)] == [NO_NUMBER]
