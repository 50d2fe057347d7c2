"""All pages of a morning as files. They are built beside the standing ones, and then take their place at once."""

import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jinja2
import polars as pl

from pipeline.charts.drawing import draw_all, fingerprint
from pipeline.common.time import WINDOW_DAYS
from pipeline.common.words import counted, share
from pipeline.optimizations.record import Record
from pipeline.published.reader import Tables
from pipeline.reports import WINDOW
from pipeline.reports.digest import summary
from pipeline.reports.pages import CHARTS_FOLDER
from pipeline.reports.pages.charts import write_charts
from pipeline.reports.pages.flow import Flow, Names, flows
from pipeline.reports.pages.model import Cell, Note, Page, Section, Tile
from pipeline.reports.pages.reference import write_reference
from pipeline.reports.pages.sections import (
    cohorts,
    decisions,
    experiments,
    journeys,
    performance,
    tiles,
    timing,
    trouble,
)
from pipeline.reports.pages.sections.campaigns import campaigns
from pipeline.reports.pages.sections.drawing import drawing
from pipeline.reports.pages.sections.findings import Link, findings
from pipeline.reports.pages.sections.opportunities import opportunities
from pipeline.reports.pages.sections.weeks import ANCHOR, account_by_week, by_week
from pipeline.schemas.vocabulary import Window

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"
BUILDING = ".building"
"""Folder in which pages are made: beside those that they replace, so that a replacement is one step."""
INDEX, CAMPAIGNS = "index.html", "campaigns.html"
TOLD_ABOVE = ("mail", "drop-off", "alarms", "decisions")
"""Lines of the digest that the account page has said already, with names."""
OTHER_WINDOWS: tuple[Window, ...] = ("7d", "90d")
MOST_CAMPAIGNS = 12
"""Campaigns on the page of an account that sends nothing else; the page of campaigns has them all."""
MOST_LINKED = 8
"""With more workflows, only the account page's table links to their pages."""
_DRAWN = re.compile(r'<figure class="chart" data-drawn="([0-9a-f]+)"[^>]*>(.*?)</figure>', re.DOTALL)


def write_pages(tables: Tables, records: Sequence[Record], folder: Path, address: str) -> list[str]:
    """Write the account page, a page per workflow, and the reference behind their numbers.

    Args:
        tables: the published tables by name.
        records: the ledger's records.
        folder: where the pages stand. Its content is replaced as a whole; figures that did not change are kept.
        address: where browsers reach `driptune up`. Links to the inbox begin with it, so that they work from a file.

    Returns:
        The names of the files, the account page first.
    """
    manifest = tables["manifest"].row(0, named=True)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    environment.filters["fingerprint"] = fingerprint
    environment.globals["server"] = address.rstrip("/")
    template = environment.get_template("page.html.j2")
    workflows = _workflows(tables, records)
    pages = [_account(tables, records, workflows), *workflows, *_campaigns(tables), *_other_windows(tables)]
    drawn = draw_all([figure for page in pages for figure in page.figures], _standing(folder))
    building = folder / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    shutil.copyfile(TEMPLATES / STYLE, building / STYLE)
    quality = _quality(tables)
    linked = workflows if len(workflows) <= MOST_LINKED else []
    linked += [page for page in pages if page.file == CAMPAIGNS]
    for page in pages:
        html = template.render(page=page, pages=linked, manifest=manifest, quality=quality, drawn=drawn)
        (building / page.file).write_text(html, encoding="utf-8")
    write_charts(tables, records, building)
    reference = write_reference(environment, building, linked)
    _replace(building, folder)
    return [*(page.file for page in pages), *reference]


def file_name(workflow_id: str) -> str:
    """The file of the workflow's page: plain characters on every file system, and another name for every id."""
    slug = re.sub(r"[^a-z0-9]+", "-", workflow_id.lower()).strip("-")[:40]
    return f"workflow-{slug}-{hashlib.sha256(workflow_id.encode()).hexdigest()[:6]}.html"


def _workflows(tables: Tables, records: Sequence[Record]) -> list[Page]:
    mine: defaultdict[str | None, list[Record]] = defaultdict(list)
    for record in records:
        mine[record.proposal.workflow_id].append(record)
    names = Names.of(tables)
    return [_workflow(flow, tables, names, mine[flow.workflow_id]) for flow in flows(tables)]


