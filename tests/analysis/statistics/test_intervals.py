import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from pipeline.analysis.statistics.intervals import rate_with_interval, wilson_bounds

COUNTS = st.integers(1, 10**9).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


def interval(numerator: int, denominator: int) -> dict[str, float | None]:
    frame = pl.DataFrame({"clicks": [numerator], "delivered": [denominator]})
    return frame.select(rate_with_interval("click_rate", "clicks", "delivered")).row(0, named=True)


@settings(deadline=None)
@given(COUNTS)
def test_interval_equals_statsmodels_and_holds_the_rate(counts: tuple[int, int]):
    found = interval(*counts)
    low, high = proportion_confint(*counts, method="wilson")
    assert found["click_rate_low"] == pytest.approx(low, abs=1e-9)
    assert found["click_rate_high"] == pytest.approx(high, abs=1e-9)
    assert 0 <= found["click_rate_low"] <= found["click_rate"] <= found["click_rate_high"] <= 1


@pytest.mark.parametrize("counts", [(0, 0), (5, 4)])
def test_what_is_no_share_has_no_rate(counts: tuple[int, int]):
    assert set(interval(*counts).values()) == {None}


def test_effective_trials_need_not_be_whole():
    low, high = wilson_bounds(pl.lit(0.5), pl.lit(2.5))
    wide = pl.select(low, high.alias("high")).row(0)
    narrow = interval(2, 4)
    assert wide[0] < narrow["click_rate_low"]
    assert wide[1] > narrow["click_rate_high"]
