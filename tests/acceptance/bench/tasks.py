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
import pandas as pd

from pipeline.engine import EVERYTHING, Engine, models
from pipeline.engine.views import create_view, lake_tables, list_files, read_footers
from pipeline.settings import SQL_DIR
from tests.acceptance.bench.account import Scale, dimensions, write_dimensions

PARAMETERS = {"currency": "USD", "shared_ip_recipients": 10, "default_grace_hours": 48}
MEMORY_BYTES = 3 * 2**30
THREADS = 2
PEER_REDUCTIONS = ("step_days", "funnel_transitions", "hours_of_week")


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


def bare(file: str, lake: str) -> None:
    """The same SQL as a script for DuckDB: no windows, no state, no transactions."""
    with open_file(Path(file)) as connection:
        files = read_footers(connection, list_files(Path(lake), lake_tables()))
        for table in lake_tables():
            create_view(connection, "lake", table, {file: files[file] for file in files if file.table == table})
        connection.execute("CREATE SCHEMA IF NOT EXISTS reductions")
        days = {"first_day": EVERYTHING.first_day, "last_day": EVERYTHING.last_day}
        for model in models(SQL_DIR):
            arguments = {name: {**PARAMETERS, **days}[name] for name in model.parameters}
            connection.execute(f"CREATE OR REPLACE TABLE {model.name} AS {model.sql}", arguments)


def hours_of_week(file: str, lake: str) -> None:
    """Local hours of all messages: what a wrong join order makes explode."""
    with open_file(Path(file)) as connection:
        engine = Engine(connection, SQL_DIR, Path(lake), PARAMETERS, MEMORY_BYTES)
        engine.touch(EVERYTHING)
        for name in ("core.messages", "reductions.hours_of_week"):
            engine.build(name)


def ours_on_parquet(folder: str) -> dict[str, int]:
    """The reductions that the peer does too, from the same files."""
    days = {"first_day": EVERYTHING.first_day, "last_day": EVERYTHING.last_day}
    rows = {}
    with duckdb.connect(config={"threads": THREADS, "memory_limit": f"{MEMORY_BYTES}B"}) as connection:
        connection.execute("CREATE SCHEMA core")
        for table in ("messages", "step_entries"):
            connection.execute(f"CREATE VIEW core.{table} AS SELECT * FROM '{folder}/{table}.parquet'")
        for name in PEER_REDUCTIONS:
            sql = (SQL_DIR / "reductions" / f"{name}.sql").read_text()
            rows[name] = len(connection.execute(sql, days).df())
    return rows


def pandas_on_parquet(folder: str) -> dict[str, int]:
    """The same reductions in pandas."""
    messages = pd.read_parquet(f"{folder}/messages.parquet")
    is_delivered = messages["bounce_kind"].isna()
    flags = messages[["workflow_key", "step_key", "day", "local_hour_of_week", "opens", "clicks"]].assign(
        delivered=is_delivered,
        hard_bounces=messages["bounce_kind"].isin(["hard", "syntax"]),
        soft_bounces=messages["bounce_kind"].eq("soft"),
        unique_opens=is_delivered & messages["opens"].gt(0),
        unique_human_opens=is_delivered & messages["human_opens"].gt(0),
        unmarked_sent=~messages["has_machine_marks"],
        unique_clicks=is_delivered & messages["clicks"].gt(0),
        unique_human_clicks=is_delivered & messages["human_clicks"].gt(0),
        prompt_human_clicks=is_delivered & (messages["first_human_click_us"] - messages["sent_us"]).lt(86_400_000_000),
        unique_human_engagements=is_delivered & (messages["human_opens"] + messages["human_clicks"]).gt(0),
        unsubscribes=messages["unsubscribed_us"].notna(),
        complaints=messages["complained_us"].notna(),
    )
    step_days = flags.drop(columns="local_hour_of_week").groupby(["workflow_key", "step_key", "day"]).sum()
    delivered = flags.loc[is_delivered, ["workflow_key", "day", "local_hour_of_week", "delivered",
                                         "unique_human_opens", "unique_human_clicks"]]  # fmt: skip
    hours = delivered.groupby(["workflow_key", "day", "local_hour_of_week"]).sum()
    columns = ["workflow_key", "step_key", "to_step_key", "delay_version", "day", "outcome", "outcome_day"]
    entries = pd.read_parquet(f"{folder}/step_entries.parquet", columns=columns).dropna(subset=["to_step_key"])
    entries["elapsed_days"] = entries["outcome_day"] - entries["day"]
    funnel = entries.groupby([*columns[:6], "elapsed_days"]).size()
    return {"step_days": len(step_days), "funnel_transitions": len(funnel), "hours_of_week": len(hours)}


TASKS: dict[str, Callable[..., dict | None]] = {
    task.__name__: task
    for task in (prepare, build, bare, hours_of_week, ours_on_parquet, pandas_on_parquet)
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