def _workflow(flow: Flow, tables: Tables, names: Names, records: Sequence[Record]) -> Page:
    shown = tuple(tiles.flow_tiles(flow, WINDOW))
    rates = (*tiles.breaches(shown, flow.name), *tiles.setbacks(shown, flow.name))
    news = (trouble.feeds(flow.rows("reconciliation")), findings(flow.rows, flow.place, lambda _: None, rates))
    found = (
        drawing(flow, performance.loss(flow), WINDOW),
        decisions.waiting(records),
        decisions.decided(records, tables["realised_lift"]),
        performance.funnel(flow),
        by_week(flow),
        performance.trend(flow),
        timing.hours(flow.rows("engagement_hours")),
        timing.pressure(flow.rows("frequency_pressure")),
        timing.delays(flow),
        cohorts.differences(flow.rows("cohort_insights")),
        cohorts.triangle(flow),
        experiments.tests(flow, tables),
        experiments.arms(flow, tables),
        experiments.holdout(flow.rows("holdouts")),
        experiments.learnings(flow.rows("learnings"), names),
        performance.steps(flow, WINDOW),
        performance.links(flow, WINDOW),
        journeys.steps(flow),
        journeys.changes(flow),
        journeys.findings(flow),
        trouble.stuck(flow.rows("stuck_subscribers"), flow.place),
        trouble.conflicts(tables, flow.workflow_id),
    )
    file = file_name(flow.workflow_id)
    words = tiles.windows(tables, WINDOW)
    return Page(flow.name, "Workflow", file, _present(news), shown, words, _present(found), _choice(file))


def _account(tables: Tables, records: Sequence[Record], workflows: Sequence[Page]) -> Page:
    waits = decisions.waiting(records)
    lines = [line.strip().partition("  ") for line in summary(tables, len(waits.rows))[1:]]
    rows = [[Cell(subject), Cell(said.strip())] for subject, _, said in lines if subject not in TOLD_ABOVE]
    names = Names.of(tables)
    shown, link = tuple(tiles.account_tiles(tables, WINDOW)), _links(workflows, WINDOW)
    rates = (*_over(shown, workflows, names), *tiles.setbacks(shown, names.place(None)))
    news = (trouble.feeds(tables["reconciliation"]), findings(tables.__getitem__, names.place, link, rates))
    found = (
        waits,
        decisions.decided(records, tables["realised_lift"]),
        opportunities(tables, names, link),
        _listing(workflows, WINDOW, tables),
        account_by_week(tables, names),
        experiments.running(tables, names, link),
        cohorts.differences(tables["cohort_insights"], lambda workflow: f"{names.place(workflow)}: "),
        performance.industry(tables["industry"]),
        timing.hours(tables["engagement_hours"].filter(pl.col("workflow_id").is_null())),
        timing.pressure(tables["frequency_pressure"].filter(pl.col("workflow_id").is_null())),
        Section("morning", "What else the night found", "", ("", ""), rows, is_open=True),
        experiments.holdout(tables["holdouts"].filter(pl.col("workflow_id").is_null())),
        experiments.learnings(tables["learnings"], names),
        trouble.stuck(tables["stuck_subscribers"], names.place) if workflows else None,
        trouble.conflicts(tables, None) if workflows else None,
    )
    words = tiles.windows(tables, WINDOW)
    about = _all(workflows)
    return Page("Your account", about, INDEX, _present(news), shown, words, _present(found), _choice(INDEX))


def _links(workflows: Sequence[Page], window: Window) -> Link:
    """The page of a workflow over a window, if it has one; of the account, how it went week by week."""
    files = {page.file for page in workflows}

    def link(workflow_id: str | None) -> str | None:
        if workflow_id is None:
            return f"{INDEX}#{ANCHOR}"
        file = _of(file_name(workflow_id), window)
        return file if file in files else None

    return link


def _over(shown: Sequence[Tile], workflows: Sequence[Page], names: Names) -> Iterator[Note]:
    """The rates of the account and of each workflow that are surely over their bounds."""
    yield from tiles.breaches(shown, names.place(None))
    for page in workflows:
        yield from tiles.breaches(page.tiles, page.title, page.file)


def _all(workflows: Sequence[Page]) -> str:
    return "All workflows" if workflows else "All campaigns"


def _campaigns(tables: Tables) -> list[Page]:
    """The page of what was sent once, where anything was."""
    listed = campaigns(tables)
    return [Page("Campaigns", "Mail that was sent once", CAMPAIGNS, sections=(listed,))] if listed else []


