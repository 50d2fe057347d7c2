"""The reference: every column and every method once, in the code's words."""

import html
import re
from pathlib import Path

import polars as pl
import pytest

from pipeline.published.dictionary import data_dictionary
from pipeline.reports.pages.docstrings import Block, blocks
from pipeline.reports.pages.reference import ACCEPTANCE, CHAPTERS, DICTIONARY, METHODS
from pipeline.reports.pages.site import write_pages
from pipeline.schemas.base import tables_of
from tests.checkout import PROJECT_ROOT
from tests.worlds.published import ADDRESS, account


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "reports"
    write_pages(account([("welcome", "Welcome")]), [], folder, ADDRESS)
    return folder


def words(page: Path) -> str:
    """The page as it reads, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8"))).split())


def test_the_methods_page_speaks_no_python(pages: Path) -> None:
    assert not re.findall(r".{40}\bNone\b", words(pages / METHODS))


def test_every_published_column_stands_in_the_dictionary_with_its_meaning(pages: Path) -> None:
    text = (pages / DICTIONARY).read_text(encoding="utf-8")
    sections = dict(re.findall(r'<section id="(\w+)"(.*?)</section>', text, re.S))
    for row in data_dictionary(tables_of("marts")).iter_rows(named=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", sections[row["table"]])
        place = cells.index(f"<code>{row['column']}</code>")
        told = [html.unescape(re.sub(r"</?code>", "`", cell)) for cell in cells[place + 1 : place + 4]]
        assert told == [row["meaning"], row["unit"], row["type"]]


def test_every_module_of_analysis_and_decisions_is_in_one_chapter() -> None:
    told = [file for chapter in CHAPTERS for file in chapter.files]
    package = PROJECT_ROOT / "pipeline"
    paths = [path for room in ("analysis", "decisions") for path in (package / room).rglob("*.py")]
    # Of the loop, the part that is statistics.
    loop = package / "optimizations"
    paths += [loop / "realised.py", *(loop / "measurement").glob("*.py")]
    assert sorted(told) == sorted(path for path in paths if path.stem != "__init__")


def test_methods_come_with_their_source_and_with_what_was_measured(pages: Path) -> None:
    text = words(pages / METHODS)
    assert "Slow drift is found by a two-sided CUSUM of the scores (Page, 1954)" in text
    assert "From python -m tests.acceptance.simulate anomalies" in text
    for row in pl.read_csv(ACCEPTANCE).iter_rows(named=True):
        assert f"{row['measure']} {row['reached']:.4f} {row['direction']} {row['target']:g}" in text


def test_figures_are_those_of_todays_simulations() -> None:
    simulations = PROJECT_ROOT / "tests" / "acceptance" / "simulations"
    there = {path.stem for path in simulations.glob("*.py") if path.stem != "__init__"}
    assert {chapter.simulation for chapter in CHAPTERS} - {""} == there
    assert set(pl.read_csv(ACCEPTANCE)["method"]) == there


def test_every_page_links_to_the_reference_and_every_link_leads_somewhere(pages: Path) -> None:
    for page in pages.glob("*.html"):
        links = re.findall(r'href="([^"]+)"', page.read_text(encoding="utf-8"))
        assert {DICTIONARY, METHODS} <= set(links)
        for link in links:
            file, _, anchor = link.partition("#")
            if file.endswith(".html"):
                assert (pages / file).exists()
            elif anchor:
                assert f'id="{anchor}"' in page.read_text(encoding="utf-8")


def test_a_docstring_becomes_words_terms_and_examples() -> None:
    docstring = """Share of `lost`.

    Args:
        rows: one row per step,
            sorted.
        level: coverage: 0.95.

    Returns:
        One row
        per step.

    >>> share(1)
    1
    """
    assert blocks("\n".join(line.removeprefix("    ") for line in docstring.splitlines())) == [
        Block(text="Share of `lost`."),
        Block("Args", terms=(("rows", "one row per step, sorted."), ("level", "coverage: 0.95."))),
        Block("Returns", text="One row per step."),
        Block(code=">>> share(1)\n1"),
    ]
