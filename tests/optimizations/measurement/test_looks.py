"""The nights of many changes at once: they find what is there, and rarely what is not."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.acceptance.simulations import loop as simulation
from tests.acceptance.simulations.loop import FIRST_DAY, Traffic, changes, measured
from tests.worlds.applied import WINDOW_DAYS

CHANGES = 150
TRAFFIC = Traffic(250, 0.1)
PROMISE = 0.25


@pytest.fixture(scope="module")
def kept() -> pl.DataFrame:
    """Changes that keep their promise."""
    return measured(np.random.default_rng(1), TRAFFIC, _changes(), np.full(CHANGES, PROMISE))


@pytest.fixture(scope="module")
def nulls() -> pl.DataFrame:
    """The same changes, which do nothing."""
    return measured(np.random.default_rng(2), TRAFFIC, _changes(), np.zeros(CHANGES))


def _changes() -> list[simulation.Record]:
    return changes(np.full(CHANGES, PROMISE), TRAFFIC, 0.3)


def test_a_promise_that_is_kept_is_found_by_the_plan(kept: pl.DataFrame) -> None:
    answers = kept.filter(pl.col("as_of_day") == pl.col("answered_day"))
    assert answers.height == CHANGES
    assert answers["is_significant"].mean() > 0.7
    assert answers["realised_lift"].mean() == pytest.approx(PROMISE, abs=0.025)


def test_what_does_nothing_is_rarely_claimed(nulls: pl.DataFrame) -> None:
    claimed = nulls.group_by("optimization_id").agg(pl.col("is_significant").any())
    assert claimed["is_significant"].mean() < 0.1


def test_the_answer_is_expected_by_the_night_on_which_the_plan_ends(nulls: pl.DataFrame) -> None:
    [plan] = {one.proposal.plan for one in _changes()}
    assert plan is not None
    last = FIRST_DAY + timedelta(days=(plan.days or 0) + WINDOW_DAYS - 1)
    first = nulls.filter(pl.col("as_of_day") == FIRST_DAY + timedelta(days=WINDOW_DAYS))
    assert (first["expected_answer_day"] - last).dt.total_days().abs().max() <= 2
    ended = nulls.filter(pl.col("answered_day").is_not_null())
    assert (ended["expected_answer_day"] == ended["answered_day"]).all()


def test_a_plan_that_shows_nothing_ends_without_an_answer_and_is_watched(nulls: pl.DataFrame) -> None:
    quiet = nulls.filter(~pl.col("is_significant").any().over("optimization_id"))
    after = quiet.filter(pl.col("as_of_day") >= pl.col("answered_day"))
    assert set(after["outcome"]) <= {"ended without an answer", "less than promised"}
    assert set(quiet["phase"]) == {"planned", "watching"}


def test_what_was_told_of_the_answer_does_not_move_afterwards(kept: pl.DataFrame) -> None:
    after = kept.filter(pl.col("answered_day").is_not_null())
    told = after.group_by("optimization_id").agg(pl.col("answered_lift", "answered_day").n_unique())
    assert told.select(pl.col("answered_lift", "answered_day").max()).row(0) == (1, 1)
    on_the_night = after.filter(pl.col("as_of_day") == pl.col("answered_day"))
    assert (on_the_night["answered_lift"] == on_the_night["realised_lift"]).all()
    assert kept.filter(pl.col("answered_day") > pl.col("as_of_day")).is_empty()
