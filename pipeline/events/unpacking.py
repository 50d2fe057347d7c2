"""From a file's bytes to plain UTF-8 text or Parquet: what it is told by its first bytes, and by its name only then.

What the rows of the plain content are is read by `csv_rows.py`, `json_rows.py` and `parquet_rows.py`.
"""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from typing import Final

import pyarrow as pa

PARQUET_MAGIC: Final = b"PAR1"
# Longer marks first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNIT_BYTES = {"utf-32": 4}
# No UTF-8 text holds this byte, so the row it ends is told as broken.
_NEVER_UTF8 = b"\xff"
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"ARROW1": "an Arrow file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF document",
}


class UnreadableContent(Exception):  # noqa: N818 - told with the file's name by the reader
    """Content that cannot be read as a whole; says what it is."""


def _unpack_zstandard(content: bytes) -> bytes:
    unpacked: bytes = pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
    return unpacked


_PACKERS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
    b"\x28\xb5\x2f\xfd": ("Zstandard", _unpack_zstandard),
}
_ENDS_TOO_SOON = ("end-of-stream", "truncated")


def is_packed(content: bytes) -> bool:
    """Whether the content begins as packed files do."""
    return content.startswith(tuple(_PACKERS))


def unpacked(content: bytes) -> bytes:
    """The content unpacked, if it is packed.

    Raises:
        UnreadableContent: if it is packed and cut short or damaged.
    """
    for magic, (format_name, unpack) in _PACKERS.items():
        if content.startswith(magic):
            try:
                return unpack(content)
            except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
                is_cut = any(words in str(error).lower() for words in _ENDS_TOO_SOON)
                state = "cut short: its packed data end too soon" if is_cut else "damaged: it cannot be unpacked"
                raise UnreadableContent(f"is a {format_name} file that is {state}") from None
    return content


def as_utf8(content: bytes) -> bytes:
    """Text in UTF-8 without a mark. UTF-16 and UTF-32 are known by their mark, or by where the zeros stand.

    Raises:
        UnreadableContent: if the content is that of another kind of file.
    """
    foreign = next((name for magic, name in _FOREIGN.items() if content.startswith(magic)), None)
    if foreign:
        raise UnreadableContent(f"is {foreign}, not text")
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None) or _unmarked(content)
    if encoding is None:
        return content.removeprefix(codecs.BOM_UTF8)
    unit = _UNIT_BYTES.get(encoding, 2)
    whole = len(content) // unit * unit
    text = content[:whole].decode(encoding, "surrogatepass" if unit == 2 else "replace")
    rest = _NEVER_UTF8 if whole < len(content) else b""
    return text.encode("utf-8", "surrogatepass") + rest


def _unmarked(content: bytes) -> str | None:
    """UTF-16 without its mark: the first two characters of a header or of JSON are ASCII, so one byte of each is 0."""
    zeros = [byte == 0 for byte in content[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else None
