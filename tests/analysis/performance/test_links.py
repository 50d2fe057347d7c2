"""Clicks by link: shares of the people who clicked, and links that nobody clicked."""

from datetime import date

import polars as pl
import pytest

from pipeline.analysis.performance.links import step_links
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.lake import ClickDetails
from pipeline.schemas.reductions import LinkDays, StepDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
_, STEPS = linear_flow("welcome", "tips")
STEPS = STEPS.with_columns(campaign_id=pl.col("step_id") + "-mail")
SHOP, BLOG, FOOTER = (f"https://example.org/{name}" for name in ("shop", "blog", "footer"))


def clicked(days_ago: int, url: str, people: int) -> dict:
    counts = {"clicks": 2 * people, "unique_clicks": people + 1, "unique_human_clicks": people}
    return {"step_key": 1, "day": TONIGHT - days_ago, "url": url, **counts}


def sent(days_ago: int, messages: int) -> dict:
    return {"step_key": 1, "day": TONIGHT - days_ago, "sent": messages, "delivered": messages}


def listed(url: str, campaign_id: str = "welcome-mail") -> dict:
    return {"campaign_id": campaign_id, "link_id": url, "url": url}


def test_people_are_counted_by_link_and_window():
    clicks = rows(LinkDays, clicked(3, SHOP, 30), clicked(3, BLOG, 10), clicked(20, SHOP, 5))
    table = step_links(clicks, rows(StepDays, sent(3, 100), sent(20, 50)), empty(ClickDetails), STEPS, as_of=AS_OF)
    found = {(row["window"], row["url"]): row for row in table.iter_rows(named=True)}
    assert found["7d", SHOP]["click_share"] == pytest.approx(30 / 40)
    assert found["28d", SHOP]["click_share"] == pytest.approx(35 / 45)
    month = found["28d", SHOP]
    assert (month["delivered"], month["clicks"], month["unique_clicks"]) == (150, 70, 37)
    assert month["human_click_rate_low"] < month["human_click_rate"] == 35 / 150 < month["human_click_rate_high"]
    assert set(table["workflow_id"]) == {"flow"}


def test_a_link_that_nobody_clicked_stands_beside_the_others_and_unsubscribing_does_not():
    details = rows(ClickDetails, listed(SHOP), listed(FOOTER), listed("https://a.list-manage.com/Unsubscribe?u=1"))
    table = step_links(rows(LinkDays, clicked(3, SHOP, 30)), rows(StepDays, sent(3, 100)), details, STEPS, as_of=AS_OF)
    week = table.filter(pl.col("window") == "7d")
    assert dict(week.select("url", "unique_human_clicks").rows()) == {SHOP: 30, FOOTER: 0}
    assert week["click_share"].sum() == 1


def test_where_nothing_was_sent_or_clicked_no_share_is_made_up():
    details = rows(ClickDetails, listed(SHOP), listed(BLOG, "tips-mail"))
    table = step_links(empty(LinkDays), rows(StepDays, sent(3, 100)), details, STEPS, as_of=AS_OF)
    assert set(table["step_id"]) == {"welcome"}
    assert table["click_share"].null_count() == table.height
    assert set(table["human_click_rate"]) == {0.0}