def _other_windows(tables: Tables) -> Iterator[Page]:
    """What there is over other days, of each workflow and of all: findings, numbers, drawing, steps and links."""
    names = Names.of(tables)
    for window in OTHER_WINDOWS:
        words = tiles.windows(tables, window)
        pages = []
        for flow in flows(tables):
            shown, file = tuple(tiles.flow_tiles(flow, window)), file_name(flow.workflow_id)
            rates = tuple(tiles.breaches(shown, flow.name))
            news = (findings(flow.rows, flow.place, lambda _: None, rates, window, file),)
            found = _present(
                (
                    drawing(flow, performance.loss(flow), window),
                    performance.steps(flow, window),
                    performance.links(flow, window),
                )
            )
            pages.append(Page(flow.name, "Workflow", _of(file, window), news, shown, words, found, _choice(file)))
        shown = tuple(tiles.account_tiles(tables, window))
        rates = tuple(_over(shown, pages, names))
        news = (findings(tables.__getitem__, names.place, _links(pages, window), rates, window, INDEX),)
        listed = _present([_listing(pages, window, tables)])
        yield Page("Your account", _all(pages), _of(INDEX, window), news, shown, words, listed, _choice(INDEX))
        yield from pages


def _choice(file: str) -> list[tuple[str, str]]:
    """The windows in which a page can be seen: in words, and the page of each."""
    return [(tiles.in_words(window), _of(file, window)) for window in sorted((WINDOW, *OTHER_WINDOWS), key=_length)]


def _of(file: str, window: Window) -> str:
    return file if window == WINDOW else file.replace(".html", f"-{window}.html")


def _length(window: Window) -> int:
    return WINDOW_DAYS[window] or 0


def _present(sections: Iterable[Section | None]) -> tuple[Section, ...]:
    return tuple(section for section in sections if section is not None)


def _listing(workflows: Sequence[Page], window: Window, tables: Tables) -> Section | None:
    """Every workflow with its headline numbers and a link to its page; of an account without any, its campaigns."""
    if not workflows:
        return campaigns(tables, MOST_CAMPAIGNS)
    lost = {_of(file_name(flow.workflow_id), window): performance.most_lost(flow) for flow in flows(tables)}
    listed = [(Cell(page.title, link=page.file), page.tiles, lost[page.file]) for page in workflows]
    if sent_once := tuple(tiles.campaign_tiles(tables, window)):
        # With them the workflows add up to the numbers above.
        listed.append((Cell("Campaigns", link=CAMPAIGNS), sent_once, Cell("")))
    names = list(dict.fromkeys(tile.name for _, shown, _ in listed for tile in shown))
    rows = []
    for place, shown, most_lost in listed:
        values = {tile.name: tile.value for tile in shown}
        rows.append([place, *(values.get(name, Cell("")) for name in names), most_lost])
    added = "" if tiles.ADDED in names else f" {tiles.NOT_SEPARATED}"
    words = (
        f"{tiles.in_words(window)}; where most are lost is told of all who entered since the funnel's first day. "
        f"Each workflow's page has the intervals and denominators.{added}"
    )
    header = ("workflow", *names, "most are lost on the way")
    source = f"workflow_metrics, funnel, window {window}" + ", campaigns summed" * bool(sent_once)
    return Section("workflows", "Workflows", words, header, rows, source=source, is_open=True)


def _quality(tables: Tables) -> str:
    """A line on how far the numbers can be trusted this morning."""
    recent = tables["step_metrics"].filter(pl.col("window") == WINDOW)
    # Of mail from before Mailchimp told machines apart, nothing is known of them.
    known = recent.drop_nulls("unique_human_opens")
    opens, human = (int(known[name].sum()) for name in ("unique_opens", "unique_human_opens"))
    machine = "nobody opened anything in 28 days"
    if recent["unique_opens"].sum() and not opens:
        machine = "nobody knows which openers of these 28 days were machines"
    if opens:
        machine = f"{share(1 - human / opens)} of {opens:,} openers in 28 days were machines alone"
    days = tables["step_metrics_daily"].filter(~pl.col("is_mature"))["day"].n_unique()
    moving = f"; the rates of the last {'day' if days == 1 else f'{days} days'} still move" if days else ""
    return f"{machine}; {counted(tables['quarantine'].height, 'row', 'rows')} in quarantine{moving}"


def _standing(folder: Path) -> dict[str, str]:
    """The drawings on the standing pages, by the fingerprints of their figures."""
    texts = (path.read_text(encoding="utf-8") for path in folder.glob("*.html"))
    return {name: svg for text in texts for name, svg in _DRAWN.findall(text)}


def _replace(building: Path, folder: Path) -> None:
    """Put what was built in place of what stands, file by file: the folder may be a volume, which cannot be renamed."""
    built = {path.relative_to(building) for path in building.rglob("*") if path.is_file()}
    for name in built:
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(building / name, folder / name)
    shutil.rmtree(building)
    for path in (*folder.glob("*.html"), *folder.glob(f"{CHARTS_FOLDER}/*")):
        if path.relative_to(folder) not in built:
            path.unlink()
