from datetime import date

import pytest

from pipeline.analysis.performance.exits import exit_reasons
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.reductions import ExitDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
_, STEPS = linear_flow("welcome", "tips")


def ended(days_ago: int, reason: str, subscribers: int) -> dict:
    day = TONIGHT - days_ago
    return {"step_key": 1, "day": day - 1, "outcome_day": day, "exit_reason": reason, "subscribers": subscribers}


def test_reasons_are_shares_of_the_ends_in_their_window():
    table = exit_reasons(
        rows(ExitDays, ended(3, "stuck", 6), ended(3, "goal", 2), ended(20, "goal", 12)), STEPS, as_of=AS_OF
    )
    found = {(row["window"], row["exit_reason"]): row for row in table.iter_rows(named=True)}
    assert found["7d", "goal"]["exit_rate"] == pytest.approx(2 / 8)
    assert (found["28d", "goal"]["exits"], found["28d", "goal"]["ended"]) == (14, 20)
    assert found["7d", "stuck"]["exit_rate_low"] < 6 / 8 < found["7d", "stuck"]["exit_rate_high"]


def test_deadlines_after_tonight_are_no_exits():
    assert exit_reasons(rows(ExitDays, ended(-1, "stuck", 5)), STEPS, as_of=AS_OF).is_empty()
    assert exit_reasons(empty(ExitDays), STEPS, as_of=AS_OF).is_empty()
