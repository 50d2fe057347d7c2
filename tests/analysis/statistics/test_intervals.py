import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from pipeline.analysis.statistics.intervals import mean_amount_with_interval, rate_with_interval, wilson_bounds

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


@pytest.mark.parametrize("rate", [5e-324, 1e-17, 1 - 2**-52, 1 - 2**-53])
@pytest.mark.parametrize("trials", [0.5, 3.0, 7.7, 1e3, 1e9])
def test_close_to_0_and_1_the_interval_holds_the_share(rate: float, trials: float) -> None:
    ends = wilson_bounds(pl.lit(rate), pl.lit(trials))
    low, high = pl.select(ends[0].alias("low"), ends[1].alias("high")).row(0)
    assert 0 <= low <= rate <= high <= 1


@pytest.mark.parametrize("counts", [(0, 0), (5, 4)])
def test_what_is_no_share_has_no_rate(counts: tuple[int, int]):
    assert set(interval(*counts).values()) == {None}


def test_effective_trials_need_not_be_whole():
    low, high = wilson_bounds(pl.lit(0.5), pl.lit(2.5))
    wide = pl.select(low, high.alias("high")).row(0)
    narrow = interval(2, 4)
    assert wide[0] < narrow["click_rate_low"]
    assert wide[1] > narrow["click_rate_high"]


def means(amounts: list[np.ndarray], messages: int) -> pl.DataFrame:
    """The mean amount of samples of messages, most of which earned nothing; each array is what the others earned."""
    frame = pl.DataFrame(
        {
            "total": [float(sample.sum()) for sample in amounts],
            "squares": [float((sample**2).sum()) for sample in amounts],
            "messages": [messages] * len(amounts),
        }
    )
    return frame.select(mean_amount_with_interval("mean", total="total", squares="squares", trials="messages"))


@pytest.mark.parametrize("buyers", [12, 40, 150])
@pytest.mark.parametrize(("spread", "least"), [(0.3, 0.94), (0.8, 0.94), (1.2, 0.92)])
def test_the_interval_of_a_mean_of_mostly_zeros_holds_the_truth(buyers: int, spread: float, least: float):
    """Orders come by chance and are log-normal; 2,000 worlds have a standard error of half a percent."""
    source = np.random.default_rng(buyers)
    messages, truth = 20_000, buyers / 20_000 * np.exp(spread**2 / 2)
    worlds = [np.exp(spread * source.standard_normal(number)) for number in source.poisson(buyers, 2_000)]
    found = means(worlds, messages).drop_nulls()
    assert found.height > 0.85 * len(worlds)
    held = found.select(((pl.col("mean_low") <= truth) & (pl.col("mean_high") >= truth)).mean()).item()
    assert least <= held <= 0.998


def test_two_orders_tell_no_interval_and_nothing_sent_no_mean():
    one, none, back = means([np.array([10.0, 10.0]), np.array([]), np.array([-5.0, -4.0])], 100).rows()
    assert one == (0.2, None, None)
    assert none == (0.0, None, None)
    assert back[1:] == (None, None)
    assert means([np.array([])], 0).row(0) == (None, None, None)
