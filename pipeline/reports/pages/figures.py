"""Charts as SVG that stands inside a page and takes its colours, and the charts that only pages show."""

import html
import re
from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from pipeline.reports.charts import Picture

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
    "legend": {"labelColor": INK, "titleColor": INK, "orient": "bottom", "titleFontWeight": "normal"},
    "mark": {"color": "#3b82f6"},
    "rule": {"color": INK},
    "text": {"color": INK},
    "range": {"category": ["#3b82f6", "#f59e0b", "#10b981", "#a855f7", "#ef4444", "#06b6d4", "#84cc16", "#ec4899"]},
}
_STYLES = re.compile(r'\sstyle="[^"]*"')


def drawn(chart: Picture | None, label: str) -> str | None:
    """The chart as SVG with `label` for those who cannot see it; none where there is no chart.

    Inline styles are left out: the page's content security policy refuses them.
    """
    return None if chart is None else drawn_specification(chart.to_dict(), label)


def drawn_specification(chart: Mapping[str, Any], label: str) -> str:
    """A Vega-Lite specification with its data as `drawn` gives it."""
    height = {} if _has_names_down(chart) else {"height": HEIGHT}
    specification = {**chart, "width": WIDTH, **height, "config": CONFIG}
    # The page's own words say what it shows.
    specification.pop("title", None)
    svg = vl_convert.vegalite_to_svg(specification)
    escaped = html.escape(label)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    svg = _STYLES.sub("", svg).replace(INK, "currentColor")
    if size:
        svg = svg.replace(size.group(0), f'role="img" aria-label="{escaped}"', 1)
    return svg


def funnel_figure(funnel: pl.DataFrame) -> Picture | None:
    """Of those who entered each step: went on, reached the goal, still wait, are lost.

    Args:
        funnel: rows of `funnel` of one workflow, in the order of its steps, with `transition` (String).
    """
    if funnel.is_empty():
        return None
    kinds = ["advanced", "goal_exits", "waiting", "lost"]
    rows = funnel.select("transition", *kinds).unpivot(index="transition", variable_name="became", value_name="people")
    rows = rows.with_columns(pl.col("became").replace({"goal_exits": "reached the goal", "advanced": "went on"}))
    colours = alt.Scale(
        domain=["went on", "reached the goal", "waiting", "lost"], range=["#3b82f6", "#10b981", "#94a3b8", "#ef4444"]
    )
    order = rows["transition"].unique(maintain_order=True).to_list()
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("people:Q", title="people who entered the step"),
            y=alt.Y("transition:N", sort=order, title=None),
            color=alt.Color("became:N", scale=colours, title=None, sort=None),
        )
    )


def _has_names_down(chart: Mapping[str, Any]) -> bool:
    """Whether the vertical axis holds names, whose number gives the height."""
    return bool(chart.get("encoding", {}).get("y", {}).get("type") == "nominal")
