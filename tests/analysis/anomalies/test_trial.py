"""The detector's trial on a history: a stop is found at once where there is much to miss, and quiet stays quiet."""

import polars as pl
import pytest

from pipeline.analysis.anomalies.trial import EFFECTS, trial_on_history
from pipeline.common.rates import WATCHED_RATES
from tests.analysis.anomalies.courses import TONIGHT, history


def watched(steps: int, sends: int = 400) -> pl.DataFrame:
    """The history with every count that is watched; all but prompt clicks and sends are zero."""
    nothing = {rate.numerator: pl.lit(0, dtype=pl.Int64) for rate in WATCHED_RATES}
    counts = nothing | {"entries": pl.lit(0), "delivered": pl.col("sent"), "prompt_human_clicks": pl.col("clicks")}
    return history(steps=steps, sends=sends).with_columns(**counts)


def test_stops_of_a_busy_step_are_found_and_the_history_itself_is_quiet():
    tried = trial_on_history(watched(steps=4, sends=600), as_of_day=TONIGHT)
    of_clicks = tried.filter(pl.col("metric") == "prompt_human_click_rate")
    stop, halving = (of_clicks.row(by_predicate=pl.col("effect") == effect, named=True) for effect in EFFECTS)
    assert (stop["series"], stop["found_3_rate"], stop["found_7_rate"]) == (4, 1.0, 1.0)
    assert stop["alarms_per_thousand"] <= 1000 * 2 / stop["step_days"]
    assert halving["found_1_rate"] <= stop["found_1_rate"]


def test_a_silent_volume_is_found_the_first_night():
    tried = trial_on_history(watched(steps=2), as_of_day=TONIGHT)
    stop = tried.filter((pl.col("metric") == "sent") & (pl.col("effect") == "stop"))
    assert stop["found_1_rate"].to_list() == [1.0]


@pytest.mark.parametrize("days", [0, 5])
def test_too_short_a_history_is_not_judged(days):
    short = watched(steps=1).head(days)
    tried = trial_on_history(short, as_of_day=short["day"].max() or TONIGHT)
    assert tried.is_empty() or set(tried["status"]) == {"not enough data"}
