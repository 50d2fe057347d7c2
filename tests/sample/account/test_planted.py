"""Every planted phenomenon is there in its planted size, and every planted null is null."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipeline.common.time import DAY_US
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.population import PLANS
from pipeline.sample.account.world import PLANTED, PROFILES, us
from pipeline.sample.account.zones import local_hour
from pipeline.settings import SAMPLE_TONIGHT

SIGNIFICANT = 1e-4
UNREMARKABLE = 0.01
PEAKS = {"morning": (6, 10), "lunch": (11, 15), "evening": (18, 22), "night": (21, 24)}


@pytest.fixture(scope="module")
def account() -> SampleAccount:
    """Everybody: what is planted shows in large numbers only."""
    return generate()


def converted_within(account: SampleAccount, entries: pl.DataFrame, days: int) -> pl.DataFrame:
    """Entries with whether their subscriber bought within so many days."""
    orders = account.orders.select("subscriber", pl.col("occurred_us").alias("bought_us"))
    joined = entries.with_row_index("entry").join(orders, on="subscriber")
    soon = (pl.col("bought_us") > pl.col("entered_us")) & (pl.col("bought_us") <= pl.col("entered_us") + days * DAY_US)
    buyers = joined.filter(soon)["entry"].unique()
    return entries.with_row_index("entry").with_columns(converted=pl.col("entry").is_in(buyers.implode()))


def chance_of_no_difference(frame: pl.DataFrame, by: str) -> float:
    table = frame.group_by(by).agg(pl.col("converted").sum(), (~pl.col("converted")).sum().alias("others"))
    return float(stats.chi2_contingency(table.select("converted", "others").to_numpy()).pvalue)


def entries_of(account: SampleAccount, place: tuple[str, ...]) -> pl.DataFrame:
    return account.entries.filter((pl.col("workflow_id") == place[0]) & (pl.col("step_id") == place[1]))


def test_one_delay_matters_and_the_other_does_not(account: SampleAccount) -> None:
    matters = converted_within(account, entries_of(account, PLANTED.delay_that_matters), 12)
    rates = dict(matters.group_by("delay_hours").agg(pl.col("converted").mean()).rows())
    assert max(rates, key=rates.__getitem__) == max(PLANTED.delay_purchase, key=PLANTED.delay_purchase.__getitem__)
    assert chance_of_no_difference(matters, "delay_hours") < SIGNIFICANT
    flat = converted_within(account, entries_of(account, PLANTED.delay_that_does_not), 20)
    assert flat["delay_hours"].n_unique() == 2
    assert chance_of_no_difference(flat, "delay_hours") > UNREMARKABLE


def test_the_running_test_has_a_lift_and_the_other_arm_none(account: SampleAccount) -> None:
    started = us(PLANTED.experiment_from)
    entries = entries_of(account, PLANTED.experiment).with_columns(
        aa=pl.Series(account.people.aa_arm)[entries_of(account, PLANTED.experiment)["subscriber"]]
    )
    exposed = converted_within(account, entries.filter(pl.col("entered_us") >= started), 7)
    rates = dict(exposed.group_by("arm").agg(pl.col("converted").mean()).rows())
    assert rates["B"] - rates["A"] > 0.5 * (PLANTED.experiment_purchase["B"] - PLANTED.experiment_purchase["A"])
    assert chance_of_no_difference(exposed, "arm") < SIGNIFICANT
    assert chance_of_no_difference(exposed, "aa") > UNREMARKABLE


def test_cohorts_differ_where_planted(account: SampleAccount) -> None:
    people = account.people
    entries = entries_of(account, PLANTED.bottleneck).with_columns(
        plan=pl.Series(np.array(PLANS)[people.plan])[entries_of(account, PLANTED.bottleneck)["subscriber"]],
        month=pl.from_epoch("entered_us", time_unit="us").dt.strftime("%Y-%m"),
    )
    frame = converted_within(account, entries, 28)
    plans = dict(frame.group_by("plan").agg(pl.col("converted").mean()).rows())
    months = dict(frame.filter(pl.col("month") < "2026-05").group_by("month").agg(pl.col("converted").mean()).rows())
    assert plans["pro"] > 1.3 * max(plans["free"], plans["basic"])
    assert max(months, key=months.__getitem__) == PLANTED.cohort_month
    equal = frame.filter(pl.col("plan") != "pro")
    assert chance_of_no_difference(equal, "plan") > UNREMARKABLE


@pytest.mark.parametrize("profile", PEAKS)
def test_people_act_at_the_hours_they_like(account: SampleAccount, profile: str) -> None:
    mine = account.people.profile == PROFILES.index(profile)
    visits = account.visits.filter(pl.Series(mine)[account.visits["subscriber"]])
    hours = local_hour(account.people.zone[visits["subscriber"].to_numpy()], visits["occurred_us"].to_numpy())
    first, last = PEAKS[profile]
    assert np.mean((hours >= first) & (hours < last)) > 2 * (last - first) / 24


def test_clicks_of_one_step_decay_slowly(account: SampleAccount) -> None:
    workflow, step = PLANTED.decay_step
    sent = account.messages.filter((pl.col("workflow_id") == workflow) & (pl.col("step_id") == step))
    clicked = pl.col("person_click_us").is_not_null().mean()
    start = us(PLANTED.decay_from)
    before = sent.filter(pl.col("sent_us") < start).select(clicked).item()
    after = sent.filter(pl.col("sent_us") >= start + 90 * DAY_US).select(clicked).item()
    expected = 1 - 3 * PLANTED.decay_share_lost_per_30_days
    assert expected / 2 < after / before < 1.5 * expected


def test_proxies_stand_behind_the_planted_share(account: SampleAccount) -> None:
    share = account.people.has_proxy.mean()
    error = (PLANTED.proxy_share * (1 - PLANTED.proxy_share) / account.people.size) ** 0.5
    assert abs(share - PLANTED.proxy_share) < 4 * error


def test_the_world_goes_on_after_tonight(account: SampleAccount) -> None:
    days = (account.messages["sent_us"].max() - us(SAMPLE_TONIGHT.isoformat())) // DAY_US
    assert days > 55
