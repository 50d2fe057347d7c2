"""What a file holds, in the raw shape: unpacked, recognised, and read by the reader of its format."""

from collections.abc import Callable

import duckdb
from polars.exceptions import PolarsError

from pipeline.common.errors import SourceError
from pipeline.events.csv_rows import read_csv
from pipeline.events.files import Kind, is_named_packed, kind_of
from pipeline.events.json_rows import read_json
from pipeline.events.parquet_rows import read_parquet
from pipeline.events.raw import COLUMNS, REQUIRED, RawEvents
from pipeline.events.unpacking import PARQUET_MAGIC, UnreadableContent, as_utf8, is_packed, unpacked

_ADVICE = (
    f"Write CSV, NDJSON or Parquet with the columns {', '.join(COLUMNS)}, of which only the first {len(REQUIRED)} are "
    "needed, or remove the file."
)
_READERS: dict[Kind, Callable[[bytes], RawEvents]] = {
    "CSV": lambda content: read_csv(as_utf8(content)),
    "NDJSON": lambda content: read_json(as_utf8(content)),
    "Parquet": read_parquet,
}


def raw_events(name: str, content: bytes) -> RawEvents:
    """The rows of a file's content.

    Raises:
        SourceError: if the file as a whole makes no sense.
    """
    kind = kind_of(name)
    try:
        plain = unpacked(content)
        kind = _recognised(kind, plain)
        return _READERS[kind](plain)
    except UnreadableContent as error:
        what = str(error)
    except (PolarsError, duckdb.Error) as error:
        what = f"is no valid {kind} file ({type(error).__name__})"
    if is_named_packed(name) and not is_packed(content):
        what = f"cannot be read: it is not packed as its name says, and as it stands it {what}"
    raise SourceError(name, what, _ADVICE)


def _recognised(named: Kind | None, content: bytes) -> Kind:
    """The format: Parquet tells itself, and the name tells the others; without one a bracket begins JSON."""
    if content.startswith(PARQUET_MAGIC):
        return "Parquet"
    return named or ("NDJSON" if as_utf8(content).lstrip().startswith((b"{", b"[")) else "CSV")
