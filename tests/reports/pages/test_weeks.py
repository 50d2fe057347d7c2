"""Week by week: the sums of the days, up to tonight, also where a step has stopped."""

import html
import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.reports.pages.sections.weeks import SHOWN_WEEKS, weekly
from pipeline.reports.pages.site import file_name, write_pages
from tests.reports.pages.numbers import unfounded
from tests.worlds.published import ADDRESS, TONIGHT, account, row

MONDAY = TONIGHT - timedelta(days=TONIGHT.weekday())


def sent_on(day: date, number: int, step_id: str = "hello", *, is_mature: bool = True) -> pl.DataFrame:
    counts = {"sent": number, "delivered": number - 1, "unique_human_clicks": number // 4}
    return row("step_metrics_daily", workflow_id="welcome", step_id=step_id, day=day, is_mature=is_mature, **counts)


def test_a_week_is_the_sum_of_its_days() -> None:
    found = weekly(
        pl.concat([sent_on(MONDAY - timedelta(days=ago), 40) for ago in range(1, 15)]),
        "step_id",
        MONDAY - timedelta(days=1),
    )
    counts = ("week", "sent", "delivered", "unique_human_clicks", "rate", "is_closed")
    first, second = MONDAY - timedelta(weeks=2), MONDAY - timedelta(weeks=1)
    assert found.select(counts).rows() == [(week, 280, 273, 70, 70 / 273, True) for week in (first, second)]


@pytest.mark.parametrize("is_mature", [True, False])
def test_the_week_that_is_not_over_is_open(is_mature: bool) -> None:
    tonight = MONDAY + timedelta(days=2)
    days = [sent_on(MONDAY - timedelta(days=3), 8, is_mature=is_mature), sent_on(tonight, 8)]
    assert weekly(pl.concat(days), "step_id", tonight)["is_closed"].to_list() == [is_mature, False]


def test_a_step_that_stopped_has_empty_weeks_until_tonight() -> None:
    stopped = sent_on(MONDAY - timedelta(weeks=3), 40, "tips")
    found = weekly(stopped, "step_id", MONDAY)
    assert found["sent"].to_list() == [40, 0, 0, 0]
    assert found["rate"].to_list()[1:] == [None, None, None]
    assert found["is_over"].to_list() == [True, True, True, False]


def test_a_flow_that_stopped_altogether_has_empty_weeks_until_tonight(tmp_path: Path) -> None:
    tables = {**account([("welcome", "Welcome")]), "step_metrics_daily": sent_on(MONDAY - timedelta(days=20), 40)}
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    for page in (file_name("welcome"), "index.html"):
        text = (tmp_path / "reports" / page).read_text(encoding="utf-8")
        section = html.unescape(text.partition('<section id="weeks"')[2].partition("</section>")[0])
        assert "nothing sent; the week is not over" in section
        assert "(10 of 39); the week is not over" not in section


def test_no_more_than_half_a_year_is_shown_and_no_step_without_mail() -> None:
    days = [sent_on(MONDAY - timedelta(weeks=ago), 8) for ago in range(60)]
    found = weekly(pl.concat([*days, sent_on(MONDAY, 0, "tips")]), "step_id", MONDAY)
    assert found.height == SHOWN_WEEKS
    assert found["place"].unique().to_list() == ["hello"]


def test_the_page_shows_a_chart_for_each_step_with_numbers_of_the_mart(tmp_path: Path) -> None:
    days = [sent_on(MONDAY - timedelta(days=ago), 40 + ago, step) for ago in range(30) for step in ("hello", "tips")]
    tables = {**account([("welcome", "Welcome")]), "step_metrics_daily": pl.concat(days)}
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
    section = text.partition('<section id="weeks"')[2].partition("</section>")[0]
    assert section.count("<svg") == 2
    assert unfounded(text, tables, "welcome") == []
    assert unfounded(text, {**tables, "step_metrics_daily": pl.concat(days[:40])}, "welcome")
    last_week = sum(40 + ago for ago in range(1, 8))
    assert f": {last_week} messages sent, " in html.unescape(section)
    assert re.findall(r'<figure class="small[^"]*" tabindex="0">', section)


def test_the_account_page_shows_the_account_its_flows_and_all_campaigns_together(tmp_path: Path) -> None:
    # A flow may have the id of anything.
    flows = ("welcome", "campaigns", "march", "april")
    days = [
        sent_on(MONDAY - timedelta(days=ago), 40 + ago).with_columns(workflow_id=pl.lit(flow))
        for ago in range(30)
        for flow in flows
    ]
    tables = {**account([("welcome", "Welcome"), ("campaigns", "Other")]), "step_metrics_daily": pl.concat(days)}
    once = [row("workflows", workflow_id=name, kind="campaign") for name in flows[2:]]
    tables["workflows"] = pl.concat([tables["workflows"], *once])
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = html.unescape((tmp_path / "reports" / "index.html").read_text(encoding="utf-8"))
    section = text.partition('<section id="weeks"')[2].partition("</section>")[0]
    last_week = sum(40 + ago for ago in range(1, 8))
    told = re.findall(r'aria-label="([^,"]*), .*?: ([\d,]+) messages sent', section)
    shown = {name: int(sent.replace(",", "")) for name, sent in told}
    assert shown == {
        "The whole account": 4 * last_week, "Other": last_week, "Welcome": last_week, "Campaigns": 2 * last_week,
    }  # fmt: skip
    assert unfounded(text, tables, None) == []


def test_where_one_flow_sends_all_its_chart_stands_alone(tmp_path: Path) -> None:
    tables = account([("welcome", "Welcome")])
    tables["step_metrics_daily"] = pl.concat([sent_on(MONDAY - timedelta(days=ago), 40) for ago in range(30)])
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert text.partition('<section id="weeks"')[2].partition("</section>")[0].count("<svg") == 1
