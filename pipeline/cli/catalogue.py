"""The generated parts of the README: the picture of the asset graph, and the catalogue of the published tables.

`python -m pipeline.cli.catalogue README.md` (or `make docs`) writes them between their markers.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import get_args

from pipeline.definitions import build_defs
from pipeline.orchestration.asset import Group
from pipeline.schemas.base import identity, polars_schema, tables_of
from pipeline.settings import Settings


def asset_graph() -> str:
    """The asset graph as a Mermaid flow chart: a box for each group, and an arrow where a group reads another."""
    graph = build_defs(Settings()).resolve_asset_graph()
    names: dict[str | None, list[str]] = defaultdict(list)
    arrows = set()
    for node in map(graph.get, graph.get_all_asset_keys()):
        names[node.group_name].append(node.key.path[-1])
        sources = {graph.get(parent).group_name for parent in node.parent_keys} - {node.group_name}
        arrows |= {f"  {source} --> {node.group_name}" for source in sources}
    boxes = [f'  {group}["<b>{group}</b><br/>{"<br/>".join(sorted(names[group]))}"]' for group in get_args(Group)]
    return "\n".join(["```mermaid", "flowchart LR", *boxes, *sorted(arrows), "```"])


def table_catalogue() -> str:
    """Every published table with its meaning, key and number of columns, as a Markdown table."""
    lines = ["| table | one row per, and meaning | key | columns |", "|---|---|---|---|"]
    for model in sorted(tables_of("marts"), key=lambda model: identity(model).name):
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
