"""The documentation is that of today's code, and every link and file that it names exists."""

import re
import runpy
from pathlib import Path

import pytest

from tests.checkout import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
PROSE = [PROJECT_ROOT / "README.md", PROJECT_ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
MOST_README_LINES = 200


def test_the_generated_pages_are_those_of_todays_code() -> None:
    for path, text in runpy.run_path(str(DOCS / "generate.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old. Run make docs."


def test_the_readme_is_short() -> None:
    assert len((PROJECT_ROOT / "README.md").read_text().splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    named = re.findall(r"`((?:pipeline|sql|tests|docs|data/definitions)/[\w./]+\.\w+)`", text)
    missing = [link for link in links if link and not (page.parent / link).exists()]
    missing += [path for path in named if not (PROJECT_ROOT / path).exists()]
    # Words in capitals stand for a name of the reader's choice.
    assert [path for path in missing if not re.search(r"[A-Z]{4}", path)] == []


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.M))
    told = set(re.findall(r"`?make ([a-z][\w-]+)`", page.read_text(encoding="utf-8")))
    assert told <= targets
