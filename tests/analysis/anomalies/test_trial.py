"""The detector's trial on a history: a stop is found at once where there is much to miss, and quiet stays quiet."""

import polars as pl
import pytest

from pipeline.analysis.anomalies.trial import trial_on_history
from tests.analysis.anomalies.test_anomalies import RATES, TONIGHT, history


def test_stops_of_a_busy_step_are_found_and_the_history_itself_is_quiet():
    tried = trial_on_history(history(steps=4, sends=600), as_of_day=TONIGHT, rates=RATES, volumes=["sent"])
    stop = tried.filter((pl.col("metric") == "click_rate") & (pl.col("effect") == "stop")).row(0, named=True)
    assert (stop["series"], stop["found_3_rate"], stop["found_7_rate"]) == (4, 1.0, 1.0)
    assert stop["alarms_per_thousand"] <= 1000 * 2 / stop["step_days"]
    halving = tried.filter((pl.col("metric") == "click_rate") & (pl.col("effect") == "halving")).row(0, named=True)
    assert halving["found_1_rate"] <= stop["found_1_rate"]


def test_a_silent_volume_is_found_the_first_night():
    tried = trial_on_history(history(steps=2), as_of_day=TONIGHT, rates=RATES, volumes=["sent"])
    stop = tried.filter((pl.col("metric") == "sent") & (pl.col("effect") == "stop"))
    assert stop["found_1_rate"].to_list() == [1.0]


@pytest.mark.parametrize("days", [0, 5])
def test_too_short_a_history_is_not_judged(days):
    tried = trial_on_history(history().head(days), as_of_day=TONIGHT, rates=RATES, volumes=[])
    assert tried.is_empty() or set(tried["status"]) == {"not enough data"}
