"""The figures: valid Vega-Lite, drawn once, and none where there is nothing to see."""

from datetime import timedelta
from xml.etree import ElementTree

import altair as alt
import polars as pl
import pytest

from pipeline.charts import drawing
from pipeline.charts.drawing import draw_all, drawn, fingerprint
from pipeline.charts.figures import delay_figure, funnel_figure, lift_figure, realised_figure, trend_figure
from pipeline.reports.pages.model import Figure
from tests.worlds.published import TONIGHT, row

LONG = "a name of a step that has far more letters than any chart has room for"
FUNNEL = row("funnel", entrants=10, advanced=7, lost=3).with_columns(transition=pl.lit(LONG))
DAYS = [TONIGHT - timedelta(days=ago) for ago in (2, 1, 0)]
COURSE = pl.concat(
    row("metric_trends", day=day, metric_kind="rate", value=0.1, change_marker=marker)
    for day, marker in zip(DAYS, (None, None, "anomaly"), strict=True)
)
CURVE = pl.concat(row("delay_curves", delay_hours=hours, is_current=hours == 24) for hours in (24.0, 48.0))
NIGHTS = pl.concat(row("realised_lift", as_of_day=day, realised_lift=0.1, promised_lift=0.2) for day in DAYS)
LOOKS = pl.concat(row("experiment_results", as_of_day=day, arm="B", lift=0.1) for day in DAYS)
FIGURES = {
    "funnel": funnel_figure(FUNNEL),
    "trend": trend_figure(COURSE),
    "delay": delay_figure(CURVE),
    "test": lift_figure(LOOKS),
    "realised": realised_figure(NIGHTS),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_valid_vega_lite_and_draws_without_inline_style(name: str) -> None:
    specification = FIGURES[name]
    assert specification is not None
    alt.Chart.from_dict(specification, validate=True)
    svg = ElementTree.fromstring(drawn(Figure(specification, 'what "it" says')))
    assert svg.attrib["aria-label"] == 'what "it" says'
    assert not any("style" in part.attrib for part in svg.iter())
    assert any(part.tag.endswith("path") and part.attrib.get("d") for part in svg.iter())


def test_a_name_is_cut_where_the_chart_has_no_room() -> None:
    specification = FIGURES["funnel"]
    assert specification is not None
    named = {values["transition"] for values in specification["data"]["values"]}
    assert [len(name) for name in named] == [44]
    assert LONG.startswith(named.pop().removesuffix("…"))


@pytest.mark.parametrize(
    "figure",
    [
        funnel_figure(FUNNEL.clear()),
        trend_figure(COURSE.clear()),
        delay_figure(CURVE.with_columns(conversion_rate=pl.lit(None, dtype=pl.Float64))),
        lift_figure(LOOKS.clear()),
        realised_figure(NIGHTS.clear()),
    ],
)
def test_nothing_to_see_is_no_figure(figure: object) -> None:
    assert figure is None


def labelled(*labels: str) -> list[Figure]:
    specification = FIGURES["delay"]
    assert specification is not None
    return [Figure(specification, label) for label in labels]


def test_what_is_drawn_already_is_not_drawn_again() -> None:
    old, new = labelled("old", "new")
    found = draw_all([old, new, new], {fingerprint(old): "as it stood", "0123": "of no page any more"})
    assert found[fingerprint(old)] == "as it stood"
    assert set(found) == {fingerprint(old), fingerprint(new)}
    assert 'aria-label="new"' in found[fingerprint(new)]


def test_another_look_is_another_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    [figure] = labelled("a")
    before = fingerprint(figure)
    monkeypatch.setattr(drawing, "CONFIG", {**drawing.CONFIG, "background": "white"})
    assert fingerprint(figure) != before


def test_several_processes_draw_what_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = labelled("a", "b", "c", "d")
    alone = draw_all(figures, {})
    monkeypatch.setattr(drawing, "FEWEST_FOR_PROCESSES", 1)
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 2)
    assert draw_all(figures, {}) == alone
