"""Writes the generated parts of the documentation: the asset graph, the tables, the methods, and what can be known.

`make docs` runs it. `tests/docs` checks that what stands in the files is what today's code says.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from pipeline.definitions import build_defs
from pipeline.mailchimp.plan import first_night
from pipeline.optimizations.measurement.sizing import LONGEST_DAYS, POWER, Baseline, reachable_lift, sized
from pipeline.optimizations.proposals.evidence import HELD_OUT, OUTCOME_DAYS
from pipeline.reports.pages.docstrings import Block
from pipeline.reports.pages.reference import Method, TableEntry, methods, table_entries
from pipeline.settings import Settings

DOCS = Path(__file__).parent
START, END = "<!-- generated -->", "<!-- end of generated -->"


def asset_graph() -> str:
    """The asset graph by group as a Mermaid flow chart: a box for each group, an arrow where one reads another."""
    graph = build_defs(Settings(_env_file=None)).resolve_asset_graph()
    members: dict[str, list[dg.AssetKey]] = defaultdict(list)
    for asset_key in graph.toposorted_asset_keys:
        members[graph.get(asset_key).group_name].append(asset_key)
    lines = ["```mermaid", "flowchart LR"]
    for group, asset_keys in members.items():
        names = "<br/>".join(sorted(asset_key.path[-1] for asset_key in asset_keys))
        lines.append(f'  {group}["<b>{group}</b><br/>{names}"]')
    arrows = {
        (graph.get(parent).group_name, group)
        for group, asset_keys in members.items()
        for asset_key in asset_keys
        for parent in graph.get(asset_key).parent_keys
        if graph.get(parent).group_name != group
    }
    lines += [f"  {source} --> {target}" for source, target in sorted(arrows)]
    return "\n".join([*lines, "```"])


def with_made(page: Path, made: str) -> str:
    """The text of a page with what is made of today's code between its markers."""
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    return f"{before}{START}\n{made}\n{END}{rest.partition(END)[2]}"


def tables_page() -> str:
    """Every published table: what a row is, its key, and every column with type, unit and meaning."""
    intro = (
        "# Tables\n\nThese tables stand in schema `marts` of `published/email_warehouse.duckdb`, and as "
        "`published/parquet/TABLE.parquet`. The same words stand in the table `data_dictionary` and on the page "
        "`reports/dictionary.html`.\n"
    )
    return "\n".join([intro, *(_table(entry) for entry in table_entries())])


def methods_page() -> str:
    """Every method: what it estimates and how, and how far it was right where the truth was known."""
    intro = (
        "# Methods\n\nThese texts are the documentation of the code that makes the numbers. The figures beside them "
        "come from simulations in which the truth is known. A target holds within two standard errors.\n"
    )
    return "\n".join([intro, *(_method(method) for method in methods())])


LISTS = (10_000, 50_000)
"""Members of a list."""
PLACES = {"all mail": (1.0, 1.02), "a step that a tenth of the list reaches in four weeks": (0.1, 0.2)}
"""Shares of the list that are mailed at a place within 28 and within 56 days."""
OUTCOMES = {"clicks of 10%": 0.1, "conversions of 5%": 0.05, "conversions of 1%": 0.01}
PROMISES = (0.1, 0.2, 0.5)


def known_page() -> str:
    """What can be known of a change on lists of two sizes, how soon, and with how many people kept out."""
    intro = (
        "# What can be known\n\nHow soon the effect of a change is known depends on how many people come by, how often "
        "they do what is counted, and how large the effect is. This table is computed by the functions that plan every "
        "change (`python docs/generate.py`). Each cell holds the share of people kept out, and the days from the first "
        f"whole day of the change until its answer. If the promise is true, the answer finds it with a chance of "
        f"{POWER:.0%}. Outcomes count within {OUTCOME_DAYS} days. All mail reaches the whole list in four weeks, and "
        "2% newcomers in the next four weeks. The last column holds the smallest effect that can be known within "
        f"{LONGEST_DAYS} days, with half of the people kept out.\n"
    )
    promises = " | ".join(f"{promise:+.0%}" for promise in PROMISES)
    header = [
        f"| list | what is changed | what is counted | {promises} | smallest |",
        "|---|---|---|" + "---|" * (len(PROMISES) + 1),
    ]
    rows = [
        f"| {size:,} | {place} | {outcome} | {' | '.join(_plans(found))} | {_smallest(found)} |"
        for size in LISTS
        for place, (early, both) in PLACES.items()
        for outcome, rate in OUTCOMES.items()
        for found in [Baseline(round(early * size), round(both * size), rate)]
    ]
    closing = (
        "\nWhere no plan ends in time, a proposal says so before anybody approves it. Such a change can still be made. "
        "Its effect is then measured without a date, by an interval that holds on all nights at once.\n"
    )
    return "\n".join([intro, *header, *rows, closing])


