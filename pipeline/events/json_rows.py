"""JSON in the raw shape: one object a line, objects over several lines or one after the other, and arrays of objects.

An element that is broken is set aside by itself, and every other one is read. An element is known by the number of the
line it begins on, or by its own number in a file that has several on a line.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

import polars as pl

from pipeline.events.raw import COLUMNS, IDS, LONGEST_ROW, NOT_TEXT, RAW, TOO_LONG, RawEvents, run_sql, text_lines

NOT_JSON = "is not a JSON object"
NO_NUMBER = "holds NaN or Infinity, which JSON does not know: leave the field out"
# What is nested deeper is a mistake, and following it would take long.
DEEPEST = 500
CUT_ARRAY = "ends before the array does: the file is cut short"
# Between two elements; an array at the top only holds elements, so its brackets say nothing else.
_INDENT = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_FIRST_KEY = re.compile(r'\{[ \t\r\n]*("[^"\\\n]*")')
# A string ends with its line even if its quote is missing: JSON allows no line break in one.
_STRING = r'"(?:[^"\\\n]|\\.)*+"'
_STRING_OR_BRACKET = re.compile(rf"{_STRING}?|[{{}}\[\]]")
_NO_OBJECT = re.compile(rf"(?:{_STRING}|[^,\]\n\"])*+")
_MORE_ON_LINE = re.compile(r"\{[ \t]*[^ \t\r\n]")
_OBJECT_LINE = re.compile(r"\n([ \t]*)\{")
# Many writers write these for numbers that are none, and DuckDB takes them.
_NO_NUMBER = r"(?i)[:,\[\s-](?:nan|inf|infinity)\s*[,\]}]"
_CLOSES = {"}": "{", "]": "["}
_NO_KNOWN, _NO_CAPITAL = (
    "{" + ", ".join(f'"{name}": null' for name in names) + "}" for names in (COLUMNS, map(str.upper, COLUMNS))
)
# Snowflake writes all keys in capitals.
_IS_CAPITAL = "(json_exists(object, '$.EVENT_ID') AND NOT json_exists(object, '$.event_id'))"


def read_json(content: bytes) -> RawEvents:
    """The rows of a JSON file."""
    lines = text_lines(content)
    lines = lines.filter(pl.col("fault").is_not_null() | (pl.col("text").str.strip_chars(" \t\r") != ""))
    rows = _rows(lines)
    if rows["fault"].null_count() < rows.height:
        # Whatever is wrong with a line, it may be a part of something longer, or hold several elements.
        sound = lines.join(rows.filter(pl.col("fault").is_null()), on="row", how="semi")
        ends = dict(sound.select("begin", end=pl.col("begin") + pl.col("bytes")).iter_rows())
        rows = _rows(_elements(content, ends))
    return RawEvents(rows)


def _rows(texts: pl.DataFrame) -> pl.DataFrame:
    """The columns of `RAW` for texts that should be an object each: `row`, `fault`, `text`."""
    keys = {name: f"CASE WHEN {_IS_CAPITAL} THEN '$.{name.upper()}' ELSE '$.{name}' END" for name in COLUMNS}
    values = {name: f"json_extract_string(object, {key})" for name, key in keys.items()}
    # A number counts from 1970, as `instant_of` knows by the @.
    is_number = f"json_type(object, {keys['occurred_at']}) IN ('BIGINT', 'UBIGINT', 'DOUBLE')"
    values["occurred_at"] = f"CASE WHEN {is_number} THEN '@' ELSE '' END || {values['occurred_at']}"
    for name in IDS:
        is_fraction = f"json_type(object, {keys[name]}) = 'DOUBLE'"
        values[name] = (
            f"CASE WHEN {is_fraction} THEN regexp_replace({values[name]}, '\\.0+$', '') ELSE {values[name]} END"
        )
    fields = ", ".join(f"{value} AS {name}" for name, value in values.items())
    query = f"""
        WITH objects AS (
            SELECT row, fault,
                CASE WHEN json_valid(text) THEN CASE WHEN json_type(text) = 'OBJECT' THEN text END END AS object
            FROM texts
        )
        SELECT row, {fields},
            json_merge_patch(object, CASE WHEN {_IS_CAPITAL} THEN '{_NO_CAPITAL}' ELSE '{_NO_KNOWN}' END)::VARCHAR
                AS extra,
            CASE WHEN fault IS NOT NULL THEN fault WHEN object IS NULL THEN '{NOT_JSON}' END AS fault
        FROM objects ORDER BY row
    """
    has_none = pl.col("text").str.contains(_NO_NUMBER) & _outside_strings("text").str.contains(_NO_NUMBER)
    texts = texts.with_columns(
        pl.when(has_none).then(pl.lit(NO_NUMBER)).otherwise("fault").alias("fault"),
        pl.when(~has_none).then("text").alias("text"),
    )
    return run_sql(query, texts=texts).select(pl.col(name).cast(dtype) for name, dtype in RAW.items())


def _outside_strings(text: str) -> pl.Expr:
    return pl.col(text).str.replace_all(r'"(?:[^"\\]|\\.)*"', "")


def _elements(content: bytes, ends: dict[int, int]) -> pl.DataFrame:
    """Every element of a JSON text: `row`, `fault`, and `text`, which is null where there is a fault.

    `ends` tells where the lines end that are an object each, by where they begin.
    """
    # One character a byte, so that places in the text are places in the content.
    text = content.decode("latin-1")
    line_begins = [0, *(match.end() for match in re.finditer("\n", text))]
    spans = list(_spans(text, line_begins, ends))
    lines = [bisect_right(line_begins, begin) for begin, _ in spans]
    is_line_unique = len(set(lines)) == len(lines)
    found = [_element(content[begin:end]) for begin, end in spans]
    return pl.DataFrame(
        {
            "row": lines if is_line_unique else range(1, len(spans) + 1),
            "fault": [fault for fault, _ in found],
            "text": [element for _, element in found],
        },
        schema={"row": pl.Int64, "fault": pl.String, "text": pl.String},
    )


def _element(content: bytes) -> tuple[str | None, str | None]:
    """An element's fault, or its text."""
    if not content:
        return CUT_ARRAY, None
    if len(content) > LONGEST_ROW:
        return TOO_LONG, None
    try:
        return None, content.decode()
    except UnicodeDecodeError:
        return NOT_TEXT, None


