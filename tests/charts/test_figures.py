"""The charts: valid Vega-Lite that draws to a finite picture, or none where there is nothing to see."""

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from xml.etree import ElementTree

import altair as alt
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.charts import figures
from pipeline.charts.drawing import drawn
from pipeline.charts.vega import Figure
from pipeline.schemas.base import find, polars_schema
from tests.worlds.published import TONIGHT, row

Chart = Callable[[pl.DataFrame], Figure | None]
LONG = "a name of a step that has far more letters than any chart has room for"
DAYS = [TONIGHT - timedelta(days=ago) for ago in (2, 1, 0)]
WIDEST = 3_000
"""A picture is a page wide; names and legends beside it take no more than this many pixels."""


def over(table: str, name: str, values: list[object], **given: object) -> pl.DataFrame:
    """A row of the table for each value of one column."""
    return pl.concat(row(table, **{name: value}, **given) for value in values)


FUNNEL = row("funnel", entrants=10, advanced=7, lost=3).with_columns(transition=pl.lit(LONG))
COURSE = over("metric_trends", "day", DAYS, metric_kind="rate", value=0.1, change_marker="anomaly")
CURVE = over(
    "delay_curves", "delay_hours", [24.0, 48.0], conversion_rate=0.1, better_probability=0.99, best_probability=0.9
).with_columns(is_current=pl.col("delay_hours") == 24.0)
LOOKS = over("experiment_results", "as_of_day", DAYS, arm="B", lift=0.1, role="primary")
NIGHTS = over("realised_lift", "as_of_day", DAYS, realised_lift=0.1, promised_lift=0.2, role="primary")
COHORTS = over(
    "cohort_triangles",
    "age_weeks",
    [0, 1, 2],
    cohort="2026-03",
    cohort_type="signup_date",
    followed=figures.FEWEST_FOLLOWED,
    incidence_rate=0.1,
)
PROFILES = over("send_time_profiles", "local_hour", [8, 20], activity_share=0.5)
CHANCES = row("opportunities", gain_unit="conversions", expected_gain=12.0, expected_gain_high=20.0)
CONFLICTS = row("conflict_replay", subscribers=48, severity="stop")
DECISIONS = over("path_decisions", "arm", ["a", "b"])
CHARTS: dict[str, tuple[Chart, pl.DataFrame]] = {
    "funnel": (figures.funnel_chart, FUNNEL),
    "metric_trends": (figures.trend_chart, COURSE),
    "delay_curves": (figures.delay_chart, CURVE),
    "experiment_results": (figures.experiment_chart, LOOKS),
    "realised_lift": (figures.realised_chart, NIGHTS),
    "cohort_triangles": (figures.cohort_chart, COHORTS),
    "send_time_profiles": (figures.send_time_chart, PROFILES),
    "opportunities": (figures.opportunity_chart, CHANCES),
    "conflict_replay": (figures.conflict_chart, CONFLICTS),
    "path_decisions": (figures.decision_chart, DECISIONS),
}


def made(table: str, rows: pl.DataFrame) -> Figure:
    figure = CHARTS[table][0](rows)
    assert figure is not None
    return figure


def picture(figure: Figure) -> ElementTree.Element:
    """The drawing, after a look at what every drawing must be."""
    json.dumps(figure.specification, allow_nan=False)
    root = ElementTree.fromstring(drawn(figure))
    places = [value for part in root.iter() for name, value in part.attrib.items() if not name.startswith("aria-")]
    assert not [value for value in places if re.search(r"NaN|Infinity|undefined|null|e\+", value)]
    assert all(0 <= float(edge) < WIDEST for edge in root.attrib["viewBox"].split())
    return root


def marks(root: ElementTree.Element) -> int:
    """How many marks of data a drawing shows."""
    groups = [part for part in root.iter() if "role-mark" in part.attrib.get("class", "").split()]
    groups = [part for group in groups for part in group if part.attrib.get("d") or part.attrib.get("transform")]
    return len(groups)


def test_every_chart_of_the_product_is_tried_here() -> None:
    charts = {chart for name, chart in vars(figures).items() if name.endswith("_chart")}
    assert {chart for chart, _ in CHARTS.values()} == charts


@pytest.mark.parametrize("table", CHARTS)
def test_a_chart_is_valid_vega_lite_and_draws_without_inline_style(table: str) -> None:
    figure = made(table, CHARTS[table][1])
    alt.Chart.from_dict(dict(figure.specification), validate=True)
    root = picture(Figure(figure.specification, 'what "it" says'))
    assert root.attrib["aria-label"] == 'what "it" says'
    assert not any("style" in part.attrib for part in root.iter())
    assert marks(root)


@pytest.mark.parametrize("table", ["funnel", "metric_trends", "delay_curves", "experiment_results"])
def test_pointing_at_a_value_tells_it_in_words(table: str) -> None:
    figure = made(table, CHARTS[table][1])
    told = [row["told"] for row in figure.specification["data"]["values"]]
    titles = [part.text for part in picture(figure).iter() if part.tag.endswith("title")]
    assert told
    assert set(told) <= set(titles)


