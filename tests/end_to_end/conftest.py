"""One whole nightly on the sample account for all files of this folder, and the truth that its generator wrote."""

import json
from typing import Any

import polars as pl
import pytest

from pipeline.cli.nightly import run_night
from pipeline.common.lock import DEFAULT_WAIT_SECONDS, exclusive
from pipeline.published.manifest import Manifest
from pipeline.published.reader import read_publication
from pipeline.settings import SAMPLE_TONIGHT, Settings


def ignore(step: str, steps: int) -> None:
    """Progress nobody watches."""


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Settings:
    """Settings of a folder that all workers of the suite share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "sample_night"
    return Settings(data_dir=folder, _env_file=None)


@pytest.fixture(scope="session")
def night(settings: Settings) -> None:
    """The night of the worker that came first; the others wait for it."""
    with exclusive(settings.data_dir / "night.lock", DEFAULT_WAIT_SECONDS):
        if Manifest.read(settings.published_dir) is None:
            run_night(settings, SAMPLE_TONIGHT, ignore)


@pytest.fixture(scope="session")
def tables(settings: Settings, night: None) -> dict[str, pl.DataFrame]:
    """Every published table by name."""
    return dict(read_publication(settings.published_dir))


@pytest.fixture(scope="session")
def truth(settings: Settings, night: None) -> dict[str, Any]:
    """What really happened in the sample account."""
    return json.loads((settings.sample_dir / "truth.json").read_text())
