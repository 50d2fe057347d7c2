"""CSV in the raw shape: a row that is not well formed is set aside by itself, and every other row is read.

The separator is the one under which the header names the columns that every event has. Quotes are doubled inside quoted
values, or escaped by a backslash as Spark and MySQL do. A row is known by the number of its first line, counted from
the header.
"""

import re
from dataclasses import dataclass

import polars as pl

from pipeline.events.raw import (
    IDS,
    LONGEST_ROW,
    RAW,
    REQUIRED,
    RawEvents,
    column_name,
    known_values,
    places_of,
    text_lines,
)
from pipeline.events.unpacking import UnreadableContent

TOO_MANY_FIELDS = "has more fields than the header"
TOO_FEW_FIELDS = "has fewer fields than the header"
# Excel writes the separator into a line of its own.
_BEFORE_HEADER = re.compile(rb"(?:[ \t]*\r?\n)*(?:sep=[^\r\n]\r?\n)?(?:[ \t]*\r?\n)*")
_ESCAPED_VALUE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ESCAPE = re.compile(rb'\\(["\\])')


@dataclass(frozen=True)
class _Dialect:
    """How records are taken apart.

    Attributes:
        separator: one character.
        field: a field with the separator before it, as a pattern of Polars.
        fields: the same for Python.
        record: a record of any number of lines whose quotes are doubled.
        escaped_record: a record of any number of lines whose quotes are escaped by a backslash.
    """

    separator: str
    field: str
    fields: re.Pattern[bytes]
    record: re.Pattern[bytes]
    escaped_record: re.Pattern[bytes]


def _dialect(separator: str) -> _Dialect:
    between = re.escape(separator)
    plain = rf'[^{between}"\n][^{between}\n]*'
    field = rf'{between}(?:"(?:[^"]|"")*"|{plain})?'

    def record(quoted: str) -> re.Pattern[bytes]:
        # Possessive, so that a quote that is never closed is found out in one pass.
        one = rf"(?:{quoted}|{plain}+|)"
        return re.compile(rf"{one}(?:{between}{one})*+\r?(?=\n|\Z)".encode(), re.DOTALL)

    doubled, escaped = r'"[^"]*+(?:""[^"]*+)*+"', r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    return _Dialect(separator, field, re.compile(field.encode()), record(doubled), record(escaped))


_DIALECTS = tuple(map(_dialect, (",", ";", "\t", "|")))


def read_csv(content: bytes) -> RawEvents:
    """The rows of a CSV file.

    Raises:
        UnreadableContent: if the header lacks a column that every event has.
    """
    # Only old Macintosh programs end lines with a carriage return alone.
    content = content if b"\n" in content else content.replace(b"\r", b"\n")
    if not content.strip():
        return RawEvents(pl.DataFrame(schema=RAW))
    dialect, header, end = _header(content)
    places = places_of(header)
    names = [str(place) for place in range(len(header))]
    records = _records(content[end:], dialect, len(header), lines_before=content.count(b"\n", 0, end))
    values = records.with_columns(pl.col("fields").list.get(int(name), null_on_oob=True).alias(name) for name in names)
    values = values.with_columns(pl.when(pl.col(name) != "").then(name).alias(name) for name in names)
    values = values.with_columns(_whole(str(place)) for name in IDS for place in places.get(name, []))
    known, contradiction = known_values(places)
    unknown = {name: str(where[0]) for name, where in places.items() if name not in known}
    if unknown:
        extra = pl.struct(pl.col(place).alias(name) for name, place in unknown.items())
        known["extra"] = extra.struct.json_encode()
    width = pl.col("fields").list.len()
    is_complete = pl.all_horizontal(known[name].is_not_null() for name in REQUIRED)
    fault = (
        pl.when(width > len(header))
        .then(pl.lit(TOO_MANY_FIELDS))
        # Of a row without what every event has, the missing value says more.
        .when((width < len(header)) & is_complete)
        .then(pl.lit(TOO_FEW_FIELDS))
        .otherwise(contradiction)
    )
    is_blank = pl.all_horizontal(pl.col(name).str.strip_chars().fill_null("") == "" for name in names)
    rows = values.select("row", fault=pl.coalesce("fault", fault), is_blank=is_blank, **known)
    rows = rows.filter(pl.col("fault").is_not_null() | ~pl.col("is_blank")).drop("is_blank")
    return RawEvents(pl.concat([pl.DataFrame(schema=RAW), rows], how="diagonal"))


def _whole(column: str) -> pl.Expr:
    """The ids of a column, without the fraction of nothing that all of them have."""
    has_fraction = pl.col(column).str.contains(r"^-?[0-9]+\.0$").fill_null(True).all()
    return pl.when(has_fraction).then(pl.col(column).str.strip_suffix(".0")).otherwise(pl.col(column)).alias(column)