def _plans(found: Baseline) -> list[str]:
    """For each promise the share kept out and the days until the answer."""
    told = []
    for promise in PROMISES:
        share, plan = sized(found, promise, window_days=OUTCOME_DAYS, least_share=HELD_OUT)
        told.append(f"{share:.0%}, {plan.days + OUTCOME_DAYS} days" if plan.days else f"not in {LONGEST_DAYS} days")
    return told


def _smallest(found: Baseline) -> str:
    lift = reachable_lift(found, window_days=OUTCOME_DAYS)
    return "none" if lift is None else f"{lift:+.0%}"


SIZES = (10_000, 100_000, 1_000_000)
"""Members of an account."""
CONNECTIONS = 10
CAMPAIGNS, FLOW_EMAILS, FLOW_SHARE = 20, 15, 1 / 3
"""Campaigns that went to everybody, e-mails of flows, and the share of the members who got each of these."""


def first_nights() -> str:
    """What the first night of accounts of several sizes takes, by source, and what each source is for."""
    settings = Settings.sample().model_copy(update={"max_connections": CONNECTIONS})
    rows, losses = [], {}
    for members in SIZES:
        recipients = [members] * CAMPAIGNS + [round(members * FLOW_SHARE)] * FLOW_EMAILS
        for one in first_night(members, recipients, members, settings):
            rows.append(f"| {members:,} | {one.source} | {one.calls:,} | {one.minutes:,.0f} | {one.nights} |")
            losses[one.source] = one.loss
    header = ["| members | source | calls | minutes | nights |", "|---|---|---|---|---|"]
    lost = ["", "| source | without it the tables lack |", "|---|---|"]
    lost += [f"| {source} | {loss} |" for source, loss in losses.items()]
    return "\n".join([*header, *rows, *lost])


def _table(entry: TableEntry) -> str:
    lines = [
        f"## {entry.name}\n",
        _prose(entry.meaning),
        f"Key: {', '.join(f'`{name}`' for name in entry.natural_key)}\n",
    ]
    lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| {name} | {kind} | {unit} | {_cell(meaning)} |" for name, meaning, unit, kind in entry.rows]
    return "\n".join([*lines, ""])


def _method(method: Method) -> str:
    lines = [f"## {method.chapter.title}\n"]
    if method.figures:
        lines += [f"`python -m tests.acceptance.simulate {method.chapter.simulation}`:\n"]
        lines += ["| measure | reached | target | standard error | holds |", "|---|---|---|---|---|"]
        lines += ["| " + " | ".join(map(_cell, figure)) + " |" for figure in method.figures]
        lines.append("")
    for module, _ in method.modules:
        lines += [f"### {module.name.replace('_', ' ').capitalize()}\n", _prose(module.blocks)]
    return "\n".join(lines)


def _prose(blocks: Sequence[Block]) -> str:
    lines = []
    for block in blocks:
        if block.text:
            lines.append(f"{block.text}\n")
        lines += [f"- `{term}`: {meaning}" for term, meaning in block.terms]
        if block.code:
            lines.append(f"```python\n{block.code}\n```\n")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def pages() -> dict[Path, str]:
    """Every generated file with the text that it should hold."""
    architecture, first_night_page = DOCS / "architecture.md", DOCS / "first_night.md"
    return {
        architecture: with_made(architecture, asset_graph()),
        first_night_page: with_made(first_night_page, first_nights()),
        DOCS / "tables.md": tables_page(),
        DOCS / "methods.md": methods_page(),
        DOCS / "known.md": known_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
