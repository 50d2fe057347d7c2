from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.performance.step_metrics import step_metrics, step_metrics_daily, workflow_metrics
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.reductions import CreditDays, EntryDays, StepDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
MATURITY_DAYS = 5
WORKFLOWS, STEPS = linear_flow("welcome", "tips")

ADDED = pl.DataFrame(
    schema={"workflow_id": pl.String, "window": pl.String}
    | {f"incremental_revenue_amount{end}": pl.Float64 for end in ("", "_low", "_high")}
)


def daily(step_days: pl.DataFrame, entry_days: pl.DataFrame | None = None, credit_days: pl.DataFrame | None = None):
    return step_metrics_daily(
        step_days,
        empty(EntryDays) if entry_days is None else entry_days,
        empty(CreditDays) if credit_days is None else credit_days,
        STEPS,
        WORKFLOWS,
        as_of=AS_OF,
        maturity_days=MATURITY_DAYS,
        currency="USD",
    )


def sent(day: int, sent: int, **more: int) -> dict[str, int]:
    return {"workflow_key": 1, "step_key": 1, "day": day, "sent": sent, "delivered": sent, **more}


def window(frame: pl.DataFrame, name: str) -> dict:
    return frame.filter(window=name).row(0, named=True)


def test_windows_add_up_days_and_end_tonight():
    days = [TONIGHT + 1, TONIGHT, TONIGHT - 6, TONIGHT - 7, TONIGHT - 27, TONIGHT - 28, TONIGHT - 200]
    metrics = step_metrics(daily(rows(StepDays, *(sent(day, 2**place) for place, day in enumerate(days)))), as_of=AS_OF)
    assert {row["window"]: row["sent"] for row in metrics.iter_rows(named=True)} == {
        "7d": 2 + 4,
        "28d": 2 + 4 + 8 + 16,
        "90d": 2 + 4 + 8 + 16 + 32,
        "all": 2 + 4 + 8 + 16 + 32 + 64,
    }
    assert window(metrics, "7d")["first_day"] == AS_OF - timedelta(days=6)


def test_a_silent_step_keeps_its_row_with_zeros_and_no_rates():
    row = window(step_metrics(daily(rows(StepDays, sent(TONIGHT - 100, 50))), as_of=AS_OF), "28d")
    assert (row["sent"], row["delivered"], row["click_rate"], row["revenue_per_recipient_amount"]) == (0, 0, None, None)


def test_human_opens_are_unknown_where_machines_cannot_be_told_apart():
    facts = rows(
        StepDays,
        sent(TONIGHT - 40, 100, unique_opens=50, unique_human_opens=50, unmarked_sent=100),
        sent(TONIGHT - 2, 100, unique_opens=60, unique_human_opens=20, unique_human_engagements=20),
    )
    metrics = step_metrics(daily(facts), as_of=AS_OF)
    assert window(metrics, "all")["unique_human_opens"] is None
    assert window(metrics, "all")["human_open_rate_low"] is None
    assert window(metrics, "all")["human_open_rate_high"] == pytest.approx(110 / 200)
    assert window(metrics, "7d")["human_open_rate_low"] == pytest.approx(20 / 100)


def test_maturity_counts_the_messages_that_have_stopped_moving():
    facts = rows(StepDays, sent(TONIGHT - MATURITY_DAYS, 10), sent(TONIGHT - MATURITY_DAYS + 1, 3))
    per_day = daily(facts)
    assert per_day.sort("day")["is_mature"].to_list() == [True, False]
    row = window(step_metrics(per_day, as_of=AS_OF), "all")
    assert (row["mature_sent"], row["sent"], row["is_mature"]) == (10, 13, False)


def test_both_views_of_revenue_stand_side_by_side_and_are_exact():
    credit = {"workflow_key": 1, "step_key": 1, "day": TONIGHT - 3}
    credits = rows(
        CreditDays,
        {**credit, "view": "report", "conversions": 2, "net_cents": 1999},
        {**credit, "view": "mailchimp_compat", "conversions": 5, "net_cents": 10_001},
    )
    row = window(step_metrics(daily(rows(StepDays, sent(TONIGHT - 3, 10)), credit_days=credits), as_of=AS_OF), "7d")
    assert (row["conversions"], row["revenue_amount"]) == (2, Decimal("19.99"))
    assert (row["mailchimp_compat_conversions"], row["mailchimp_compat_revenue_amount"]) == (5, Decimal("100.01"))
    assert row["revenue_per_recipient_amount"] == pytest.approx(1.999)


def test_workflow_sums_its_steps_and_counts_entrants_at_its_first():
    entries = rows(
        EntryDays,
        {"workflow_key": 1, "step_key": 1, "day": TONIGHT, "entries": 7},
        {"workflow_key": 1, "step_key": 2, "day": TONIGHT, "entries": 4},
    )
    facts = rows(StepDays, sent(TONIGHT, 6), {**sent(TONIGHT, 3), "step_key": 2})
    row = window(workflow_metrics(daily(facts, entries), STEPS, ADDED, as_of=AS_OF), "7d")
    assert (row["entrants"], row["entries"], row["sent"]) == (7, 11, 9)


def test_incremental_revenue_stands_beside_the_attributed_where_a_hold_out_tells_it():
    added = pl.DataFrame([["flow", "7d", 100.0, -20.0, 220.0]], schema=ADDED.schema, orient="row")
    table = workflow_metrics(daily(rows(StepDays, sent(TONIGHT, 6))), STEPS, added, as_of=AS_OF)
    told = [window(table, "7d")[f"incremental_revenue_amount{end}"] for end in ("", "_low", "_high")]
    assert told == [100.0, -20.0, 220.0]
    assert window(table, "28d")["incremental_revenue_amount"] is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_click_to_open_bounds_hold_every_truth(messages: list[tuple[bool, bool, bool]]):
    """Whoever of the marked opens were people, clicks over openers or clickers lies between the bounds."""
    opened = [is_open or is_marked for is_open, is_marked, _ in messages]
    clicked = [is_click for *_, is_click in messages]
    facts = rows(
        StepDays,
        sent(
            TONIGHT,
            len(messages),
            unique_opens=sum(opened),
            unique_human_opens=sum(is_open for is_open, *_ in messages),
            unique_human_clicks=sum(clicked),
            unique_human_engagements=sum(is_open or is_click for is_open, _, is_click in messages),
        ),
    )
    row = window(step_metrics(daily(facts), as_of=AS_OF), "7d")
    for truth in (opened, [is_open for is_open, *_ in messages]):
        engaged = sum(is_open or is_click for is_open, is_click in zip(truth, clicked, strict=True))
        if engaged:
            rate = sum(clicked) / engaged
            assert row["click_to_open_rate_low"] <= rate + 1e-12
            assert row["click_to_open_rate_high"] is None or rate <= row["click_to_open_rate_high"] + 1e-12


def test_an_empty_account_gives_empty_tables():
    nothing = daily(empty(StepDays))
    assert nothing.is_empty()
    assert step_metrics(nothing, as_of=AS_OF).is_empty()
    assert workflow_metrics(nothing, STEPS, ADDED, as_of=AS_OF).is_empty()
