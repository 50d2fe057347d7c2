"""Dagster's instance: its home folder, and settings with which nightlies go on after a power cut."""

import os
from pathlib import Path

import dagster as dg

from pipeline.common.lock import exclusive

# Creating the databases was measured to take one second, and several on a slow disk.
CREATION_SECONDS = 60.0
EVENTS_AT_ONCE = 1000

DAGSTER_YAML = """\
# Written by driptune once. You may edit it: it is not overwritten.
telemetry:
  enabled: false
nux:
  enabled: false
storage:
  # SQLite, with files that stay open while a run writes them.
  custom:
    module: pipeline.orchestration.event_log
    class: OpenSqliteStorage
    config:
      base_dir:
        env: DAGSTER_HOME
concurrency:
  runs:
    # One run at a time can write the working file. A second run would only wait for it.
    max_concurrent_runs: 1
run_monitoring:
  # Without monitoring, a run that a power cut left 'started' would block every later nightly.
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 180
  max_runtime_seconds: 14400
run_retries:
  enabled: true
  max_retries: 0
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days:
      skipped: 7
"""


def prepare_home(home: Path) -> Path:
    """Create Dagster's home with its configuration, name it in the environment, and return its absolute path."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(DAGSTER_YAML)
    os.environ["DAGSTER_HOME"] = str(home)
    # Dagster tells of each asset and check that a run is to make, and otherwise writes each of these events by itself.
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(EVENTS_AT_ONCE)
    return home


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance that the command, the UI and the daemon share."""
    # Two processes that start at the same time would both create the databases.
    with exclusive(prepare_home(home) / ".lock", CREATION_SECONDS):
        return dg.DagsterInstance.get()
