"""Figures as SVG that stands inside a page and takes the page's colours.

Most of a chart's time goes into measuring its text. That is done in a runtime of which each process has one, so several
processes draw where there is much to draw, and what an earlier page shows already is not drawn again.
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

from pipeline.charts.vega import Figure

INK = "#123456"
"""Stands for the page's own text colour, which only the page's reader knows."""
WIDTH, HEIGHT = 820, 260
_TEXT = {
    "labelColor": INK,
    "titleColor": INK,
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    # Vega measures every label to find out whether it keeps a limit, which takes a third of a chart's time.
    "labelLimit": 0,
    "titleLimit": 0,
}
CONFIG = {
    "background": "transparent",
    "view": {"stroke": "transparent"},
    "font": "Helvetica, Arial, sans-serif",
    "axis": {**_TEXT, "domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.12},
    "legend": {**_TEXT, "orient": "bottom"},
    "mark": {"color": "#3b82f6"},
    "rule": {"color": INK},
    "text": {"color": INK},
    "range": {"category": ["#3b82f6", "#f59e0b", "#10b981", "#a855f7", "#ef4444", "#06b6d4", "#84cc16", "#ec4899"]},
}
FEWEST_FOR_PROCESSES = 60
"""To start a process takes as long as to draw some dozens of charts."""
_STYLES = re.compile(r'\sstyle="[^"]*"')
_MARK = re.compile(r'<path (aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="(?:bar|point)"[^>]*?)/>')
_SIZE = re.compile(r'width="[\d.]+" height="[\d.]+"')


def fingerprint(figure: Figure) -> str:
    """A text that is equal for figures that look the same and have the same label."""
    told = [_specification(figure), figure.label, version("vl-convert-python")]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False, default=str).encode()).hexdigest()[:24]


def drawn(figure: Figure) -> str:
    """The figure as SVG of the width that its place gives it, with its label for readers who cannot see it.

    Each bar and point has a title, which a browser shows to somebody who points at it. There is no inline style,
    because the content security policy of the pages refuses it.
    """
    svg = _STYLES.sub("", vl_convert.vegalite_to_svg(_specification(figure))).replace(INK, "currentColor")
    svg = _MARK.sub(r"<path \1><title>\2</title></path>", svg)
    # Without a size of its own a picture takes the width of the page.
    return _SIZE.sub(lambda _: f'role="img" aria-label="{html.escape(figure.label)}"', svg, count=1)


def draw_all(figures: Iterable[Figure], standing: Mapping[str, str]) -> dict[str, str]:
    """The SVG of every figure, by fingerprint.

    Args:
        figures: what the pages show.
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
    # A record's evidence may hold a chart of an earlier release, with a title that the page's own words say already.
    shown = {name: value for name, value in figure.specification.items() if name != "title"}
    return {"height": HEIGHT, **shown, "width": WIDTH, "config": CONFIG}
