"""Dagster's instance: its home and the settings that keep nightlies coming after a power cut."""

import os
from pathlib import Path

import dagster as dg

from pipeline.common.lock import exclusive

# Creating the databases was measured to take one; on a slow disk several.
CREATION_SECONDS = 60.0

DAGSTER_YAML = """\
# Written by driptune; edit freely, it is not overwritten.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    # The working file has one writer; a second run would only wait for it.
    max_concurrent_runs: 1
run_monitoring:
  # Without it, a run that a power cut left 'started' would block every later nightly.
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
    """Create Dagster's home with its configuration and name it in the environment; returns its absolute path."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(DAGSTER_YAML)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance that CLI, UI and daemon share."""
    # Two that come first at once would both create the databases.
    with exclusive(prepare_home(home) / ".lock", CREATION_SECONDS):
        return dg.DagsterInstance.get()
