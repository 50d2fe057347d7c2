"""Figures as SVG that stands inside a page and takes its colours.

Most of a chart's time is spent on measuring its text, in a runtime of which each process has one: many are drawn by
several processes, and what stands drawn on the pages of before is not drawn again.
"""

import hashlib
import html
import json
import multiprocessing
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from typing import Any

import vl_convert

from pipeline.reports.pages.model import Figure

INK = "#123456"
"""Stands for the page's own text colour, which is known only where the page is read."""
WIDTH, HEIGHT = 820, 260
CONFIG = {
    "background": "transparent",
    "view": {"stroke": "transparent"},
    "font": "Helvetica, Arial, sans-serif",
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "tickColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.12,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 300,
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "bottom",
        "titleFontWeight": "normal",
    },
    "mark": {"color": "#3b82f6"},
    "rule": {"color": INK},
    "text": {"color": INK},
    "range": {"category": ["#3b82f6", "#f59e0b", "#10b981", "#a855f7", "#ef4444", "#06b6d4", "#84cc16", "#ec4899"]},
}
FEWEST_FOR_PROCESSES = 60
"""A process takes as long to start as some dozens of charts to draw."""
_STYLES = re.compile(r'\sstyle="[^"]*"')


def fingerprint(figure: Figure) -> str:
    """The same for figures that are drawn and say the same."""
    told = json.dumps(
        [_specification(figure), figure.label, version("vl-convert-python")], ensure_ascii=False, default=str
    )
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def drawn(figure: Figure) -> str:
    """The figure as SVG with its label for those who cannot see it.

    Inline styles are left out: the page's content security policy refuses them.
    """
    svg = vl_convert.vegalite_to_svg(_specification(figure))
    escaped = html.escape(figure.label)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    svg = _STYLES.sub("", svg).replace(INK, "currentColor")
    if size:
        svg = svg.replace(size.group(0), f'role="img" aria-label="{escaped}"', 1)
    return svg


def draw_all(figures: Iterable[Figure], standing: Mapping[str, str]) -> dict[str, str]:
    """Every figure's SVG by fingerprint.

    Args:
        figures: what is to be seen.
        standing: what is drawn already, by fingerprint.
    """
    wanted = {fingerprint(figure): figure for figure in figures}
    missing = {name: figure for name, figure in wanted.items() if name not in standing}
    processes = min(os.cpu_count() or 1, len(missing) // FEWEST_FOR_PROCESSES)
    if processes > 1:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(drawn, missing.values(), chunksize=8))
    else:
        found = [drawn(figure) for figure in missing.values()]
    return {name: standing[name] for name in wanted.keys() & standing.keys()} | dict(zip(missing, found, strict=True))


def _specification(figure: Figure) -> dict[str, Any]:
    height = {} if _has_names_down(figure.specification) else {"height": HEIGHT}
    # The page's own words say what a title would.
    shown = {name: value for name, value in figure.specification.items() if name != "title"}
    return {**shown, "width": WIDTH, **height, "config": CONFIG}


def _has_names_down(specification: Mapping[str, Any]) -> bool:
    """Whether the vertical axis holds names, whose number gives the height."""
    return bool(specification.get("encoding", {}).get("y", {}).get("type") == "nominal")
