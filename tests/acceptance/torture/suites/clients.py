"""R13: the published files under other versions of DuckDB, and under Polars."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import SNAPSHOT_NAME
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

OLD_CLIENTS = ("1.0.0", "1.1.3", "1.4.1")
READ = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    found = connection.execute(
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'marts'").fetchall()
    read = {name: len(connection.execute(f'SELECT * FROM marts.{name}').fetchall()) for name, _ in found}
    rows = {name: read[name] for name, kind in found if kind == "BASE TABLE"}
    parquet = {name: len(connection.execute(f"SELECT * FROM '{sys.argv[2]}/{name}.parquet'").fetchall())
               for name in rows}
print(json.dumps([duckdb.__version__, rows, parquet]))
"""


def measure(quick: bool) -> Iterator[Row]:
    """Every table and view read to its last row by each client; older DuckDBs are installed on demand."""
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        folder = Path(name)
        place = Installation(folder / "account", url)
        code, said = place.nightly(NIGHT)
        if code:
            raise RuntimeError(said)
        published = place.settings.published_dir
        manifest = Manifest.read(published)
        assert manifest is not None
        rows = {table.name: table.rows for table in manifest.tables}
        for version in OLD_CLIENTS[:1] if quick else OLD_CLIENTS:
            read = _read_with(_old_client(folder / version, version), published)
            yield _row(f"DuckDB {version}", rows, read[1:] if read[0] == version else [])
        yield _row(f"DuckDB {duckdb.__version__}", rows, _read_with(Path(sys.executable), published)[1:])
        parquet = {name: pl.read_parquet(published / "parquet" / f"{name}.parquet").height for name in rows}
        yield _row(f"Polars {pl.__version__} (Parquet)", rows, [parquet])


def _row(client: str, rows: dict[str, int], read: list[dict[str, int]]) -> Row:
    is_whole = bool(read) and all(one == rows for one in read)
    reached = f"{len(rows)} of {len(rows)} tables" if is_whole else "not all tables"
    return Row("R13", f"published tables read by {client}", reached, "all", is_whole)


def _old_client(folder: Path, version: str) -> Path:
    """The interpreter of an environment with that DuckDB alone."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"duckdb=={version}"]
    subprocess.run(install, check=True)
    return python


def _read_with(python: Path, published: Path) -> list:
    command = [str(python), "-c", READ, str(published / SNAPSHOT_NAME), str(published / "parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else [""]
