"""Messages before the next one: classes, rates, and what the steps alone explain."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.send_time.frequency import frequency_pressure
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.reductions import FrequencyDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
MATURITY_DAYS = 5
LAST = day_number(AS_OF) - MATURITY_DAYS
WORKFLOWS, _ = linear_flow("welcome", "tips")


def sent(step: int, before: int, delivered: int, *, clicks: int = 0, unsubscribes: int = 0, day: int = LAST) -> dict:
    earlier = {"messages_7d": min(before, 10), "messages_28d": min(2 * before, 20)}
    counts = {"delivered": delivered, "unique_human_clicks": clicks, "unsubscribes": unsubscribes}
    return {"workflow_key": 1, "step_key": step, "day": day, **earlier, **counts}


def pressure(*told: dict) -> pl.DataFrame:
    days = rows(FrequencyDays, *told)
    return frequency_pressure(days, WORKFLOWS, as_of=AS_OF, days=90, maturity_days=MATURITY_DAYS)


def week(table: pl.DataFrame, workflow: str | None = None) -> dict[int, dict]:
    of_flow = pl.col("workflow_id").eq_missing(pl.lit(workflow))
    return {row["messages_from"]: row for row in table.filter(of_flow & (pl.col("period") == "7d")).to_dicts()}


def test_messages_are_classed_by_those_before_them():
    table = pressure(sent(1, 0, 100), sent(1, 5, 50), sent(1, 6, 30), sent(1, 10, 20, unsubscribes=4))
    found = week(table)
    assert {start: (row["messages_to"], row["delivered"]) for start, row in found.items()} == {
        0: (0, 100), 5: (6, 80), 10: (None, 20),
    }  # fmt: skip
    assert found[10]["unsubscribe_rate_low"] < 0.2 == found[10]["unsubscribe_rate"] < found[10]["unsubscribe_rate_high"]
    month = table.filter(pl.col("period") == "28d")
    assert month["delivered"].sum() == 2 * 200
    assert week(table, "flow") == {start: {**row, "workflow_id": "flow"} for start, row in found.items()}
    assert set(table["identification"]) == {"observational"}


def test_a_difference_that_comes_from_the_steps_alone_is_expected():
    """Nobody reacts to frequency, but the first step, which few messages precede, is clicked twice as much."""
    source = np.random.default_rng(5)
    told = []
    for step, rate in ((1, 0.4), (2, 0.2)):
        for before in range(6):
            delivered = 6_000 if (step == 1) == (before < 2) else 500
            told.append(sent(step, before, delivered, clicks=int(source.binomial(delivered, rate))))
    found = week(pressure(*told))
    assert found[0]["human_click_rate"] > 1.5 * found[5]["human_click_rate"]
    for row in found.values():
        assert row["expected_human_click_rate"] == pytest.approx(row["human_click_rate"], abs=0.02)


def test_a_reaction_to_frequency_exceeds_what_is_expected():
    told = [sent(1, before, 10_000, unsubscribes=20 + 20 * before) for before in range(5)]
    found = week(pressure(*told))
    assert found[4]["unsubscribe_rate_low"] > found[4]["expected_unsubscribe_rate"]
    assert found[0]["unsubscribe_rate_high"] < found[0]["expected_unsubscribe_rate"]


def test_messages_that_can_still_change_do_not_count():
    assert pressure(sent(1, 0, 10, day=LAST + 1)).is_empty()
    assert pressure(sent(1, 0, 10, day=LAST - 90)).is_empty()
    table = frequency_pressure(empty(FrequencyDays), WORKFLOWS, as_of=AS_OF, days=90, maturity_days=MATURITY_DAYS)
    assert table.is_empty()
