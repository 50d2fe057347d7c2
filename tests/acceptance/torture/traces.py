"""What an installation's files hold, as text: whoever looks for a person must look into every kind of file."""

import base64
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import polars as pl

Blob = tuple[str, bytes]
"""Where it stands, and what it holds."""


def blobs_below(folder: Path, without: Iterable[Path] = ()) -> Iterator[Blob]:
    """Every file below the folder: its name, its bytes, and the rows that its format packs."""
    passed_over = set(without)
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or passed_over & {path, *path.parents}:
            continue
        name = str(path.relative_to(folder))
        yield f"name of {name}", name.encode()
        yield name, path.read_bytes()
        if path.suffix == ".parquet":
            yield f"rows of {name}", pl.read_parquet(path, hive_partitioning=False).write_ndjson().encode()
        elif path.suffix == ".duckdb":
            yield from ((f"{table} of {name}", rows) for table, rows in _tables(path))


def traces(blobs: Iterable[Blob], token: str) -> list[str]:
    """Where a token stands, as it is or in base64, in upper or lower case."""
    sought = re.compile(b"|".join(re.escape(one) for one in [token.encode(), *_in_base64(token)]), re.IGNORECASE)
    return [name for name, content in blobs if sought.search(content)]


def _in_base64(token: str) -> list[bytes]:
    """The characters of base64 that the token alone decides, for each place in a group of three bytes."""
    found = []
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + token.encode())
        first, last = -(-8 * before // 6), (8 * (before + len(token))) // 6
        found.append(coded[first:last])
    return found


def _tables(path: Path) -> Iterator[Blob]:
    with tempfile.TemporaryDirectory() as folder:
        # The file may be open elsewhere, and a file that is read only takes no log.
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        with duckdb.connect(str(copy)) as connection:
            query = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            for schema, table in connection.execute(query).fetchall():
                yield (
                    f"{schema}.{table}",
                    connection.sql(f'SELECT * FROM "{schema}"."{table}"').pl().write_ndjson().encode(),
                )
