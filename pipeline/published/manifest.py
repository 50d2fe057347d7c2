"""What a publication consists of: its tables with a hash of what each holds, and its files with a hash of each."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from pipeline.common.errors import DriptuneError
from pipeline.schemas.base import identity, tables_of
from pipeline.settings import MANIFEST_NAME

# These tables describe the run itself, so they differ although the results are the same.
RUN_TABLES = frozenset({"runs"})
# These tables hold what people and driptune decided. Evidence that rests on the data must not change with them.
LEDGER_TABLES = frozenset({"optimizations", "optimization_events", "realised_lift"})


class DamagedManifestError(DriptuneError):
    """The manifest of the standing publication cannot be read."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of a publication; `content` is a hash of its rows, whatever their order and whoever wrote them."""

    name: str
    rows: int
    content: str


@dataclass(frozen=True)
class Manifest:
    """What a publication consists of; `version` is a hash of the content of all tables but `RUN_TABLES`.

    `files` has the SHA-256 of each published file by its path within the publication. It is empty until the files are
    written, and in what a release before this one published.
    """

    run_id: str
    as_of: str
    version: str
    tables: tuple[PublishedTable, ...]
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, published_dir: Path) -> "Manifest | None":
        """The manifest of the standing publication, or none.

        Raises:
            DamagedManifestError: if there is one that is not as it was written.
        """
        return cls.load(published_dir / MANIFEST_NAME)

    @classmethod
    def load(cls, path: Path) -> "Manifest | None":
        """The manifest in a file, or none if there is no such file.

        Raises:
            DamagedManifestError: if it is not as it was written.
        """
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            # Releases before this one wrote none. A damaged name of it is a field that no manifest has.
            if content.pop("seal", None) not in (None, _seal(content)):
                raise ValueError
            content["tables"] = tuple(_table(table) for table in content["tables"])
            date.fromisoformat(content["as_of"])
            content["files"] = dict(content.get("files", {}))
            return cls(**content)
        except (ValueError, TypeError, KeyError):
            raise DamagedManifestError(f"{path.name} is damaged. Run driptune restore.") from None

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, run_id: str, as_of: date) -> "Manifest":
        """The manifest of the marts as they stand in the working file."""
        tables = _contents(connection, mart_names(connection))
        version = _version(as_of.isoformat(), tables, without=RUN_TABLES)
        return cls(run_id, as_of.isoformat(), version, tuple(tables))

    @property
    def data_version(self) -> str:
        """A version that decisions do not change: the hash of the tables that follow from the data alone."""
        return _version(self.as_of, self.tables, without=RUN_TABLES | LEDGER_TABLES)

    def as_text(self) -> str:
        """The manifest as it stands in its file, with a `seal`: a hash of all the rest, by which damage is found."""
        content = asdict(self)
        return json.dumps({**content, "seal": _seal(content)}, indent=2) + "\n"


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _version(as_of: str, tables: Iterable[PublishedTable], without: frozenset[str]) -> str:
    content = [table.content for table in tables if table.name not in without]
    return hashlib.sha256("".join([as_of, *content]).encode()).hexdigest()[:16]


def mart_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the declared marts that stand in the working file, sorted."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'"
    present = {name for (name,) in connection.execute(query).fetchall()}
    return sorted(present & {identity(model).name for model in tables_of("marts")})


def _contents(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[PublishedTable]:
    """Each mart with its rows and a hash of them that neither the order of rows nor that of columns changes.

    DuckDB computes all of them in one statement, in one pass over each mart. Another version of DuckDB may compute
    another hash; the marts are then published once although nothing changed. What damages a file is found by the hash
    of the file.
    """
    if not names:
        return []
    query = """
        SELECT table_name, list(column_name ORDER BY column_name) FROM information_schema.columns
        WHERE table_schema = 'marts' AND table_catalog = current_database() GROUP BY table_name
    """
    columns = dict(connection.execute(query).fetchall())
    found = connection.execute(" UNION ALL ".join(_hashing(name, columns[name]) for name in names)).fetchall()
    told = {name: (rows, repr((columns[name], rows, total, mixed))) for name, rows, total, mixed in found}
    return [PublishedTable(name, told[name][0], hashlib.sha256(told[name][1].encode()).hexdigest()) for name in names]


def _hashing(name: str, columns: Sequence[str]) -> str:
    each = "hash(" + ", ".join(f'"{column}"' for column in columns) + ")"
    return f"SELECT '{name}', count(*), sum({each}::HUGEINT), bit_xor({each}) FROM marts.{name}"


def _table(told: Mapping[str, Any]) -> PublishedTable:
    """A table as a manifest tells of it. Releases before this one called the hash of the content `sha256`."""
    return PublishedTable(told["name"], told["rows"], told["content"] if "content" in told else told["sha256"])
