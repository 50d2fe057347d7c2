"""SQL models as files: the name of each, its description, the tables that it reads, and its parameters."""

import re
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from pipeline.schemas.base import Table, identity, polars_schema, tables_of

ROOMS = ("core", "reductions")
# Parsing the statements would take longer than a night's increment of a small account.
TABLE = re.compile(r"\b(?:FROM|JOIN)\s+(\w+\.\w+)")
PARAMETER = re.compile(r"\$(\w+)")
COMMENT = re.compile(r"--.*")


@dataclass(frozen=True)
class Model:
    """One file `sql/SCHEMA/TABLE.sql`: a SELECT that fills the table of that name, for a window of days."""

    name: str
    path: Path
    sql: str
    description: str
    schema: type[Table]
    depends_on: tuple[str, ...]
    parameters: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's columns in the declared order."""
        return tuple(polars_schema(self.schema))


@cache
def models(sql_dir: Path) -> tuple[Model, ...]:
    """Every model below `sql_dir`, each after the models that it reads. Files are read once per process.

    Raises:
        LookupError: if `pipeline/schemas` declares no table of a file's name.
    """
    schemas = {identity(model).qualified_name: model for room in ROOMS for model in tables_of(room)}
    found = {}
    for room in ROOMS:
        for path in sorted((sql_dir / room).glob("*.sql")):
            name = f"{room}.{path.stem}"
            if name not in schemas:
                raise LookupError(f"{path.name} fills {name}, which pipeline/schemas does not declare. Add its model.")
            found[name] = _read(name, path, schemas[name])
    order = TopologicalSorter(
        {name: [dep for dep in model.depends_on if dep in found] for name, model in found.items()}
    )
    return tuple(found[name] for name in order.static_order())


@cache
def tables_read(sql: str) -> tuple[str, ...]:
    """Qualified names of the tables that a statement reads, in alphabetical order."""
    return tuple(sorted(set(TABLE.findall(COMMENT.sub("", sql)))))


@cache
def parameters_of(sql: str) -> tuple[str, ...]:
    """Names of the parameters of a statement, in alphabetical order."""
    return tuple(sorted(set(PARAMETER.findall(COMMENT.sub("", sql)))))


def _read(name: str, path: Path, schema: type[Table]) -> Model:
    sql = path.read_text()
    comment = [line.removeprefix("--").strip() for line in sql.splitlines() if line.startswith("--")]
    return Model(name, path, sql, " ".join(comment), schema, tables_read(sql), parameters_of(sql))
