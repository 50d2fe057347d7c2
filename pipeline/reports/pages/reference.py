"""What the numbers mean: a page of every published column and a page of every method, in the code's own words.

Both are written from today's schemas, docstrings and acceptance figures; they need no publication.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

import pipeline
from pipeline.published.dictionary import duckdb_type
from pipeline.reports.pages.docstrings import Block, Documented, blocks, documented_module
from pipeline.reports.pages.model import Page
from pipeline.schemas.base import Table, describe_columns, identity, polars_schema, tables_of

DICTIONARY = "dictionary.html"
METHODS = "methods.html"
ACCEPTANCE = Path(__file__).parent / "acceptance.csv"
"""What `make simulate` reached, one row per target; it writes this file."""
ACCEPTANCE_COLUMNS = {
    "method": pl.String,
    "measure": pl.String,
    "reached": pl.Float64,
    "direction": pl.String,
    "target": pl.Float64,
    "standard_error": pl.Float64,
    "holds": pl.String,
}


@dataclass(frozen=True)
class Chapter:
    """A question that people ask, the modules that answer it, and the simulation that measures the answer.

    Attributes:
        modules: their names below `pipeline`.
    """

    title: str
    modules: Sequence[str]
    simulation: str = ""

    @property
    def anchor(self) -> str:
        """Where the chapter stands on the page."""
        return self.modules[0].rpartition(".")[2].replace("_", "-")


CHAPTERS = (
    Chapter(
        "What was sent, and what came of it",
        (
            "analysis.performance.step_metrics",
            "analysis.statistics.intervals",
            "analysis.performance.metric_changes",
            "analysis.performance.reconciliation",
            "analysis.performance.attribution",
        ),
    ),
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
    Chapter(
        "How cohorts differ",
        ("analysis.cohorts.triangles", "analysis.cohorts.comparison", "analysis.cohorts.ladder"),
        "cohorts",
    ),
    Chapter(
        "What is out of line",
        (
            "analysis.anomalies.nights",
            "analysis.anomalies.incidents",
            "analysis.anomalies.baseline",
            "analysis.anomalies.state",
            "analysis.anomalies.tails",
            "analysis.anomalies.history",
            "analysis.anomalies.trial",
        ),
        "anomalies",
    ),
    Chapter(
        "How long to wait between steps",
        ("analysis.delays.recommendations", "analysis.delays.curve", "analysis.delays.outcomes"),
        "delays",
    ),
    Chapter(
        "When to send",
        (
            "analysis.send_time.subscribers",
            "analysis.send_time.profiles",
            "analysis.send_time.rates",
            "analysis.send_time.weekdays",
            "analysis.send_time.schedule",
            "analysis.send_time.exploration",
            "analysis.send_time.evaluation",
            "analysis.send_time.inputs",
            "analysis.send_time.engagement_hours",
        ),
        "send_time",
    ),
    Chapter(
        "What a test shows",
        (
            "analysis.experiments.results",
            "analysis.experiments.plan",
            "analysis.experiments.metrics",
            "analysis.statistics.group_sequential",
            "analysis.statistics.confidence_sequence",
            "analysis.statistics.sample_ratio",
            "analysis.experiments.verdicts",
            "analysis.experiments.lift",
            "analysis.experiments.assignment",
            "analysis.experiments.exposures",
            "analysis.experiments.registry",
            "analysis.experiments.draft",
            "analysis.experiments.nights",
        ),
        "experiments",
    ),
    Chapter(
        "Which path or content somebody gets",
        (
            "decisions.selection",
            "decisions.learning",
            "analysis.statistics.policy_values",
            "analysis.statistics.glm",
            "decisions.rules",
            "decisions.rule_definitions",
            "decisions.profile",
            "decisions.lint",
            "decisions.log",
            "decisions.night",
        ),
        "policy",
    ),
    Chapter("Which workflows collide", ("decisions.conflicts", "decisions.memberships", "decisions.planned_sends")),
    Chapter("What could be won", ("analysis.opportunities",)),
    Chapter("What a change really brought", ("optimizations.realised",), "loop"),
    Chapter("What all tables share", ("analysis.performance.dimensions",)),
)


@dataclass(frozen=True)
class TableEntry:
    """A published table as the dictionary shows it; `rows` are column, meaning, unit and type."""

    name: str
    meaning: Sequence[Block]
    natural_key: Sequence[str]
    rows: Sequence[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Method:
    """A chapter with the words of its modules and what its simulation reached.

    Attributes:
        figures: measure, reached, target, standard error, and whether it holds.
    """

    chapter: Chapter
    modules: Sequence[tuple[Documented, Sequence[Documented]]]
    figures: Sequence[tuple[str, str, str, str, str]]

    @property
    def missed(self) -> int:
        """How many targets do not hold."""
        return sum(figure[-1] != "yes" for figure in self.figures)


def write_reference(environment: jinja2.Environment, folder: Path, workflows: Sequence[Page]) -> list[str]:
    """Write both pages into the folder; `workflows` are the pages to link to. Returns the files' names."""
    reference = "Reference"
    dictionary = Page("Data dictionary", reference, DICTIONARY)
    explained = Page("Methods", reference, METHODS)
    for page, found in ((dictionary, {"entries": table_entries()}), (explained, {"methods": methods()})):
        template = environment.get_template(f"{page.file}.j2")
        (folder / page.file).write_text(template.render(page=page, pages=workflows, **found), encoding="utf-8")
    return [DICTIONARY, METHODS]


def table_entries() -> list[TableEntry]:
    """Every table of the marts, by name."""
    return sorted(map(_table_entry, tables_of("marts")), key=lambda entry: entry.name)


def methods() -> list[Method]:
    """Every chapter of the methods page."""
    reached = pl.read_csv(ACCEPTANCE, schema=ACCEPTANCE_COLUMNS)
    return [
        Method(
            chapter,
            [documented_module(_path(name)) for name in chapter.modules],
            [_figure(row) for row in reached.filter(pl.col("method") == chapter.simulation).iter_rows(named=True)],
        )
        for chapter in CHAPTERS
    ]


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


def _path(module: str) -> Path:
    return Path(pipeline.__path__[0]).joinpath(*module.split(".")).with_suffix(".py")
