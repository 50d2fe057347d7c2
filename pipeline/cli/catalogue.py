"""The parts of the README that are generated: the picture of the asset graph and the table catalogue.

`python -m pipeline.cli.catalogue README.md` (or `make docs`) writes them between their markers.
"""

import sys
from collections import defaultdict
from pathlib import Path

import dagster as dg

from pipeline.definitions import build_defs
from pipeline.orchestration.assets.publication import published_marts
from pipeline.schemas.base import identity, polars_schema
from pipeline.settings import Settings

GROUP_ORDER = (
    "lake",
    "dimensions",
    "facts",
    "reductions",
    "performance",
    "cohorts",
    "timing",
    "monitoring",
    "publication",
)


def asset_graph() -> str:
    """The asset graph by group as a Mermaid flow chart: a box per group, an arrow where a group reads another."""
    graph = build_defs(Settings()).resolve_asset_graph()
    members: dict[str, list[dg.AssetKey]] = defaultdict(list)
    for asset_key in graph.get_all_asset_keys():
        members[graph.get(asset_key).group_name].append(asset_key)
    order = [*GROUP_ORDER, *sorted(set(members) - set(GROUP_ORDER))]
    lines = ["```mermaid", "flowchart LR"]
    for group in order:
        if group in members:
            names = "<br/>".join(sorted(asset_key.path[-1] for asset_key in members[group]))
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


def table_catalogue() -> str:
    """Every published table with its meaning, key and number of columns, as a Markdown table."""
    lines = ["| table | one row per, and meaning | key | columns |", "|---|---|---|---|"]
    for model in sorted(published_marts(), key=lambda model: identity(model).name):
        place = identity(model)
        meaning = " ".join((model.__doc__ or "").split())
        keys = ", ".join(f"`{name}`" for name in place.natural_key)
        lines.append(f"| `{place.name}` | {meaning} | {keys} | {len(polars_schema(model))} |")
    return "\n".join(lines)


SECTIONS = {"asset graph": asset_graph, "table catalogue": table_catalogue}


def with_sections(readme: str) -> str:
    """The README with every generated section written anew."""
    for name, write in SECTIONS.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = readme.partition(start)
        _, _, after = rest.partition(end)
        readme = f"{before}{start}\n{write()}\n{end}{after}"
    return readme


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_sections(path.read_text()))
