"""What the numbers mean: a page of every published column, and a page of every method, in the code's own words.

Both are written from the schemas, the docstrings and the acceptance figures, so they need no publication.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

import pipeline
from pipeline.engine import models
from pipeline.published.dictionary import duckdb_type
from pipeline.reports.pages.docstrings import Block, Documented, blocks, documented_module
from pipeline.reports.pages.model import Page
from pipeline.schemas.base import Table, describe_columns, identity, polars_schema, tables_of
from pipeline.settings import SQL_DIR

DICTIONARY = "dictionary.html"
METHODS = "methods.html"
ACCEPTANCE = Path(__file__).parent / "acceptance.csv"
"""What `make simulate` reached, one row per target. That command writes this file."""


@dataclass(frozen=True)
class Chapter:
    """A question that people ask, the code that answers it, and the simulation that measures the answer.

    Attributes:
        places: modules and packages below `pipeline`. A package stands for its modules that no chapter names.
        simulation: the simulation's name; empty where there is none.
        models: models of `sql/` whose comments belong here.
    """

    title: str
    places: Sequence[str]
    simulation: str = ""
    models: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        """Where the chapter stands on the page."""
        return [*self.places, *self.models][0].rpartition(".")[2].replace("_", "-")

    @property
    def files(self) -> list[Path]:
        """The files of its modules."""
        named = {_file(place) for chapter in CHAPTERS for place in chapter.places}
        found = []
        for file in map(_file, self.places):
            found += [file] if file.exists() else sorted(set(file.with_suffix("").glob("[!_]*.py")) - named)
        return found


def _file(module: str) -> Path:
    return Path(pipeline.__path__[0]).joinpath(*module.split(".")).with_suffix(".py")


CHAPTERS = (
    Chapter(
        "What was sent, and what came of it",
        ("analysis.performance", "analysis.industry", "analysis.statistics.intervals"),
    ),
    Chapter("Which opens and clicks are made by machines", (), "machine_marks", models=("core.engagements",)),
    Chapter(
        "Where people drop off",
        (
            "analysis.performance.funnel",
            "analysis.performance.bottlenecks",
            "analysis.performance.time_to_next_step",
            "analysis.statistics.competing_risks",
            "analysis.performance.exits",
            "analysis.performance.stuck",
        ),
        "funnel",
    ),
    Chapter("How cohorts differ", ("analysis.cohorts",), "cohorts"),
    Chapter("What is out of line", ("analysis.anomalies",), "anomalies"),
    Chapter("How long to wait between steps", ("analysis.delays",), "delays"),
    Chapter("When to send", ("analysis.send_time",), "send_time"),
    Chapter(
        "What a test shows",
        (
            "analysis.experiments",
            "analysis.statistics.group_sequential",
            "analysis.statistics.confidence_sequence",
            "analysis.statistics.sample_ratio",
        ),
        "experiments",
    ),
    Chapter(
        "Which path or content somebody gets",
        ("decisions", "analysis.statistics.policy_values", "analysis.statistics.glm"),
        "policy",
    ),
    Chapter("Which workflows collide", ("decisions.conflicts", "decisions.memberships", "decisions.planned_sends")),
    Chapter("What could be won", ("analysis.opportunities",)),
    Chapter("What a change really brought", ("optimizations.measurement", "optimizations.realised"), "loop"),
    Chapter("What all tables share", ("analysis.performance.dimensions", "analysis.statistics")),
)


@dataclass(frozen=True)
class TableEntry:
    """A published table as the dictionary shows it. A row is column, meaning, unit and type."""

    name: str
    meaning: Sequence[Block]
    natural_key: Sequence[str]
    rows: Sequence[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Method:
    """A chapter with the words of its modules, and what its simulation reached.

    A figure is measure, reached, target, standard error, and whether the target holds.
    """

    chapter: Chapter
    modules: Sequence[tuple[Documented, Sequence[Documented]]]
    figures: Sequence[tuple[str, str, str, str, str]]

    @property
    def missed(self) -> int:
        """How many targets do not hold."""
        return sum(figure[-1] != "yes" for figure in self.figures)


def write_reference(environment: jinja2.Environment, folder: Path, workflows: Sequence[Page]) -> list[str]:
    """Write both pages into the folder, with links to the pages of `workflows`; returns their files' names."""
    told = {"entries": table_entries(), "methods": methods()}
    for title, file in (("Data dictionary", DICTIONARY), ("Methods", METHODS)):
        page = Page(title, "Reference", file)
        html = environment.get_template(f"{file}.j2").render(page=page, pages=workflows, **told)
        (folder / file).write_text(html, encoding="utf-8")
    return [DICTIONARY, METHODS]


@cache
def table_entries() -> Sequence[TableEntry]:
    """Every table of the marts, by name. They are those of the code, so a process reads them once."""
    return sorted(map(_table_entry, tables_of("marts")), key=lambda entry: entry.name)


@cache
def methods() -> Sequence[Method]:
    """Every chapter of the methods page. They are those of the code, so a process reads them once."""
    reached = pl.read_csv(ACCEPTANCE)
    return [
        Method(
            chapter,
            [documented_module(file) for file in chapter.files] + [(_model(name), []) for name in chapter.models],
            [_figure(row) for row in reached.filter(pl.col("method") == chapter.simulation).iter_rows(named=True)],
        )
        for chapter in CHAPTERS
    ]


def _model(name: str) -> Documented:
    """A model of `sql/` with its comments, each a paragraph."""
    [model] = [model for model in models(SQL_DIR) if model.name == name]
    comments = [re.sub(r"\n?-- ?", " ", part) for part in re.findall(r"(?:^--.*\n)+", model.sql, re.M)]
    return Documented(name.partition(".")[2], [Block(text=comment.strip()) for comment in comments])


def _table_entry(model: type[Table]) -> TableEntry:
    place = identity(model)
    rows = [
        (f"`{name}`", meaning, unit, duckdb_type(polars_schema(model)[name]))
        for name, _, unit, meaning in describe_columns(model)
    ]
    return TableEntry(place.name, blocks(inspect.getdoc(model) or ""), place.natural_key, rows)


def _figure(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    target = f"{row['direction']} {row['target']:g}"
    return row["measure"], f"{row['reached']:.4f}", target, f"{row['standard_error']:.4f}", row["holds"]
