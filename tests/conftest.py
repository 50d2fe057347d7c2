"""Fixtures that many tests share."""

import os

# One worker of the suite uses one core; two run side by side.
os.environ.setdefault("POLARS_MAX_THREADS", "2")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
