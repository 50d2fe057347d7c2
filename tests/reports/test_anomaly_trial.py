"""The trial of the detector in words: a line a metric, and a plain sentence where there is nothing to try."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.common.rates import WATCHED_RATES, WATCHED_VOLUMES
from pipeline.reports.anomaly_trial import HARMS, trial_lines

TONIGHT = date(2026, 6, 29)


def tables(days: int) -> dict[str, pl.DataFrame]:
    """A publication of one flow whose only step is entered, mailed and clicked evenly."""
    random = np.random.default_rng(4)
    sent = random.poisson(400, days)
    counts = {name: np.zeros(days, dtype=np.int64) for rate in WATCHED_RATES for name in rate[1:3]}
    counts |= {"sent": sent, "delivered": sent, "entries": sent, "prompt_human_clicks": random.binomial(sent, 0.2)}
    daily = pl.DataFrame(
        {
            "day": [TONIGHT - timedelta(days=ago) for ago in range(days)],
            "workflow_id": ["w"] * days,
            "step_id": ["s"] * days,
            "is_mature": [ago >= 5 for ago in range(days)],
            **counts,
        },
        schema_overrides={"day": pl.Date, "workflow_id": pl.String, "step_id": pl.String, "is_mature": pl.Boolean},
    )
    return {
        "step_metrics_daily": daily,
        "workflows": pl.DataFrame({"workflow_id": ["w"], "kind": ["flow"]}),
        "manifest": pl.DataFrame({"as_of": [TONIGHT.isoformat()]}),
    }


def test_every_metric_has_its_rate_and_its_delay() -> None:
    lines = trial_lines(tables(days=120), holidays=())
    told = {line.split()[0] for line in lines if line}
    assert {rate.name for rate in WATCHED_RATES} | set(WATCHED_VOLUMES) <= told
    [stop] = [line.split() for line in lines if line.startswith("prompt_human_click_rate") and "stop" in line]
    # A day's clicks are final a day later, so nothing can be told by the first night.
    assert stop[-3:] == ["0%", "100%", "100%"]
    [silence] = [line.split() for line in lines if line.startswith("sent") and "stop" in line]
    assert silence[-3:] == ["100%", "100%", "100%"]
    assert lines[-1].endswith("per 1,000.")


def test_less_harm_is_no_incident() -> None:
    lines = trial_lines(tables(days=120), holidays=())
    assert HARMS
    assert not [line for line in lines if line.split()[:1] and line.split()[0] in HARMS and "%" in line]


@pytest.mark.parametrize("days", [0, 3])
def test_too_short_a_history_is_said_to_be(days: int) -> None:
    [line] = trial_lines(tables(days), holidays=())
    assert "not enough history" in line
