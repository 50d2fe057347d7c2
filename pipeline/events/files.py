"""Event files wherever they lie: finds them, and reads CSV, NDJSON and Parquet into one raw shape of text columns.

What a value means, and whether it is any good, is decided in `event_rows.py`.
"""

import io
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import duckdb
import fsspec
import polars as pl
from polars.exceptions import PolarsError

from pipeline.common.errors import SourceError, scrub

COLUMNS = (
    "event_id",
    "occurred_at",
    "event_type",
    "subscriber",
    "workflow_id",
    "step_id",
    "order_id",
    "revenue",
    "currency",
    "plan",
    "properties",
)
REQUIRED = COLUMNS[:4]
RAW = {"row": pl.Int64, "fault": pl.String, **dict.fromkeys(COLUMNS, pl.String), "extra": pl.String}
NOT_TEXT = "is not UTF-8 text"
NOT_JSON = "is not a JSON object"
# A longer row is a mistake, and parsing it would take many times its size.
LONGEST_ROW = 1_000_000
TOO_LONG = f"is longer than {LONGEST_ROW} bytes"
TOO_MANY_FIELDS = "has more fields than the header"
_CSV, _NDJSON, _PARQUET = (".csv",), (".ndjson", ".jsonl", ".json"), (".parquet", ".pq")
_GLOB = re.compile(r"[*?\[]")
_NO_EXTRA = "{" + ", ".join(f'"{name}": null' for name in COLUMNS) + "}"
_SURPLUS = "__surplus__"
_REPLACEMENT = "\ufffd"
_ADVICE = "Check that it can be reached from here, and its permissions."


@dataclass(frozen=True)
class EventFile:
    """A file: `name` below its source for people and state, `version` that changes with its content, if known."""

    filesystem: Any
    path: str
    name: str
    version: str | None


class MissingColumns(Exception):  # noqa: N818 - told with the file's name by the reader
    """A file without the columns every event has."""


def find_event_files(source: str) -> list[EventFile]:
    """The event files of a folder (and those below it), a glob or a URL, by name; an empty folder has none.

    Raises:
        SourceError: if the place cannot be reached.
    """
    place = scrub(source)
    try:
        filesystem, root = fsspec.core.url_to_fs(source)
        # A web address's ? begins its query.
        path = root.partition("?")[0] if root.startswith(("http:", "https:")) else root
        if _kind(path) and not _GLOB.search(path):
            infos = [filesystem.info(root)]
            root = filesystem._parent(root)
        elif _GLOB.search(path):
            infos = list(filesystem.glob(root, detail=True).values())
            root = _GLOB.split(root)[0].rpartition("/")[0]
        else:
            filesystem.ls(root)
            infos = list(filesystem.find(root, detail=True, on_error="raise").values())
    except FileNotFoundError:
        raise SourceError(place, "is not there", "Correct DRIPTUNE_EVENTS, or create the folder.") from None
    except ImportError as error:
        raise SourceError(place, str(error), "Install what is missing, or use a local folder.") from None
    except Exception as error:  # every filesystem has its own
        raise SourceError(place, f"cannot be read ({type(error).__name__})", _ADVICE) from None
    files = [_event_file(filesystem, root, info) for info in infos if info.get("type") == "file"]
    return sorted((file for file in files if _kind(file.name) and not _is_hidden(file.name)), key=lambda one: one.name)


def fetch_event_file(file: EventFile) -> bytes:
    """The file's content, unpacked.

    Raises:
        SourceError: if it cannot be read.
    """
    try:
        with file.filesystem.open(file.path, "rb", compression="infer") as stream:
            content: bytes = stream.read()
            return content
    except Exception as error:  # every filesystem has its own
        raise SourceError(file.name, f"cannot be read ({type(error).__name__})", _ADVICE) from None


def raw_events(name: str, content: bytes) -> pl.DataFrame:
    """The rows of a file's content, with the columns of `RAW`.

    Every value is text as it came; `row` counts from 1 (after a header); `fault` says why a row could not be read;
    `extra` is a JSON object of the unknown columns.

    Raises:
        SourceError: if the file as a whole makes no sense.
    """
    kind = _kind(name) or ""
    try:
        return _READERS[kind](content)
    except MissingColumns as error:
        advice = f"Write the columns {', '.join(COLUMNS)}; only the first {len(REQUIRED)} are needed."
        raise SourceError(name, str(error), advice) from None
    except (PolarsError, duckdb.Error) as error:
        what = f"is no valid {kind} file ({type(error).__name__})"
        raise SourceError(name, what, "Write the file anew, or remove it.") from None