def _spans(text: str, line_begins: list[int], ends: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Where each element begins and ends; an empty one stands at the end of an array that is never closed.

    Whether an element is JSON is not asked here. All elements are taken to begin with the key that the first one begins
    with, as every writer does it: where this key begins the next object, a broken element has ended at the latest.
    """
    beginnings = _beginnings(text)
    end, depth = 0, 0
    while (place := _BETWEEN.match(text, end).end()) < len(text):  # type: ignore[union-attr]
        if text[place] in "[]":
            depth += 1 if text[place] == "[" else -1
            end = place + 1
            continue
        limit = beginnings[bisect_right(beginnings, place)]
        if place in ends:
            end = ends[place]
        elif text[place] == "{":
            line = line_begins[bisect_right(line_begins, place) - 1]
            end = _end_of_object(text, line, place, limit)
        else:
            end = _end_of_other(text, place, limit)
        yield place, end
    if depth > 0:
        yield len(text), len(text)


def _beginnings(text: str) -> list[int]:
    """Where objects begin with the key that the first one begins with, and the end of the text."""
    first = _FIRST_KEY.search(text)
    if first is None:
        return [len(text)]
    # An object behind a colon is a value inside an element.
    objects = re.finditer(rf"(:[ \t]*)?\{{[ \t\r\n]*{re.escape(first[1])}", text)
    return [*(match.start() for match in objects if match[1] is None), len(text)]


def _end_of_object(text: str, line: int, place: int, limit: int) -> int:
    """Behind the own bracket of an object on a line; of a broken one behind its lines, and never beyond the limit."""
    indent = _INDENT.match(text, line).end() - line  # type: ignore[union-attr]
    if _MORE_ON_LINE.match(text, place):
        # Written line by line, so that the next line that begins with an object begins the next element.
        lines = (match for match in _OBJECT_LINE.finditer(text, place, limit) if len(match[1]) <= indent)
        limit = next((match.start() for match in lines), limit)
    is_open: list[str] = []
    for match in _STRING_OR_BRACKET.finditer(text, place, limit):
        mark = match[0]
        if mark in "{[":
            is_open.append(mark)
        elif mark in _CLOSES and is_open.pop() != _CLOSES[mark]:
            break
        if len(is_open) > DEEPEST:
            break
        if not is_open:
            return match.end()
    # Its first line, what is indented deeper below it, and a closing bracket as deep as itself.
    block = re.compile(rf"[^\n]*(?:\n[ \t]{{{indent + 1},}}[^\n]*)*(?:\n[ \t]{{{indent}}}\}}(?=,?[ \t\r]*(?:\n|\Z)))?")
    return block.match(text, place, limit).end()  # type: ignore[union-attr]


def _end_of_other(text: str, place: int, limit: int) -> int:
    """Behind something that begins with no bracket: at the next comma, closing bracket or end of line."""
    end = _NO_OBJECT.match(text, place, limit).end()  # type: ignore[union-attr]
    line_end = text.find("\n", place, limit)
    return end if end > place else line_end if line_end > 0 else limit
