"""What is measured, each task in a process of its own so that its peak memory is its own.

`python -m tests.acceptance.bench.tasks NAME ARGUMENTS-AS-JSON` prints seconds, peak memory and the task's own figures
as JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from pipeline.engine import EVERYTHING, Engine, models
from pipeline.engine.views import create_view, lake_tables, list_files, read_footers
from pipeline.orchestration.resources.warehouse import MEMORY_BYTES
from pipeline.settings import SAMPLE_DEFINITIONS, SQL_DIR, Settings
from tests.acceptance.bench.account import LAST_DAY, Scale, dimensions, write_dimensions
from tests.acceptance.bench.limits import THREADS
from tests.acceptance.bench.peers.facts import ALL_DAYS

PARAMETERS = {"currency": "USD", "shared_ip_recipients": 10, "default_grace_hours": 48}
EVERY_PARAMETER = {**PARAMETERS, **ALL_DAYS}


def open_file(path: Path) -> duckdb.DuckDBPyConnection:
    """A working file with the settings of the pipeline."""
    config = {"threads": THREADS, "memory_limit": f"{MEMORY_BYTES}B", "temp_directory": f"{path}.spill"}
    connection = duckdb.connect(str(path), config=config)
    connection.execute("SET preserve_insertion_order = false")
    return connection


def prepare(events: int, file: str) -> None:
    """A working file that holds the dimensions only."""
    with open_file(Path(file)) as connection:
        write_dimensions(connection, dimensions(Scale(events)))


def build(file: str, lake: str) -> dict[str, float]:
    """Everything that is due: a full rebuild of a new file, an increment of a built one."""
    with open_file(Path(file)) as connection:
        engine = Engine(connection, SQL_DIR, Path(lake), PARAMETERS, MEMORY_BYTES)
        results = [engine.build(name) for name in engine.models]
    return {"rows": sum(result.rows_inserted for result in results)}


def prepare_views(file: str, lake: str) -> None:
    """Views of the whole lake in a working file."""
    with open_file(Path(file)) as connection:
        files = read_footers(connection, list_files(Path(lake), lake_tables()))
        for table in lake_tables():
            create_view(connection, "lake", table, {file: files[file] for file in files if file.table == table})


def bare(file: str, lake: str) -> None:
    """The same SQL as a script for DuckDB: no windows, no state, no transactions."""
    prepare_views(file, lake)
    with open_file(Path(file)) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS reductions")
        for model in models(SQL_DIR):
            arguments = {name: EVERY_PARAMETER[name] for name in model.parameters}
            connection.execute(f"CREATE OR REPLACE TABLE {model.name} AS {model.sql}", arguments)


def hours_of_week(file: str, lake: str) -> None:
    """Local hours of all messages: what a wrong join order makes explode."""
    with open_file(Path(file)) as connection:
        engine = Engine(connection, SQL_DIR, Path(lake), PARAMETERS, MEMORY_BYTES)
        engine.touch(EVERYTHING)
        for name in ("core.messages", "reductions.hours_of_week"):
            engine.build(name)


def build_with_dagster(data: str) -> None:
    """Everything that is due, as the product does it: in its nightly job, on an instance of Dagster that is kept."""
    # Imported here, as in `reduce`, for what they bring along would count as memory of the other tasks.
    from pipeline.definitions import build_defs
    from pipeline.lake.store import Lake
    from pipeline.orchestration.asset import asset_key
    from pipeline.orchestration.instance import open_instance
    from pipeline.orchestration.jobs import nightly

    settings = Settings(data_dir=Path(data), definitions=SAMPLE_DEFINITIONS, as_of=LAST_DAY, _env_file=None)
    # Files of a synthetic lake are not named by what they hold, which the lake of a night is looked through for.
    job = build_defs(settings, lake=Lake(settings.lake_dir)).resolve_job_def(nightly.name)
    facts_and_reductions = [asset_key(model.schema) for model in models(SQL_DIR)]
    with open_instance(settings.dagster_home) as instance:
        job.execute_in_process(
            instance=instance, asset_selection=facts_and_reductions, partition_key=LAST_DAY.isoformat()
        )


def reduce(engine: str, facts: str) -> dict:
    """The core reductions by an engine, from the same facts as all of them."""
    from tests.acceptance.bench.peers.engine import measure
    from tests.acceptance.bench.peers.engines import ENGINES

    return measure(ENGINES[engine], Path(facts))


TASKS: dict[str, Callable[..., dict | None]] = {
    task.__name__: task
    for task in (prepare, build, bare, hours_of_week, build_with_dagster, prepare_views, reduce)
}  # fmt: skip


def main() -> None:
    """Run one task and print its figures."""
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    started = time.perf_counter()
    figures = TASKS[name](**arguments) or {}
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"seconds": seconds, "peak_gb": peak, "figures": figures}))


if __name__ == "__main__":
    main()
