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

from pipeline import analysis, decisions, optimizations
from pipeline.analysis.dictionary import duckdb_type
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
    """A question that people ask, the modules that answer it, and the simulation that measures the answer."""

    title: str
    modules: Sequence[str]
    simulation: str = ""

    @property
    def anchor(self) -> str:
        """Where the chapter stands on the page."""
        return self.modules[0].replace("_", "-")


CHAPTERS = (
    Chapter(
        "What was sent, and what came of it",
        ("step_metrics", "rates", "metric_changes", "reconciliation", "attribution"),
    ),
    Chapter(
        "Where people drop off",
        ("funnel", "bottlenecks", "time_to_next_step", "competing_risks", "exits", "stuck"),
        "funnel",
    ),
    Chapter("How cohorts differ", ("cohorts", "cohort_comparison", "cohort_ladder"), "cohorts"),
    Chapter(
        "What is out of line",
        (
            "anomalies",
            "anomaly_incidents",
            "anomaly_baseline",
            "anomaly_state",
            "anomaly_tails",
            "anomaly_history",
            "anomaly_trial",
        ),
        "anomalies",
    ),
    Chapter("How long to wait between steps", ("delays", "delay_curve", "delay_outcomes"), "delays"),
    Chapter(
        "When to send",
        (
            "send_time",
            "send_time_profiles",
            "send_time_rates",
            "send_time_weekdays",
            "send_time_schedule",
            "send_time_exploration",
            "send_time_evaluation",
            "send_time_filter",
            "send_time_inputs",
            "engagement_hours",
        ),
        "send_time",
    ),
    Chapter(
        "What a test shows",
        (
            "experiments",
            "experiment_plan",
            "experiment_metrics",
            "group_sequential",
            "confidence_sequence",
            "sample_ratio",
            "experiment_verdicts",
            "experiment_lift",
            "experiment_assignment",
            "experiment_exposures",
            "experiment_registry",
            "experiment_draft",
            "experiment_nights",
        ),
        "experiments",
    ),
    Chapter(
        "Which path or content somebody gets",
        (
            "selection",
            "policy",
            "policy_values",
            "rules",
            "rule_definitions",
            "profile",
            "lint",
            "decision_log",
            "decision_night",
        ),
        "policy",
    ),
    Chapter("Which workflows collide", ("conflicts", "memberships", "planned_sends")),
    Chapter("What could be won", ("opportunities",)),
    Chapter("What a change really brought", ("realised",), "loop"),
    Chapter("What all tables share", ("dimensions", "units", "dictionary")),
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
    places = _module_paths()
    reached = pl.read_csv(ACCEPTANCE, schema=ACCEPTANCE_COLUMNS)
    return [
        Method(
            chapter,
            [documented_module(places[name]) for name in chapter.modules],
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


def _module_paths() -> dict[str, Path]:
    folders = [Path(folder) for package in (optimizations, analysis, decisions) for folder in package.__path__]
    return {path.stem: path for folder in folders for path in folder.glob("*.py") if path.stem != "__init__"}
