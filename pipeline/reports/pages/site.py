"""All pages of a morning as files: built beside the standing ones, then put in their place at once."""

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from pipeline.optimizations.record import Record
from pipeline.reports.morning import Tables, summary
from pipeline.reports.pages import sections
from pipeline.reports.pages.reference import write_reference
from pipeline.reports.pages.sections import Page, Section

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"


def write_pages(tables: Tables, records: Sequence[Record], folder: Path) -> list[str]:
    """Write the account page, a page per workflow, and the reference behind their numbers.

    Args:
        tables: the published tables by name.
        records: the ledger's records.
        folder: where the pages stand; what stood there before is replaced as a whole.

    Returns:
        Names of the files, the account page first.
    """
    manifest = tables["manifest"].row(0, named=True)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    template = environment.get_template("page.html.j2")
    workflows = _pages(tables, records)
    account = _account(tables, records, workflows)
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    shutil.copyfile(TEMPLATES / STYLE, building / STYLE)
    quality = _quality(tables)
    for page in (account, *workflows):
        html = template.render(page=page, pages=workflows, manifest=manifest, quality=quality)
        (building / page.file).write_text(html, encoding="utf-8")
    reference = write_reference(environment, building, workflows)
    _replace(building, folder)
    return [*(page.file for page in (account, *workflows)), *reference]


def file_name(workflow_id: str) -> str:
    """A name for the workflow's page that no file system and no browser takes amiss; unlike ids have unlike names."""
    slug = re.sub(r"[^a-z0-9]+", "-", workflow_id.lower()).strip("-")[:40]
    return f"workflow-{slug}-{hashlib.sha256(workflow_id.encode()).hexdigest()[:6]}.html"


def _pages(tables: Tables, records: Sequence[Record]) -> list[Page]:
    active = tables["workflows"].filter(pl.col("kind") != "campaign").sort("name", "workflow_id")
    return [_workflow(tables, records, row["workflow_id"], row["name"]) for row in active.iter_rows(named=True)]


def _workflow(tables: Tables, records: Sequence[Record], workflow_id: str, name: str) -> Page:
    found: list[Section | None] = [
        sections.waiting(records, workflow_id),
        sections.funnel(tables, workflow_id),
        sections.trend(tables, workflow_id),
        sections.delay(tables, workflow_id),
        sections.cohorts(tables, workflow_id),
        sections.tests(tables, workflow_id),
        sections.step_comparison(tables, workflow_id),
        sections.stuck(tables, workflow_id),
        sections.conflicts(tables, workflow_id),
        sections.decided(records, workflow_id),
    ]
    present = tuple(section for section in found if section is not None)
    tiles = tuple(sections.tiles(tables, workflow_id))
    return Page(name or workflow_id, "Workflow", file_name(workflow_id), tiles, present)


def _account(tables: Tables, records: Sequence[Record], workflows: Sequence[Page]) -> Page:
    waits = sections.waiting(records, None)
    lines = [line.strip() for line in summary(tables, len(waits.rows))[1:]]
    rows = [[sections.Cell(line.partition("  ")[0]), sections.Cell(line.partition("  ")[2].strip())] for line in lines]
    morning = Section("morning", "This morning", "What the night found.", ("", ""), rows, is_open=True)
    chances = tables["opportunities"].sort("rank").head(12)
    gains = [
        [
            sections.Cell(row["message"]),
            *_gain(row),
            sections.Cell(row["identification"]),
        ]
        for row in chances.iter_rows(named=True)
    ]
    won = Section(
        "opportunities",
        "What could be won",
        "In four weeks, if all of the difference can be won. Gains overlap, they do not add up.",
        ("opportunity", "gain", "95% interval", "rests on"),
        gains,
        source="opportunities",
        is_open=True,
    )
    shown = (morning, waits, won, sections.stuck(tables, None), sections.conflicts(tables, None))
    return Page("Your account", "All workflows", "index.html", (), (*shown, sections.decided(records, None)))


def _gain(row: dict[str, Any]) -> list[sections.Cell]:
    if row["expected_gain"] is None:
        return [sections.Cell("not known"), sections.Cell("")]
    gain = sections.Cell(f"{row['expected_gain']:,.0f} {row['gain_unit']}", row["expected_gain"])
    return [gain, sections.Cell(f"{row['expected_gain_low']:,.0f} to {row['expected_gain_high']:,.0f}")]


def _quality(tables: Tables) -> str:
    """How far the numbers can be trusted this morning, in a line."""
    recent = tables["step_metrics"].filter(pl.col("window") == sections.WINDOW)
    opens = recent.select(pl.col("unique_opens").sum()).item() or 0
    human = recent.select(pl.col("unique_human_opens").sum()).item() or 0
    machine = f"{1 - human / opens:.0%} of {opens:,} openers in 28 days were machines alone" if opens else "no opens"
    days = tables["step_metrics_daily"].filter(~pl.col("is_mature"))["day"].n_unique()
    return f"{machine}; {tables['quarantine'].height:,} rows in quarantine; {days} days are still moving"


def _replace(building: Path, folder: Path) -> None:
    former = folder.with_name(f".{folder.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        os.replace(folder, former)
    os.replace(building, folder)
    shutil.rmtree(former, ignore_errors=True)
