"""Days of the week: found where they matter, not invented where they do not."""

import numpy as np
import polars as pl

from pipeline.analysis.send_time.counts import HOURS, count_hours
from pipeline.analysis.send_time.profiles import Profiles
from pipeline.analysis.send_time.weekdays import SIGNIFICANCE, best_weekdays

SENDS = {"subscriber_key": pl.Int64, "local_hour": pl.Int64, "is_engaged": pl.Boolean}


def histogram(rng: np.random.Generator, factors: np.ndarray, *, subscribers: int = 300, bout: int = 1) -> pl.DataFrame:
    """Everybody is mailed five times a weekday at noon; an engagement comes as `bout` opens."""
    key, day = (index.ravel() for index in np.indices((subscribers, 7)))
    rate = rng.uniform(0.1, 0.3, subscribers)[key] * factors[day]
    return pl.DataFrame(
        {
            "subscriber_key": key,
            "local_hour_of_week": day * HOURS + 12,
            "sends": np.full(len(key), 5),
            "human_clicks": np.zeros(len(key), dtype=int),
            "human_opens": rng.binomial(5, rate) * bout,
            "behaviour_events": np.zeros(len(key), dtype=int),
        }
    )


def find(hours: pl.DataFrame) -> int:
    block = count_hours(hours, pl.DataFrame(schema=SENDS))
    alike = np.full((1, HOURS), 1 / HOURS)
    one_cluster = Profiles(np.ones(HOURS), alike[0], (np.zeros(len(block), dtype=np.int8),), alike)
    return int(best_weekdays([block], one_cluster)[0])


def test_a_day_that_matters_is_found():
    factors = np.array([1.0, 1.5, 1.0, 1.0, 1.0, 0.8, 0.8])
    assert find(histogram(np.random.default_rng(1), factors)) == 1


def test_equal_days_are_rarely_told_apart_even_when_people_open_in_bouts():
    rng = np.random.default_rng(2)
    found = [find(histogram(rng, np.ones(7), subscribers=60, bout=3)) >= 0 for _ in range(300)]
    assert np.mean(found) <= SIGNIFICANCE + 3 * np.sqrt(SIGNIFICANCE / 300)


def test_one_day_and_no_engagement_name_none():
    hours = histogram(np.random.default_rng(3), np.ones(7))
    assert find(hours.filter(pl.col("local_hour_of_week") == 12)) == -1
    assert find(hours.with_columns(human_opens=pl.lit(0))) == -1