def _header(content: bytes) -> tuple[_Dialect, list[str], int]:
    """The dialect, the names of the columns, and where the first line after the header begins."""
    begin = _BEFORE_HEADER.match(content).end()  # type: ignore[union-attr]
    found = None
    for dialect in _DIALECTS:
        if match := dialect.record.match(content, begin):
            names = _values(match[0], dialect)
            found = found or (dialect, names, match.end() + 1)
            if set(REQUIRED) <= {column_name(name) for name in names}:
                return dialect, names, match.end() + 1
    if found is None or found[0] is not _DIALECTS[0]:
        raise UnreadableContent("has a quote in its header that is out of place or never closed")
    return found


def _values(record: bytes, dialect: _Dialect) -> list[str]:
    """The values of a record whose quotes are doubled."""
    fields = dialect.fields.findall(dialect.separator.encode() + record.removesuffix(b"\r"))
    values = (field[1:] for field in fields)
    plain = (value[1:-1].replace(b'""', b'"') if value.startswith(b'"') else value for value in values)
    return [value.decode(errors="replace") for value in plain]


def _records(body: bytes, dialect: _Dialect, width: int, lines_before: int) -> pl.DataFrame:
    """The records after the header: `row`, `fault`, and `fields`, a list of texts.

    Most records are one line. The others are looked for one by one, from the lines that are no row by themselves.
    """
    lines = text_lines(body).with_columns(pl.col("text").str.strip_suffix("\r"))
    lines = lines.with_columns(fields=_fields(dialect))
    is_row = (pl.col("fields").list.len() == width).fill_null(False)
    doubtful = lines.filter(pl.col("text").str.contains('"', literal=True) & ~is_row)
    if doubtful.is_empty():
        return lines
    rows_alone = lines.select(is_row).to_series()
    repaired: dict[int, str] = {}
    inside: list[int] = []
    for row, begin in doubtful.select("row", "begin").iter_rows():
        # A line inside a record is no record.
        if inside and row <= inside[-1]:
            continue
        record, text = _record(body, begin, dialect, width)
        following = range(row + 1, row + 1 + record.count(b"\n"))
        # A value that holds a whole row is none: its quote was never closed.
        if text is not None and not rows_alone[row : row + len(following)].any():
            repaired[row] = text
            inside += following
    lines = lines.filter(~pl.col("row").is_in(inside))
    changed = pl.DataFrame(
        {"row": list(repaired), "text": list(repaired.values())}, schema={"row": pl.Int64, "text": pl.String}
    )
    changed = changed.with_columns(repaired=_fields(dialect)).drop("text")
    place = pl.lit(lines_before) + pl.col("row")
    stray = pl.format("has a quote out of place or never closed, on line {}", place)
    return lines.join(changed, on="row", how="left", maintain_order="left").with_columns(
        fields=pl.coalesce("repaired", "fields"),
        fault=pl.coalesce("fault", pl.when(pl.coalesce("repaired", "fields").is_null()).then(stray)),
    )


def _record(body: bytes, begin: int, dialect: _Dialect, width: int) -> tuple[bytes, str | None]:
    """The record of the header's width that begins here, as it stands and with doubled quotes; else no text."""
    for pattern, is_escaped in ((dialect.record, False), (dialect.escaped_record, True)):
        match = pattern.match(body, begin)
        if match is None or len(match[0]) > LONGEST_ROW:
            continue
        record = _ESCAPED_VALUE.sub(_doubled, match[0]) if is_escaped else match[0]
        record = record.removesuffix(b"\r")
        if len(dialect.fields.findall(dialect.separator.encode() + record)) == width:
            try:
                return match[0], record.decode()
            except UnicodeDecodeError:
                break
    return b"", None


def _doubled(value: re.Match[bytes]) -> bytes:
    """A quoted value whose quotes are escaped, with doubled ones."""
    return _ESCAPE.sub(lambda escape: b'""' if escape[1] == b'"' else escape[1], value[0])


def _fields(dialect: _Dialect) -> pl.Expr:
    """The values of each line in `text`; null where it is not well formed."""
    text = pl.col("text")
    is_quoted = text.str.contains('"', literal=True)
    separated = dialect.separator + pl.when(is_quoted).then(text)
    found = separated.str.extract_all(dialect.field)
    value = pl.element().str.slice(1)
    is_value_quoted = value.str.starts_with('"')
    unquoted = value.str.slice(1).str.strip_suffix('"').str.replace_all('""', '"', literal=True)
    quoted = found.list.eval(pl.when(is_value_quoted).then(unquoted).otherwise(value))
    plain = pl.when(~is_quoted).then(text).str.split(dialect.separator)
    return pl.coalesce(pl.when(found.list.join("") == separated).then(quoted), plain)
