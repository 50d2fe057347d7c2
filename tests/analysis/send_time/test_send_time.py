"""Send times: the oracle's uplift, honest fallbacks, and what never happens."""

from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from statsmodels.stats.proportion import proportion_confint

from pipeline.analysis.send_time.counts import HOURS, count_hours
from pipeline.analysis.send_time.profiles import fit_profiles
from pipeline.analysis.send_time.rates import PSEUDO_EXPECTED, cluster_rates, exposure, membership, overall_rate
from pipeline.analysis.send_time.subscribers import MINIMUM_SENDS, SendTimes, analyse_send_times, with_zones
from tests.acceptance.simulations import send_time as simulation
from tests.worlds.send_times import Population, population

TONIGHT = date(2026, 3, 1)
HISTOGRAM = {
    "subscriber_key": pl.Int64,
    "local_hour_of_week": pl.Int64,
    "sends": pl.Int64,
    "human_clicks": pl.Int64,
    "human_opens": pl.Int64,
    "behaviour_events": pl.Int64,
}
SENDS = {"subscriber_key": pl.Int64, "local_hour": pl.Int64, "is_engaged": pl.Boolean}


@pytest.fixture(scope="module")
def world():
    return population(np.random.default_rng(4), subscribers=1_500, sends=30)


@pytest.fixture(scope="module")
def result(world):
    return analyse_send_times([(world.hours, world.sends)], as_of_day=TONIGHT)


