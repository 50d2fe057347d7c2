"""The account beside its industry: the latest report counts, and what is no share is left out."""

from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.analysis.industry import industry
from pipeline.schemas.base import empty
from pipeline.schemas.lake import Reports
from pipeline.schemas.performance import StepMetricsDaily
from tests.worlds.facts import rows

AS_OF = date(2026, 6, 29)
RATES = {"open_rate": 0.36, "click_rate": 0.05, "bounce_rate": 0.01, "unsubscribe_rate": 0.01, "complaint_rate": 0.001}


def report(number: int, **changes: float | str | None) -> dict:
    told = {f"industry_{name}": rate for name, rate in {**RATES, **changes}.items()}
    return {"campaign_id": str(number), "sent_us": number, "industry_type": "Retail", **told}


def daily(days_ago: int, **counts: int) -> pl.DataFrame:
    day = empty(StepMetricsDaily).schema
    blank = {name: 0 for name, kind in day.items() if kind.is_numeric()}
    given = {**blank, **counts, "day": AS_OF - timedelta(days=days_ago), "workflow_id": "w", "step_id": "s"}
    filled = {"currency": "USD", "is_mature": True, "definition_version": "1"}
    return pl.DataFrame([{**given, **filled}], schema=day)


MAIL = daily(3, sent=1_000, delivered=990, hard_bounces=6, soft_bounces=4, unique_opens=500, unique_clicks=50,
             unsubscribes=1)  # fmt: skip


def test_each_rate_stands_beside_that_of_the_latest_report():
    reports = rows(Reports, report(2, open_rate=0.4), report(1))
    found = {row["metric"]: row for row in industry(MAIL, reports, as_of=AS_OF).to_dicts()}
    assert {name: row["industry_rate"] for name, row in found.items()} == {**RATES, "open_rate": 0.4}
    assert found["open_rate"]["account_rate"] == pytest.approx(500 / 990)
    assert found["bounce_rate"]["account_rate"] == pytest.approx(10 / 1_000)
    assert {name: row["comparison"] for name, row in found.items()} == {
        "open_rate": "above", "click_rate": "no clear difference", "bounce_rate": "no clear difference",
        "unsubscribe_rate": "below", "complaint_rate": "no clear difference",
    }  # fmt: skip


def test_old_mail_does_not_count_and_without_mail_nothing_is_compared():
    found = industry(daily(90, sent=10, delivered=10), rows(Reports, report(1)), as_of=AS_OF)
    assert found["account_rate"].null_count() == found.height == len(RATES)
    assert set(found["comparison"]) == {"no clear difference"}


def test_what_is_no_share_or_not_told_has_no_row():
    odd = rows(Reports, report(1, open_rate=36.1, click_rate=None))
    assert sorted(industry(MAIL, odd, as_of=AS_OF)["metric"]) == ["bounce_rate", "complaint_rate", "unsubscribe_rate"]
    silent = rows(Reports, {**report(1), "industry_type": None})
    assert industry(MAIL, silent, as_of=AS_OF).is_empty()
