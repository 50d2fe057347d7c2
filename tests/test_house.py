"""The rules of the house that no linter knows, and proof that every check of `make lint` can fail."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import PROJECT_ROOT

MOST_FILES, MOST_LINES = 14, 400
ROOMS = ("pipeline", "tests", "sql")
BIN = Path(sys.executable).parent


def too_large(root: Path) -> Iterator[str]:
    """What breaks the limits: folders of too many files, and Python files of too many lines."""
    tracked = subprocess.run(["git", "ls-files", *ROOMS], cwd=root, capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in tracked.splitlines() if (root / line).exists()]
    for folder, count in sorted(Counter(file.parent for file in files).items()):
        if count > MOST_FILES:
            yield f"{folder} holds {count} files, more than {MOST_FILES}: ask what it is two of"
    for file in files:
        if file.suffix == ".py" and (lines := (root / file).read_text(encoding="utf-8").count("\n")) > MOST_LINES:
            yield f"{file} has {lines} lines, more than {MOST_LINES}: ask what it is two of"


@pytest.fixture(scope="module")
def breach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which every rule is broken once."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(PROJECT_ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "pyproject.toml", root)
    shutil.copytree(PROJECT_ROOT / "docs", root / "docs")
    upwards = root / "pipeline" / "common" / "files.py"
    upwards.write_text(upwards.read_text() + "\nfrom pipeline.reports import digest\n")
    family = root / "pipeline" / "analysis" / "delays" / "curve.py"
    family.write_text(
        family.read_text() + "\nfrom pipeline.analysis.cohorts import ladder\nimport dagster\nimport duckdb\n"
    )
    pure = root / "pipeline" / "analysis" / "statistics" / "intervals.py"
    pure.write_text(
        pure.read_text() + "\nfrom pipeline.settings import Settings\n\n\ndef asked_for_by_nobody(of):\n    pass\n"
    )
    subprocess.run("git init -q && git add -A", cwd=root, shell=True, check=True)
    return root


def lint(command: str, root: Path) -> str:
    """What a command of `make lint` says of a tree that must not pass."""
    done = subprocess.run([BIN / command.split()[0], *command.split()[1:]], cwd=root, capture_output=True, text=True)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_no_folder_and_no_file_is_too_large() -> None:
    assert list(too_large(PROJECT_ROOT)) == []


def test_too_large_folders_and_files_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    for number in range(MOST_FILES + 1):
        (folder / f"file_{number}.py").write_text("\n" * (MOST_LINES + (number == 3)))
    subprocess.run("git init -q && git add -A", cwd=tmp_path, shell=True, check=True)
    assert [found.split(":")[0] for found in too_large(tmp_path)] == [
        "pipeline holds 15 files, more than 14",
        "pipeline/file_3.py has 401 lines, more than 400",
    ]


def test_imports_that_run_back_up_are_found(breach: Path) -> None:
    told = lint("lint-imports --no-cache", breach)
    broken = (
        "pipeline.common is not allowed to import pipeline.reports",
        "pipeline.analysis.delays is not allowed to import pipeline.analysis.cohorts",
        "pipeline.analysis is not allowed to import pipeline.settings",
        "pipeline.analysis is not allowed to import dagster",
        "pipeline.analysis is not allowed to import duckdb",
    )
    assert [sentence for sentence in broken if sentence not in told] == []


def test_code_that_nothing_calls_is_found(breach: Path) -> None:
    assert "unused function 'asked_for_by_nobody'" in lint("vulture", breach)


def test_code_without_types_is_found(breach: Path) -> None:
    told = lint("mypy --strict --follow-imports=skip pipeline/analysis/statistics/intervals.py", breach)
    assert "Function is missing a type annotation" in told


def test_dagsters_command_for_developers_is_locked_at_the_release_of_dagster() -> None:
    lock = (PROJECT_ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    locked = dict(line.split(" ")[0].split("==") for line in lock.splitlines() if re.match(r"[a-z0-9-]+==", line))
    assert locked["dagster-dg-cli"] == locked["dagster"]
    assert "dagster-dg-cli" not in (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8")