def mailed(sends: int, *, engaged: int = 0, hour: int = 9, key: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One subscriber mailed at one hour."""
    hours = pl.DataFrame([(key, hour, sends, engaged, 0, 3)], schema=HISTOGRAM, orient="row")
    rows = [(key, hour, number < engaged) for number in range(sends)]
    return hours, pl.DataFrame(rows, schema=SENDS, orient="row")


def test_counts_agree_with_the_input(world, result):
    assert result.clusters["subscribers"].sum() == world.truth.shape[0]
    assert result.profiles["sends"].sum() == len(world.sends)
    assert result.clusters["engagements"].sum() == world.sends["is_engaged"].sum()
    shares = result.profiles.group_by("cluster_id").agg(pl.col("activity_share").sum())
    np.testing.assert_allclose(shares["activity_share"], 1.0)


def test_cluster_rates_are_exposure_corrected_and_shrunk(world):
    """An hour in a cluster: (engaged + 60 x account's ratio) / (expected + 60), recomputed with Polars."""
    blocks = [count_hours(world.hours, world.sends)]
    overall, profiles = overall_rate(blocks), fit_profiles(blocks)
    rates = cluster_rates(blocks, overall, profiles)
    people = pl.DataFrame(
        {
            "subscriber_key": blocks[0].subscriber_key,
            "cluster": profiles.clusters[0],
            "rate": exposure(blocks[0], overall).rate,
        }
    )
    rows = world.sends.join(people, on="subscriber_key")
    engaged, expected = pl.col("is_engaged").sum(), pl.col("rate").sum().cast(pl.Float64)
    account = rows.group_by("local_hour").agg(account=(engaged + PSEUDO_EXPECTED) / (expected + PSEUDO_EXPECTED))
    cells = (
        rows.group_by("cluster", "local_hour").agg(engaged=engaged, expected=expected).join(account, on="local_hour")
    )
    ratio = (pl.col("engaged") + PSEUDO_EXPECTED * pl.col("account")) / (pl.col("expected") + PSEUDO_EXPECTED)
    for cell in cells.with_columns(ratio=ratio).iter_rows(named=True):
        assert rates.ratio[cell["cluster"], cell["local_hour"]] == pytest.approx(cell["ratio"], rel=1e-4)


def test_rates_have_wilson_intervals(result):
    row = result.clusters.row(0, named=True)
    low, high = proportion_confint(row["engagements"], row["sends"], method="wilson")
    assert (row["engagement_rate_low"], row["engagement_rate_high"]) == pytest.approx((low, high))


def test_clusters_find_the_kinds_of_day(world):
    """People whose behaviour peaks at night and those whose peaks at noon are never in one cluster."""
    profiles = fit_profiles([count_hours(world.hours, world.sends)])
    peaks = profiles.centres.argmax(axis=1)
    assert {hour for hour in peaks if hour >= 19}
    assert {hour for hour in peaks if hour in (11, 12, 13)}


def test_membership_is_a_probability(world):
    block = count_hours(world.hours, world.sends)
    overall, profiles = overall_rate([block]), fit_profiles([block])
    rates = cluster_rates([block], overall, profiles)
    weights = membership(profiles.events(block), exposure(block, overall), profiles, rates)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("sends", [1, MINIMUM_SENDS - 1])
def test_few_sends_keep_todays_hour_and_say_so(world, sends):
    """Beside a well-known audience, a newcomer keeps the hour of his mails."""
    hours, rows = mailed(sends, hour=33, key=10_000_000)
    result = analyse_send_times(
        [
            (world.hours.select(*HISTOGRAM).cast(HISTOGRAM), world.sends.select(*SENDS).cast(SENDS)),
            (hours, rows.with_columns(local_hour=pl.lit(9, pl.Int64))),
        ],
        as_of_day=TONIGHT,
    )
    row = result.subscribers.filter(pl.col("subscriber_key") == 10_000_000).row(0, named=True)
    assert (row["recommended_local_hour"], row["fallback_level"]) == (9, "current hour")
    assert (row["status"], row["sends_needed"]) == ("not enough data", MINIMUM_SENDS - sends)
    assert row["confidence_probability"] is None


@pytest.mark.parametrize("behaviour", [0.0, 1.0])
def test_where_all_mail_went_out_at_one_hour_nobody_is_moved(behaviour: float):
    """Hours that were never used are unknown, whatever people do at them."""
    told = {"subscribers": 1_000, "sends": 20, "single_hour": 10, "randomised_share": 0.0}
    world = population(np.random.default_rng(6), behaviour_per_send=behaviour, **told)
    found = analyse_send_times([(world.hours, world.sends)], as_of_day=TONIGHT)
    assert found.subscribers.select("recommended_local_hour", "fallback_level", "status").unique().rows() == [
        (10, "current hour", "unknown hours")
    ]
    known = found.profiles.filter(pl.col("engagement_ratio").is_not_null())
    assert set(known["local_hour"]) == {10}
    assert set(found.clusters["best_local_hour"]) == {10}


def test_without_behaviour_only_drawn_hours_move_anybody():
    world = population(np.random.default_rng(6), subscribers=1_000, sends=30, behaviour_per_send=0.0)
    moved = {}
    for is_told in (False, True):
        sends = world.sends.with_columns(is_drawn=pl.col("is_randomised") & is_told)
        rows = analyse_send_times([(world.hours, sends)], as_of_day=TONIGHT).subscribers
        moved[is_told] = (rows["recommended_local_hour"] != rows["current_local_hour"]).mean()
    assert moved[False] == 0
    assert moved[True] > 0.5


def test_only_allowed_hours_are_recommended(world):
    allowed = [9, 10, 18]
    rows = analyse_send_times([(world.hours, world.sends)], as_of_day=TONIGHT, allowed_hours=allowed).subscribers
    assert set(rows.filter(pl.col("status") == "ok")["recommended_local_hour"]) <= set(allowed)


def test_hours_that_do_not_exist_are_refused(world):
    with pytest.raises(ValueError, match="from 0 to 23"):
        analyse_send_times([(world.hours, world.sends)], as_of_day=TONIGHT, allowed_hours=[24])


def test_no_rows_no_engagement_and_engagement_always():
    empty = analyse_send_times([(pl.DataFrame(schema=HISTOGRAM), pl.DataFrame(schema=SENDS))], as_of_day=TONIGHT)
    assert (empty.clusters.height, empty.profiles.height, empty.subscribers.height) == (0, 0, 0)
    never = analyse_send_times([mailed(30)], as_of_day=TONIGHT)
    assert never.clusters.item(0, "best_local_hour") is None
    assert never.subscribers.item(0, "status") == "no engagement"
    assert never.subscribers.item(0, "recommended_local_hour") == 9
    always = analyse_send_times([mailed(30, engaged=30)], as_of_day=TONIGHT)
    for frame in (never, always):
        numbers = frame.profiles.select(pl.selectors.float()).to_numpy()
        assert np.isfinite(numbers[~np.isnan(numbers)]).all()
        assert not frame.profiles.select(pl.selectors.float().is_nan().any()).to_numpy().any()


def test_a_single_subscriber_is_like_nobody_else():
    found = analyse_send_times([mailed(30, engaged=10)], as_of_day=TONIGHT).subscribers
    assert found.select("subscriber_key", "current_local_hour").rows() == [(1, 9)]


def test_behaviour_before_the_first_mail_has_no_hour_of_today():
    hours, _ = mailed(0)
    row = analyse_send_times([(hours, pl.DataFrame(schema=SENDS))], as_of_day=TONIGHT).subscribers.row(0, named=True)
    assert (row["current_local_hour"], row["recommended_local_hour"]) == (None, None)
    assert row["sends_needed"] == MINIMUM_SENDS


def test_order_of_rows_does_not_matter(world, result):
    shuffled = analyse_send_times(
        [
            (
                world.hours.sample(fraction=1.0, shuffle=True, seed=1),
                world.sends.sample(fraction=1.0, shuffle=True, seed=2),
            )
        ],
        as_of_day=TONIGHT,
    )
    assert shuffled.profiles.select("sends", "engagements").equals(result.profiles.select("sends", "engagements"))
    same = shuffled.subscribers["recommended_local_hour"] == result.subscribers["recommended_local_hour"]
    assert same.mean() > 0.999


def test_people_in_blocks_get_what_they_get_together(world: Population, result: SendTimes) -> None:
    """Blocks of unequal size: counts, clusters and hours are equal, and floats up to the last digits of single ones."""
    edges = [0, 500, 501, 1_500]
    blocks = [
        tuple(rows.filter(pl.col("subscriber_key").is_between(low, high - 1)) for rows in (world.hours, world.sends))
        for low, high in pairwise(edges)
    ]
    found = analyse_send_times(blocks, as_of_day=TONIGHT)
    for name in ("clusters", "profiles", "subscribers"):
        assert_frame_equal(getattr(found, name), getattr(result, name), rel_tol=1e-3, abs_tol=1e-4)


def test_one_very_busy_person_is_counted_in_full_beside_others() -> None:
    """50,000 events of one person in one hour, and 700,000 of another, are held as they are."""
    rows = [(1, 9, 1, 0, 0, 3), (2, 9, 50_000, 0, 0, 255), (3, 9, 700_000, 0, 0, 256)]
    hours = pl.DataFrame(rows, schema=HISTOGRAM, orient="row")
    block = count_hours(hours, pl.DataFrame(schema=SENDS))
    assert block.sends[:, 9].tolist() == [1, 50_000, 700_000]
    assert block.behaviour[:, 9].tolist() == [3, 255, 256]
    assert block.engagements.itemsize == 1


def test_the_day_of_the_week_is_folded_away():
    hours = pl.DataFrame([(7, day * HOURS + 5, 1, 0, 0, 2) for day in range(7)], schema=HISTOGRAM, orient="row")
    counts = count_hours(hours, pl.DataFrame(schema=SENDS))
    assert counts.behaviour[0, 5] == 14
    assert counts.sends.sum() == 7


def test_acceptance_in_small():
    missed = [check for check in simulation.run(scale=0.1) if not check.holds]
    assert not missed


def test_everybody_has_the_weekday_of_their_cluster(result: SendTimes) -> None:
    days = dict(result.clusters.select("cluster_id", "best_local_weekday").iter_rows())
    own = result.subscribers.select("cluster_id", "best_local_weekday").unique()
    assert dict(own.iter_rows()) == {cluster: days[cluster] for cluster in own["cluster_id"]}


def test_hours_are_told_with_the_zone_that_they_are_in(result: SendTimes) -> None:
    found = result.subscribers
    first, *others = found["subscriber_key"]
    zones = pl.DataFrame({"subscriber_key": [first, -1], "zone": ["Asia/Kolkata", "UTC"]})
    told = with_zones(found, zones.lazy())
    assert told["subscriber_key"].to_list() == [first, *others]
    assert told["time_zone"].to_list() == ["Asia/Kolkata", *[None] * len(others)]