def _kind(name: str) -> str | None:
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst", ".bz2", ".xz"):
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    kinds = {"CSV": _CSV, "NDJSON": _NDJSON, "Parquet": _PARQUET}
    return next((kind for kind, known in kinds.items() if last in known), None)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def _event_file(filesystem: Any, root: str, info: dict[str, Any]) -> EventFile:
    name = info["name"].removeprefix(root).lstrip("/").partition("?")[0]
    stamps = [info.get(field) for field in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")]
    stamp = next((str(stamp) for stamp in stamps if stamp), None)
    return EventFile(filesystem, info["name"], name, f"{info.get('size')} {stamp}" if stamp else None)


def _read_csv(content: bytes) -> pl.DataFrame:
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        return pl.DataFrame(schema=RAW)
    header, _, body = content.partition(b"\n")
    # A column beyond the header catches what Polars would cut off in silence.
    widened = header.rstrip(b"\r") + b"," + _SURPLUS.encode() + b"\n" + body
    table = pl.read_csv(widened, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True)
    fault: pl.Expr = pl.when(pl.col(_SURPLUS).is_not_null()).then(pl.lit(TOO_MANY_FIELDS))
    if not _is_utf8(content):
        broken = pl.any_horizontal(pl.all().str.contains(_REPLACEMENT, literal=True).fill_null(False))
        fault = pl.when(broken).then(pl.lit(NOT_TEXT)).otherwise(fault)
    marks = table.select(fault=fault, is_blank=pl.all_horizontal(pl.all().is_null()))
    return _raw(table.drop(_SURPLUS), marks["fault"]).filter(~marks["is_blank"])


def _read_parquet(content: bytes) -> pl.DataFrame:
    table = pl.read_parquet(io.BytesIO(content))
    return _raw(table, pl.repeat(None, table.height, dtype=pl.String, eager=True))


def _read_ndjson(content: bytes) -> pl.DataFrame:
    lines = pl.DataFrame({"line": pl.Series(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), dtype=pl.Binary)})
    is_long = pl.col("line").bin.size() > LONGEST_ROW
    lines = lines.select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("row"),
        pl.when(~is_long).then("line").alias("line"),
        is_long=is_long,
    )
    fields = ", ".join(f"json_extract_string(line, '$.{name}') AS {name}" for name in COLUMNS)
    query = f"""
        WITH texts AS (SELECT row, is_long, try(decode(line)) AS line FROM lines),
        told AS (SELECT row, is_long, line, CASE WHEN json_valid(line) THEN json_type(line) END AS kind FROM texts),
        checked AS (
            SELECT row, is_long, line IS NOT NULL AS is_text, CASE WHEN kind = 'OBJECT' THEN line END AS line
            FROM told WHERE line IS NULL OR trim(line, ' \t\r') <> ''
        )
        SELECT row, {fields}, json_merge_patch(line, '{_NO_EXTRA}')::VARCHAR AS extra,
            CASE WHEN is_long THEN '{TOO_LONG}' WHEN NOT is_text THEN '{NOT_TEXT}' WHEN line IS NULL THEN '{NOT_JSON}'
                END AS fault
        FROM checked ORDER BY row
    """
    return run_sql(query, lines=lines).select(pl.col(name).cast(dtype) for name, dtype in RAW.items())


def run_sql(query: str, **frames: pl.DataFrame) -> pl.DataFrame:
    """The result of a query on frames: DuckDB's JSON functions, which Polars lacks."""
    # A cursor of the default in-memory database: opening one of its own costs more than most queries.
    with duckdb.cursor() as connection:
        for name, frame in frames.items():
            connection.register(name, frame.to_arrow())
        rows: pl.DataFrame = connection.sql(query).pl()
        return rows


_READERS = {"CSV": _read_csv, "NDJSON": _read_ndjson, "Parquet": _read_parquet}


def _raw(table: pl.DataFrame, fault: pl.Series) -> pl.DataFrame:
    """A table of any types in the raw shape."""
    table = table.rename({name: name.strip() for name in table.columns})
    absent = [name for name in REQUIRED if name not in table.columns]
    if absent:
        raise MissingColumns(f"lacks {', '.join(absent)} in its header")
    unknown = [name for name in table.columns if name not in COLUMNS]
    columns = {name: _text(table, name) for name in COLUMNS if name in table.columns}
    if unknown:
        columns["extra"] = pl.struct(_encodable(table, name) for name in unknown).struct.json_encode()
    row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    told = table.select(row.alias("row"), **columns).with_columns(fault=fault)
    return pl.concat([pl.DataFrame(schema=RAW), told], how="diagonal")


def _text(table: pl.DataFrame, name: str) -> pl.Expr:
    dtype = table.schema[name]
    if isinstance(dtype, pl.Datetime):
        utc = pl.col(name).dt.convert_time_zone("UTC") if dtype.time_zone else pl.col(name)
        return utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    if isinstance(dtype, pl.Struct):
        return pl.col(name).struct.json_encode()
    return pl.col(name).cast(pl.String, strict=False)


def _encodable(table: pl.DataFrame, name: str) -> pl.Expr:
    """What JSON has no type for becomes text."""
    dtype = table.schema[name]
    if dtype == pl.Binary:
        return pl.col(name).bin.encode("base64")
    is_json = dtype.is_nested() or dtype.is_integer() or dtype.is_float() or dtype in (pl.Boolean, pl.String)
    return pl.col(name) if is_json else pl.col(name).cast(pl.String, strict=False)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
