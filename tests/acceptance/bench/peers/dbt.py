"""dbt-duckdb with the product's models: a project written into a folder, and one `dbt run` of it as a whole process."""

import os
from pathlib import Path

from pipeline.engine import Model, models
from pipeline.engine.model import PARAMETER, TABLE
from pipeline.orchestration.resources.warehouse import MEMORY_BYTES
from pipeline.settings import SQL_DIR
from tests.acceptance.bench.limits import THREADS
from tests.acceptance.bench.peers.engine import PEERS
from tests.acceptance.bench.process import Process, run_process
from tests.acceptance.bench.tasks import EVERY_PARAMETER

PROJECT = """
name: peer
profile: peer
flags: {send_anonymous_usage_stats: false}
models: {peer: {+materialized: table}}
"""
# One model after the other, as ours: DuckDB itself works with all threads.
PROFILE = f"""
peer:
  target: here
  outputs:
    here:
      type: duckdb
      threads: 1
      path: "{{file}}"
      settings:
        threads: {THREADS}
        memory_limit: "{MEMORY_BYTES}B"
        temp_directory: "{{file}}.spill"
        preserve_insertion_order: false
"""
# By itself dbt puts the name of the target before that of a schema.
SCHEMA_NAMES = "{% macro generate_schema_name(name, node) %}{{ name }}{% endmacro %}"
DBT = PEERS / "bin" / "dbt"


def missing() -> str | None:
    """Why it cannot run here; none if it can."""
    return None if DBT.exists() else "dbt-duckdb is not installed: make peers"


def build(file: Path, folder: Path) -> Process:
    """Build all models in a working file that has the dimensions, and views of the lake.

    Raises:
        RuntimeError: if dbt fails.
    """
    _write(folder / "dbt_project.yml", PROJECT)
    _write(folder / "profiles.yml", PROFILE.format(file=file))
    _write(folder / "macros" / "names.sql", SCHEMA_NAMES)
    for model in models(SQL_DIR):
        _write(folder / "models" / f"{_dbt_name(model.name)}.sql", _as_dbt(model))
    return run_process([str(DBT), "run"], folder, {**os.environ, "DBT_PROFILES_DIR": str(folder)})


def _as_dbt(model: Model) -> str:
    """The model with its own tables as references, by which dbt finds the order, and all days as its parameters."""
    schema, table = model.name.split(".")
    own = {one.name for one in models(SQL_DIR)}
    sql = PARAMETER.sub(lambda found: _literal(EVERY_PARAMETER[found[1]]), model.sql)
    sql = TABLE.sub(lambda found: found[0].replace(found[1], _reference(found[1], own)), sql)
    return f"{{{{ config(schema='{schema}', alias='{table}') }}}}\n{sql}"


def _reference(table: str, own: set[str]) -> str:
    return f"{{{{ ref('{_dbt_name(table)}') }}}}" if table in own else table


def _dbt_name(name: str) -> str:
    return name.replace(".", "__")


def _literal(value: int | str) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
