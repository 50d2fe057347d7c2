"""Memory and CPU seconds of the steps of a night that work person by person, each in a process of its own.

`python -m tests.acceptance.bench.people --people 1000000 3000000` draws for each number an account of so many people
by hashing inside DuckDB, in another process, and runs the product's own assets on its working file. Memory is the peak
above that of the imports, and holds what DuckDB keeps of the file.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import yaml

from pipeline.config.flow_map import load_flow_map
from pipeline.dimensions.flows import dimensions
from pipeline.lake.store import Lake
from pipeline.orchestration.assets import coordination, decisions, experiments, loop, performance, timing
from pipeline.orchestration.resources.warehouse import open_warehouse
from pipeline.schemas import core, lake
from pipeline.schemas.base import empty
from pipeline.settings import Settings
from tests.acceptance.bench.rows import Row

TONIGHT = date(2026, 6, 29)
MOST_GB = 4.0
MOST_SECONDS = {"learn_send_times": 20.0, "choose": 30.0}
"""CPU seconds that a step may take for a million people, where a target names them."""
STEPS: dict[str, dg.AssetsDefinition] = {
    "learn_send_times": timing.learn_send_times,
    "lift": timing.lift,
    "assignments": timing.assignments,
    "schedules": timing.schedules,
    "workflow_conflicts": coordination.workflow_conflicts,
    "conflict_replay": coordination.conflict_replay,
    "capped_sends": coordination.capped_sends,
    "stuck_subscribers": performance.stuck_subscribers,
    "reconciled": performance.reconciled,
    "held_out": experiments.held_out,
    "incremental_revenue": experiments.incremental_revenue,
    "workflow_metrics": performance.workflow_metrics,
    "assigned": experiments.assigned,
    "field_values": experiments.field_values,
    "choose": decisions.choose,
    "decision_log": decisions.decision_log,
    "baselines": loop.baselines,
}
ACCOUNT = Path(__file__).with_suffix(".sql")


def per_person(people: Iterable[int]) -> Iterator[Row]:
    """A row for every step and number of people."""
    for number in people:
        with tempfile.TemporaryDirectory(prefix="driptune-people-") as folder:
            _run("draw", folder, number)
            for name in STEPS:
                told = json.loads(_run(name, folder, number).splitlines()[-1])
                most = MOST_SECONDS.get(name, float("inf")) if number <= 1_000_000 else float("inf")
                yield Row(
                    "P14",
                    f"step `{name}`, {number:,} people",
                    f"{told['seconds']:.1f} CPU-s, {told['gigabytes']:.2f} GB",
                    f"<= {MOST_GB:.0f} GB" + (f", {most:.0f} CPU-s" if most < float("inf") else ""),
                    told["gigabytes"] <= MOST_GB and told["seconds"] <= most,
                )


def draw(settings: Settings, people: int) -> None:
    """The working file of an account with the sample's flows, five decisions, a test and hold-outs."""
    shutil.copytree(Settings(_env_file=None).definitions, settings.definitions)
    _define(settings.definitions)
    flows = load_flow_map(settings.definitions)
    nothing = (empty(model) for model in (lake.Automations, lake.AutomationEmails, lake.Campaigns))
    made = dimensions(flows, *nothing, settings)
    settings.working_file.parent.mkdir(parents=True)
    with open_warehouse(settings.working_file) as warehouse:
        told = {core.CoreWorkflows: made.workflows, core.CoreSteps: made.steps, core.CoreEdges: made.edges}
        arguments = {
            "people": people,
            "until": (TONIGHT - date(1970, 1, 1)).days,
        }
        for model, rows in told.items():
            warehouse.replace(model, rows)
        for statement in duckdb.extract_statements(ACCOUNT.read_text(encoding="utf-8")):
            used = {name: arguments[name] for name in statement.named_parameters}
            warehouse.connection.execute(statement, used)


def _define(folder: Path) -> None:
    """Two more decision points, a hold-out of the account and of a flow, and a daily cap."""
    file = folder / "decision_points.yaml"
    points = yaml.safe_load(file.read_text(encoding="utf-8"))["decision_points"]
    more = [{**one, "id": f"{one['id']}-2", "deliver": None} for one in points]
    file.write_text(yaml.safe_dump({"decision_points": points + more}), encoding="utf-8")
    start = date(2026, 3, 1)
    held = [
        {"id": "of-all", "share": 0.1, "start": start},
        {"id": "of-one", "workflow": "win-back", "share": 0.1, "start": start},
    ]
    (folder / "holdouts.yaml").write_text(yaml.safe_dump({"holdouts": held}), encoding="utf-8")
    (folder / "constraints.yaml").write_text("frequency_cap: {messages: 1, days: 1}\n", encoding="utf-8")


def measure(settings: Settings, step: str) -> dict[str, float]:
    """What a step takes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with open_warehouse(settings.working_file) as warehouse:
        resources: dict[str, Any] = {"settings": settings, "lake": Lake(settings.lake_dir), "warehouse": warehouse}
        dg.materialize([STEPS[step]], resources=resources)
    spent = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": spent, "gigabytes": (peak - before) / 1e6}


def _run(task: str, folder: str, people: int) -> str:
    command = [sys.executable, "-m", "tests.acceptance.bench.people", "--task", task, "--folder", folder]
    done = subprocess.run([*command, "--people", str(people)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{task} failed: {done.stderr.strip()[-3000:]}")
    return done.stdout


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.bench.people", description=__doc__)
    parser.add_argument("--people", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--task", help="a step, or 'draw', of the account in --folder, in this process")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.task is None:
        for row in per_person(arguments.people):
            print(f"{row.number} {row.measure}: {row.measured} (hold to {row.hold_to})", flush=True)
        return
    settings = Settings(
        data_dir=arguments.folder / "data", definitions=arguments.folder / "definitions", as_of=TONIGHT, _env_file=None
    )
    if arguments.task == "draw":
        draw(settings, *arguments.people)
    else:
        print(json.dumps(measure(settings, arguments.task)))


if __name__ == "__main__":
    main()
