from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.performance.attribution import revenue_attribution
from pipeline.common.time import day_number
from pipeline.schemas.reductions import CreditDays, StepDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
_, STEPS = linear_flow("welcome", "tips")


def credit(step: int, days_ago: int, view: str, cents: int) -> dict:
    return {
        "step_key": step,
        "day": TONIGHT - days_ago,
        "view": view,
        "conversions": 1,
        "orders": 1,
        "net_cents": cents,
    }


def attribute(*credits: dict):
    sends = rows(StepDays, *({"step_key": step, "day": TONIGHT - 2, "delivered": 10} for step in (1, 2)))
    return revenue_attribution(rows(CreditDays, *credits), sends, STEPS, as_of=AS_OF, currency="USD")


def test_views_stand_apart_and_shares_are_within_view_and_window():
    table = attribute(
        credit(1, 2, "report", 3000), credit(2, 2, "report", 1000), credit(1, 2, "mailchimp_compat", 9000)
    )
    week = {(row["step_id"], row["view"]): row for row in table.filter(window="7d").iter_rows(named=True)}
    assert week["welcome", "report"]["revenue_share"] == pytest.approx(0.75)
    assert week["welcome", "mailchimp_compat"]["revenue_share"] == pytest.approx(1.0)
    assert week["tips", "report"]["revenue_amount"] == Decimal("10.00")
    assert week["tips", "report"]["revenue_per_recipient_amount"] == pytest.approx(1.0)


def test_more_refunds_than_sales_have_no_shares():
    assert attribute(credit(1, 2, "report", -500)).item(0, "revenue_share") is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-10_000, 10_000_000), min_size=1, max_size=20, unique=True))
def test_not_a_cent_is_lost_or_made(cents: list[int]):
    table = attribute(*(credit(1 + place % 2, place, "report", amount) for place, amount in enumerate(cents)))
    assert table.filter(window="all")["revenue_amount"].sum() == Decimal(sum(cents)) / 100
