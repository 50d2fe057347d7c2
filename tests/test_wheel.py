"""What the wheel holds. `make wheel-check` installs it and runs its commands."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.checkout import PROJECT_ROOT

READ_RESOURCES = """
from pipeline.config.approvals import load_approvals
from pipeline.config.flow_map import load_flow_map
from pipeline.engine.model import models
from pipeline.settings import SQL_DIR, WORKSPACE_FILE, Settings
definitions = Settings().definitions
print(SQL_DIR)
print(WORKSPACE_FILE.read_text())
print(len(models(SQL_DIR)), len(load_flow_map(definitions).flows), len(load_approvals(definitions).approvers))
"""


def files_below(folder: Path, pattern: str = "*") -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file())
    return {name for name in found if "__pycache__" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked as an installation would unpack it."""
    built, unpacked = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("unpacked")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=PROJECT_ROOT, check=True, capture_output=True)
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(unpacked)
    return unpacked


def test_the_wheel_claims_one_name(wheel: Path) -> None:
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"pipeline"}


def test_everything_that_the_package_reads_is_inside(wheel: Path) -> None:
    packed = files_below(wheel / "pipeline")
    assert files_below(PROJECT_ROOT / "pipeline") <= packed
    for folder in ("sql", "data/definitions"):
        expected = {f"_resources/{folder}/{name}" for name in files_below(PROJECT_ROOT / folder)}
        assert expected
        assert expected <= packed


def test_the_wheel_finds_what_it_brings_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def told(package: Path) -> list[str]:
        command = [sys.executable, "-c", READ_RESOURCES]
        named = {**environment, "PYTHONPATH": str(package)}
        return subprocess.check_output(command, cwd=tmp_path, env=named, text=True).splitlines()

    of_checkout, of_wheel = told(PROJECT_ROOT), told(wheel)
    assert Path(of_wheel[0]).is_relative_to(wheel)
    assert of_wheel[1:] == of_checkout[1:]
