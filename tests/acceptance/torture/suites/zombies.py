"""R6: a nightly whose process was killed, and the daemon that must end it and start the next one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg

from pipeline.orchestration.instance import DAGSTER_YAML, open_instance
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.sensors import SECONDS_BETWEEN_LOOKS
from pipeline.serving.up import WORKSPACE_FILE
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

# A run younger than a look counts as alive, so that the second look after it is the one that must find it.
LONGEST_SECONDS = 2 * SECONDS_BETWEEN_LOOKS
PATIENCE_SECONDS = 300


def measure(quick: bool) -> Iterator[Row]:
    """Kill a nightly, start the real daemon, queue the next nightly."""
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        place = Installation(Path(name), url)
        home = place.settings.dagster_home.resolve()
        home.mkdir(parents=True)
        # The next nightly is queued by itself; what is watched here is the daemon, not the schedule.
        (home / "dagster.yaml").write_text(DAGSTER_YAML)
        victim = place.start("nightly", "--as-of", NIGHT.isoformat())
        assert victim.stdout
        for line in victim.stdout:
            if "build_facts" in line:
                break
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        environment = {**place.environment, "DAGSTER_HOME": str(home)}
        scripts = Path(sys.executable).parent
        where = ["--workspace", str(WORKSPACE_FILE)]
        daemon = subprocess.Popen(
            [str(scripts / "dagster-daemon"), "run", *where, "--log-level", "error"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        started = time.monotonic()
        try:
            tags = f'{{"dagster/partition": "{NIGHT + timedelta(days=1)}"}}'
            launch = ["job", "launch", *where, "--job", nightly.name, "--tags", tags]
            subprocess.run([str(scripts / "dagster"), *launch], env=environment, check=True, capture_output=True)
            cleared, finished = _watch(home, started)
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)
            daemon.wait()
    yield Row("R6", "a killed nightly, marked as failed after the daemon's restart",
              f"{cleared:.0f} s" if cleared else "never", f"<= {LONGEST_SECONDS} s (2 polls)",
              cleared is not None and cleared <= LONGEST_SECONDS)  # fmt: skip
    yield Row("R6", "the next nightly starts by itself and ends well", f"{finished:.0f} s" if finished else "never",
              "it does", finished is not None)  # fmt: skip


def _watch(home: Path, started: float) -> tuple[float | None, float | None]:
    """Seconds until the dead run was failed, and until the queued one had succeeded."""
    cleared = finished = None
    with open_instance(home) as instance:
        while time.monotonic() - started < PATIENCE_SECONDS and finished is None:
            time.sleep(1)
            statuses = {run.status for run in instance.get_runs()}
            if cleared is None and dg.DagsterRunStatus.FAILURE in statuses:
                cleared = time.monotonic() - started
            if dg.DagsterRunStatus.SUCCESS in statuses:
                finished = time.monotonic() - started
    return cleared, finished
