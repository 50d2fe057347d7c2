"""Fixtures that many tests share."""

import gc
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings

# How fast an example is made says how busy the machine is, and nothing of the product.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# One worker of the suite uses one core; two run side by side.
for threads in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
# The suite imports a million objects that stay, and at its own thresholds Python searches all of them for garbage some
# twenty times before the first test.
gc.set_threshold(100_000, 50, 100)
SECRET = "the-webhooks-secret"
# The files that take longest start first, and one alone of those that wait for the night of the sample account.
LONGEST = (
    "end_to_end/test_nulls.py",
    "test_next_nights.py",
    "operations/test_soundness.py",
    "cli/test_cli.py",
    "engine/test_windows_are_equal.py",
    "mailchimp/pulls/test_journey_night.py",
    "mailchimp/pulls/test_shrinking_night.py",
    "mailchimp/pulls/test_gone.py",
    "optimizations/test_delivery.py",
    "events/test_parquet.py",
    "mailchimp/pulls/test_complete.py",
    "optimizations/account/test_rollback.py",
    "mailchimp/pulls/test_journeys.py",
    "mailchimp/pulls/test_nulls.py",
    "optimizations/account/test_apply.py",
    "analysis/anomalies/test_anomalies.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of a run; everything else keeps its place."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files are left to the operating system: no test cuts the power, and syncing takes much of the time."""
    with patch("os.fsync"):
        yield


def _fail(warehouse: object, model: object, error: Exception) -> None:
    raise error


@pytest.fixture(scope="session", autouse=True)
def no_analysis_fails() -> Iterator[Any]:
    """A night goes on without an analysis that fails, so that tests of other things would not see it."""
    keeping = patch("pipeline.orchestration.resources.warehouse.Warehouse.keep", _fail)
    keeping.start()
    yield keeping
    keeping.stop()


@pytest.fixture
def analyses_may_fail(no_analysis_fails: Any) -> Iterator[None]:
    """Here one that fails does what it does for users."""
    no_analysis_fails.stop()
    yield
    no_analysis_fails.start()


@pytest.fixture(scope="module")
def few_people() -> Iterator[None]:
    """The sample account has fewer people, for tests to which their number does not matter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sample.account.population.NEW_SUBSCRIBERS", 1_500)
        yield


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """The address of a webhook on loopback, and what it was told."""
    told: list[dict] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{SECRET}", told
    server.shutdown()
