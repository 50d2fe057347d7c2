"""Charts: an image where there is something to see, nothing where there is not."""

import base64
from datetime import date, timedelta
from xml.etree import ElementTree

import polars as pl
import pytest

from pipeline.charts.pictures import (
    FEWEST_FOLLOWED,
    cohort_chart,
    delay_chart,
    image,
    opportunity_chart,
    send_time_chart,
    trend_chart,
)
from pipeline.schemas.base import empty
from pipeline.schemas.cohorts import CohortTriangles
from pipeline.schemas.monitoring import MetricTrends, Opportunities
from pipeline.schemas.timing import DelayCurves, SendTimeProfiles

TONIGHT = date(2026, 6, 29)


def triangles(followed: int) -> pl.DataFrame:
    ages = range(4)
    return pl.DataFrame(
        {
            "cohort_type": ["signup_date"] * len(ages),
            "workflow_id": ["w"] * len(ages),
            "cohort": ["2026-03"] * len(ages),
            "age_weeks": list(ages),
            "entrants": [followed] * len(ages),
            "followed": [followed] * len(ages),
            "incidence_rate": [0.1 * age for age in ages],
        }
    )


def trends(marker: str | None) -> pl.DataFrame:
    days = [TONIGHT - timedelta(days=ago) for ago in (2, 1, 0)]
    return pl.DataFrame(
        {
            "day": days,
            "workflow_id": ["w"] * 3,
            "step_id": ["s"] * 3,
            "metric": ["sent"] * 3,
            "value": [10.0, 9.0, 0.0],
            "expected_value_low": [5.0, 5.0, 5.0],
            "expected_value_high": [15.0, 15.0, 15.0],
            "change_marker": pl.Series([None, None, marker], dtype=pl.String),
        }
    )


def profiles() -> pl.DataFrame:
    return pl.DataFrame({"cluster_id": [0, 0], "local_hour": [8, 20], "activity_share": [0.7, 0.3]})


def curves(rate: float | None) -> pl.DataFrame:
    rates = {f"conversion_rate{end}": pl.Series([rate, rate], dtype=pl.Float64) for end in ("", "_low", "_high")}
    names = {"workflow_id": ["w"] * 2, "from_step_id": ["a"] * 2, "to_step_id": ["b"] * 2}
    told = {"is_current": [True, False], "best_probability": [0.01, 0.99], "better_probability": [None, 0.99]}
    return pl.DataFrame({**names, "delay_hours": [24.0, 48.0], "entrants": [9, 9], **told, **rates})


def opportunities(gain: float | None) -> pl.DataFrame:
    gains = {f"expected_gain{end}": pl.Series([gain], dtype=pl.Float64) for end in ("", "_low", "_high")}
    named = {"opportunity_id": ["delay/w/a/b"], "identification": ["randomised"], "gain_unit": ["conversions"]}
    return pl.DataFrame({"rank": [1], **named, **gains})


@pytest.mark.parametrize(
    "chart",
    [
        cohort_chart(triangles(FEWEST_FOLLOWED)),
        opportunity_chart(opportunities(12.0)),
        trend_chart(trends("anomaly")),
        send_time_chart(profiles()),
        delay_chart(curves(0.1)),
    ],
)
def test_a_chart_is_an_image_without_links(chart) -> None:
    markdown = image(chart)["chart"].md_str
    prefix = "![chart](data:image/svg+xml;base64,"
    assert markdown.startswith(prefix)
    picture = ElementTree.fromstring(base64.b64decode(markdown.removeprefix(prefix).removesuffix(")")))
    assert picture.tag.endswith("svg")


def test_todays_delay_and_the_surely_better_one_are_marked() -> None:
    chart = delay_chart(curves(0.1))
    assert chart is not None
    [rows] = chart.to_dict()["datasets"].values()
    assert [(row["delay_hours"], row["mark"]) for row in rows] == [(24.0, "now"), (48.0, "proposed")]
    doubtful = delay_chart(curves(0.1).with_columns(better_probability=pl.lit(0.8)))
    assert doubtful is not None
    [rows] = doubtful.to_dict()["datasets"].values()
    assert [row["mark"] for row in rows] == ["now", None]


@pytest.mark.parametrize(
    "chart",
    [
        cohort_chart(empty(CohortTriangles)),
        cohort_chart(triangles(FEWEST_FOLLOWED - 1)),
        trend_chart(empty(MetricTrends)),
        trend_chart(trends(None)),
        trend_chart(trends("holiday")),
        send_time_chart(empty(SendTimeProfiles)),
        delay_chart(empty(DelayCurves)),
        delay_chart(curves(None)),
        opportunity_chart(empty(Opportunities)),
        opportunity_chart(opportunities(None)),
    ],
)
def test_nothing_to_see_is_no_chart(chart) -> None:
    assert image(chart) == {}
