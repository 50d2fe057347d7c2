"""CSV: a row that is not well formed costs itself, and every dialect gives the same events."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events.csv_rows import TOO_FEW_FIELDS, TOO_MANY_FIELDS, read_csv
from pipeline.events.raw import LONGEST_ROW, TOO_LONG
from tests.events.stream import content, faults, ids, read_bytes

HEADER = "event_id,occurred_at,event_type,subscriber,plan,note\n"
QUOTE = "has a quote out of place or never closed, on line"


def row(event_id: int, plan: str = "", note: str = "ok") -> str:
    return f"{event_id},2026-03-30T12:00:00Z,visit,ann@example.com,{plan},{note}\n"


@pytest.mark.parametrize(
    ("body", "taken", "set_aside"),
    [
        (row(1, note='5" nail') + row(2, note='"bad "quote" here"') + row(3), "13", {2: f"{QUOTE} 3"}),
        (row(1, note='"open') + row(2) + row(3), "23", {1: f"{QUOTE} 2"}),
        (row(1, note='"open') + row(2, note='"fine"') + row(3), "23", {1: f"{QUOTE} 2"}),
        (row(1, note='"open') + row(2, note='close"') + row(3), "23", {1: f"{QUOTE} 2"}),
        (row(1) + row(2, plan='"open') + row(3, plan='""') + row(4), "134", {2: f"{QUOTE} 3"}),
        (row(1, note='"two\nlines"') + row(2, note='x"y"') + row(3, note='"open'), "12", {4: f"{QUOTE} 5"}),
        (row(1, note='"a ""b"" c"') + row(2, note=r'"a \"b\" c"') + row(3, note=r'"a\",b"'), "123", {}),
        (row(1) + "\n" + row(2, note="a,b") + "\r\n" + "3,2026-03-30T12:00:00Z,visit,ann@example.com\n" + row(4), "14",
         {3: TOO_MANY_FIELDS, 5: TOO_FEW_FIELDS}),
        (row(1) + ",,,,,\n   \n" + row(2), "12", {}),
        (row(1, note='"x\n' + "y" * LONGEST_ROW + '"') + row(2), "2", {1: f"{QUOTE} 2", 2: TOO_LONG}),
    ],
)  # fmt: skip
def test_a_bad_row_is_set_aside_by_its_line_and_the_rest_is_read(tmp_path, body, taken, set_aside):
    lake = read_bytes(tmp_path, "a.csv", (HEADER + body).encode())
    assert "".join(ids(lake)) == taken
    assert faults(lake) == [(f"a.csv row {number}", "row", reason) for number, reason in set_aside.items()]


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", "\nsep=;\n\n"])
def test_the_line_in_which_excel_names_the_separator_is_no_header(tmp_path, line):
    body = (HEADER + row(1) + row(2)).replace(",", ";")
    assert ids(read_bytes(tmp_path, "a.csv", (line + body).encode())) == ["1", "2"]


def test_a_header_may_hold_line_breaks_spaces_and_a_column_twice(tmp_path):
    header = 'event_id,occurred_at,event_type,subscriber,plan, plan ,note,note,"my\nnote"\n'
    start = "2026-03-30T12:00:00Z,visit,ann@example.com"
    rows = [f"1,{start},a,a,x,y,z", f"2,{start},a,,x,,", f"3,{start},,b,,,", f"4,{start},a,b,,,"]
    lake = read_bytes(tmp_path, "a.csv", (header + "\n".join(rows)).encode())
    assert content(lake).select("event_id", "plan", "properties").rows() == [
        ("1", "a", '{"note":"x","note_2":"y","my\\nnote":"z"}'),
        ("2", "a", '{"note":"x"}'),
        ("3", "b", "{}"),
    ]
    assert faults(lake) == [("a.csv row 4", "row", "holds two different values of plan")]


# No address, no control character but the line break, and no escape of one of the dialects.
notes = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="@%\\") | st.just("\n"), min_size=1)
dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
    }
)
escapes = st.sampled_from([{}, {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}])
BROKEN = ['"x" y', '"open', '"a"b"', '"\u00fc" "']


@settings(max_examples=50, deadline=None)
@given(st.lists(notes, min_size=1, max_size=6), dialects, escapes, st.data())
def test_every_dialect_gives_the_values_that_were_written_whatever_stands_between(texts, dialect, escape, data):
    """Broken rows are put between sound ones; each costs itself, and no sound row is lost or changed."""
    columns = ["event_id", "occurred_at", "event_type", "subscriber", "note"]
    separator, end = dialect["delimiter"], dialect["lineterminator"]
    parts, expected, broken = [], {}, 0
    for number, text in enumerate(texts):
        for bad in data.draw(st.lists(st.sampled_from(BROKEN), max_size=2)):
            parts.append(separator.join(["bad", "t", "visit", "ann", bad]) + end)
            broken += 1
        line = io.StringIO()
        csv.writer(line, **dialect | escape).writerow([f"e{number}", "t", "visit", "ann", text])
        parts.append(line.getvalue())
        expected[f"e{number}"] = text
    rows = read_csv((separator.join(columns) + end + "".join(parts)).encode()).rows
    sound = rows.filter(rows["fault"].is_null())
    found = sound.select("event_id", note=sound["extra"].str.json_path_match("$.note")).rows()
    assert dict(found) == expected
    assert len(rows) - len(sound) == broken


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_after_the_header_break_the_reader_and_every_row_has_its_own_number(body):
    rows = read_csv(HEADER.encode() + body).rows
    assert rows["row"].is_unique().all()
    assert rows["row"].is_between(1, body.count(b"\n") + 1).all()