@pytest.mark.parametrize("table", CHARTS)
def test_the_layers_of_a_chart_keep_the_titles_of_its_axes(table: str) -> None:
    figure = made(table, CHARTS[table][1])
    channels = [channel for layer in figure.specification["layer"] for channel in layer["encoding"].values()]
    titles = {channel["axis"]["title"] for channel in channels if "axis" in channel} - {None}
    assert titles <= {part.text for part in picture(figure).iter()}


@pytest.mark.parametrize("table", CHARTS)
def test_a_chart_of_one_row_shows_it(table: str) -> None:
    assert marks(picture(made(table, CHARTS[table][1].head(1))))


@pytest.mark.parametrize("table", CHARTS)
def test_a_table_without_rows_has_no_chart(table: str) -> None:
    chart, rows = CHARTS[table]
    assert chart(rows.clear()) is None


@pytest.mark.parametrize("table", [table for table in CHARTS if table != "path_decisions"])
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -float("inf")])
def test_a_table_without_a_number_has_no_chart(table: str, value: float | None) -> None:
    chart, rows = CHARTS[table]
    names = [name for name, dtype in polars_schema(find("marts", table)).items() if dtype == pl.Float64]
    unknown = [pl.lit(value, dtype=pl.Float64).alias(name) for name in names]
    counts = [pl.lit(None, dtype=pl.Int64).alias(name) for name, dtype in rows.schema.items() if dtype == pl.Int64]
    assert chart(rows.with_columns(*unknown, *counts)) is None


@pytest.mark.parametrize("kind", ["rate", "volume"])
def test_a_course_of_zeros_in_which_nothing_changed_is_a_chart_of_finite_size(kind: str) -> None:
    zeros = {"metric": "prompt_human_click_rate", "value": 0.0, "expected_value": 0.0, "change_marker": None}
    assert marks(picture(made("metric_trends", over("metric_trends", "day", DAYS, metric_kind=kind, **zeros))))


def test_a_marked_day_without_a_value_leaves_a_chart_of_finite_size() -> None:
    marked = pl.when(pl.col("day") == DAYS[0]).then(None).otherwise("value").alias("value")
    only_there = pl.when(pl.col("day") == DAYS[0]).then("change_marker").alias("change_marker")
    assert marks(picture(made("metric_trends", COURSE.with_columns(marked, only_there))))


NUMBERS = [None, float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 5e-324, 0.3, -2.5, 1e12, -1e12, 1e13, 1.7e308]
STRINGS: dict[str, list[str]] = {
    "role": ["primary", "guardrail"],
    "cohort_type": ["signup_date"],
    "gain_unit": ["conversions"],
    "metric_kind": ["rate", "volume"],
    "change_marker": ["anomaly", "holiday", "drift"],
    "metric": ["prompt_human_click_rate", "sent"],
}
WICKED = ["a", "b", "", LONG, 'x"]<b>&\\\n\u2028שלום', "datum.null"]


def values_of(name: str, dtype: pl.DataType) -> st.SearchStrategy[object]:
    """Whatever a column could hold if no schema forbade it."""
    if dtype == pl.Float64:
        return st.sampled_from(NUMBERS) | st.floats()
    if dtype == pl.Int64:
        return st.sampled_from([None, 0, 1, figures.FEWEST_FOLLOWED, -3, 10**12, 2**63 - 1])
    if dtype == pl.Boolean:
        return st.sampled_from([None, True, False])
    if dtype == pl.Date:
        return st.sampled_from([None, *DAYS, date(1970, 1, 1), date(9999, 12, 31)])
    return st.none() | st.sampled_from(STRINGS.get(name, WICKED))


@st.composite
def tables(draw: st.DrawFn, table: str) -> pl.DataFrame:
    """Up to five rows that are alike in what hypothesis does not care to make unlike."""
    schema = {
        name: dtype for name, dtype in CHARTS[table][1].schema.items() if not dtype.is_temporal() or dtype == pl.Date
    }
    size = draw(st.integers(0, 5))
    columns = {}
    for name, dtype in schema.items():
        values = values_of(name, dtype)
        unlike = draw(st.booleans())
        columns[name] = draw(st.lists(values, min_size=size, max_size=size)) if unlike else [draw(values)] * size
    return pl.DataFrame(columns, schema=schema)


@pytest.mark.parametrize("table", CHARTS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_table_holds_its_chart_is_finite_or_none(table: str, data: st.DataObject) -> None:
    figure = CHARTS[table][0](data.draw(tables(table)))
    if figure is not None:
        picture(figure)


def test_a_name_is_cut_where_the_chart_has_no_room() -> None:
    [name] = {values["transition"] for values in made("funnel", FUNNEL).specification["data"]["values"]}
    assert len(name) == 44
    assert LONG.startswith(name.removesuffix("…"))


def test_todays_delay_and_the_surely_better_one_are_marked() -> None:
    def shown(curve: pl.DataFrame) -> list[tuple[float, str | None]]:
        rows = made("delay_curves", curve).specification["data"]["values"]
        return [(one["delay_hours"], one["mark"]) for one in rows]

    assert shown(CURVE) == [(24.0, "now"), (48.0, "proposed")]
    assert shown(CURVE.with_columns(better_probability=pl.lit(0.8))) == [(24.0, "now"), (48.0, None)]


def test_cohorts_of_few_people_have_no_chart() -> None:
    few = COHORTS.with_columns(followed=pl.lit(figures.FEWEST_FOLLOWED - 1))
    assert figures.cohort_chart(few) is None
