"""The sample account is the same every time, and its truth follows from what it shows."""

from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.common.time import DAY_US, SECOND_US
from pipeline.config.flow_map import load_flow_map
from pipeline.sample.account.attribution import credit_as_mailchimp, credit_people
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.world import CURRENCY, PLANTED, SERIES
from pipeline.sample.server.view import View, look
from pipeline.sample.truth import truth
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.checkout import PROJECT_ROOT

FRAMES = ("journeys", "entries", "messages", "activity", "orders", "visits")


@pytest.fixture(scope="module")
def account() -> SampleAccount:
    """Everybody: what is planted shows in large numbers only."""
    return generate()


@pytest.fixture(scope="module")
def view(account: SampleAccount) -> View:
    return look(account, SAMPLE_TONIGHT)


@pytest.fixture(scope="module")
def known(account: SampleAccount) -> dict:
    return truth(account, SAMPLE_TONIGHT)


def test_equal_seeds_give_equal_accounts_and_others_do_not(account: SampleAccount) -> None:
    again = generate(account.seed)
    other = generate(account.seed + 1)
    assert all(getattr(account, name).equals(getattr(again, name)) for name in FRAMES)
    assert not any(getattr(account, name).equals(getattr(other, name)) for name in FRAMES)


def machine_clicks(view: View, shared_recipients: int) -> pl.DataFrame:
    """The rules of the glossary over what the API shows, as plainly as they can be written."""
    seen = view.activity.filter((pl.col("action") == "click") & (pl.col("link") != "unsubscribe"))
    seen = seen.join(view.messages.select("campaign_id", "subscriber", "sent_us"), on=["campaign_id", "subscriber"])
    lag = pl.col("occurred_us") - pl.col("sent_us")
    seen = seen.with_columns(
        rivals=pl.col("subscriber").n_unique().over("ip", pl.col("sent_us") // DAY_US),
        late=(lag >= 1_800 * SECOND_US).mean().over("ip", pl.col("sent_us") // DAY_US),
        all_links=pl.col("link").n_unique().over("campaign_id"),
    )
    is_scanner = (pl.col("rivals") >= shared_recipients) & (pl.col("late") <= 0.05) & (lag < 1_800 * SECOND_US)
    is_machine = pl.col("is_filtered") | (lag < 60 * SECOND_US) | is_scanner | machine_bursts(seen)
    return seen.with_columns(is_machine=is_machine)


def machine_bursts(seen: pl.DataFrame) -> pl.Series:
    """Clicks that are part of all three links of the message within twenty seconds, by trying every start."""
    keys = ["campaign_id", "subscriber"]
    pairs = seen.with_row_index("click").join(seen.select(*keys, "occurred_us", "link"), on=keys, suffix="_next")
    near = pairs.filter((pl.col("occurred_us_next") - pl.col("occurred_us")).is_between(0, 20 * SECOND_US))
    starts = near.group_by("click", "all_links").agg(pl.col("link_next").n_unique().alias("links"))
    starts = starts.filter(pl.col("links") == pl.col("all_links"))["click"]
    scanned = near.filter(pl.col("click").is_in(starts.to_list())).select(
        *keys, pl.col("occurred_us_next").alias("occurred_us"), pl.lit(True).alias("scanned")
    )
    joined = seen.join(scanned.unique(), on=[*keys, "occurred_us"], how="left", maintain_order="left")
    return joined["scanned"].fill_null(False)


def test_the_documented_rules_tell_people_from_machines_without_an_error(view: View, known: dict) -> None:
    clicks = machine_clicks(view, Settings().shared_ip_recipients)
    assert clicks.filter(~pl.col("is_machine") != pl.col("is_person")).is_empty()
    counted = clicks.filter(~pl.col("is_machine")).group_by("campaign_id").agg(pl.col("subscriber").n_unique()).rows()
    expected = {row["campaign_id"]: row["unique_human_clicks"] for row in known["steps"] if row["unique_human_clicks"]}
    assert dict(counted) == expected


@pytest.mark.parametrize("cause", sorted(PLANTED.scanner_shares))
def test_every_kind_of_scanner_clicks_and_the_rules_are_needed(view: View, cause: str) -> None:
    machines = view.activity.filter((pl.col("action") == "click") & ~pl.col("is_person"))
    scanner = view.account.people.scanner
    kinds = list(PLANTED.scanner_shares)
    mine = machines.filter(pl.Series(scanner[machines["subscriber"].to_numpy()]) == kinds.index(cause) + 1)
    assert 0 < mine["is_filtered"].sum() < mine.height


def test_the_bounds_on_human_opens_contain_the_truth(view: View, known: dict) -> None:
    proxies = ("104.28.", "66.249.", "72.14.")
    opens = view.activity.filter(pl.col("action") == "open").join(
        view.messages.filter(pl.col("bounce_kind").is_null()).select("campaign_id", "subscriber"),
        on=["campaign_id", "subscriber"],
    )
    from_proxy = pl.any_horizontal(pl.col("ip").str.starts_with(one) for one in proxies)
    high = dict(opens.group_by("campaign_id").agg(pl.col("subscriber").n_unique()).rows())
    low = dict(opens.filter(~from_proxy).group_by("campaign_id").agg(pl.col("subscriber").n_unique()).rows())
    for step in known["steps"]:
        if step["unique_human_opens"]:
            campaign = step["campaign_id"]
            assert low[campaign] < step["unique_human_opens"] < high[campaign]


def test_every_planted_cause_of_being_stuck_is_there_and_nobody_waiting_is_stuck(known: dict) -> None:
    causes = [row["cause"] for row in known["stuck"]]
    assert {cause: causes.count(cause) for cause in PLANTED.stuck} == PLANTED.stuck
    stuck = {(row["subscriber_key"], row["workflow_id"]) for row in known["stuck"]}
    waiting = {(row["subscriber_key"], row["workflow_id"]) for row in known["waiting"]}
    assert waiting
    assert not stuck & waiting
    assert {workflow for _, workflow in waiting} == {flow.workflow_id for flow in SERIES}


def test_the_bottleneck_loses_most(view: View) -> None:
    workflow, start, _ = PLANTED.bottleneck
    lost = view.account.journeys.filter(
        pl.col("exit_us").is_not_null() & ~pl.col("exit_reason").is_in(["goal", "completed"])
    )
    counts = lost.group_by("workflow_id", "exit_step_id").len().sort("len", descending=True)
    assert counts.row(0)[:2] == (workflow, start)
    assert counts.item(0, "len") > 3 * counts.item(1, "len")


def test_the_silent_step_is_silent_and_the_outage_has_no_clicks(view: View) -> None:
    nights = view.messages.with_columns(day=pl.from_epoch(pl.col("sent_us"), time_unit="us").dt.date())
    silent = nights.filter(
        (pl.col("workflow_id") == PLANTED.silent_step[0]) & (pl.col("step_id") == PLANTED.silent_step[1])
    )
    assert silent["day"].max() == date.fromisoformat(PLANTED.silent_days[0]) - timedelta(days=1)
    outage = nights.filter(
        (pl.col("step_id") == PLANTED.outage_step[1])
        & pl.col("day").is_between(*(date.fromisoformat(day) for day in PLANTED.outage_days))
    )
    assert outage.height > 30
    assert outage["person_click_us"].null_count() == outage.height


def test_nobody_is_mailed_after_leaving(account: SampleAccount) -> None:
    ends = pl.Series(account.unmailable_us)[account.messages["subscriber"]]
    assert (account.messages["sent_us"] < ends).all()


def test_reports_exceed_the_readable_recipients_by_the_deleted_members_only(view: View, known: dict) -> None:
    surplus = {row["campaign_id"]: row["sent"] for row in known["report_surplus"]}
    assert 0 < max(surplus.values()) <= PLANTED.deleted_members
    assert sum(surplus.values()) == view.all_messages.height - view.messages.height


def touches_before(view: View, order: dict, action: str, days: int, *, only_people: bool) -> list[dict]:
    """Touches of the order's subscriber within so many days before it, the latest first."""
    mine = view.activity.filter((pl.col("subscriber") == order["subscriber"]) & (pl.col("action") == action))
    since = order["occurred_us"] - days * DAY_US
    found = [
        row
        for row in mine.to_dicts()
        if since <= row["occurred_us"] <= order["occurred_us"]
        and (not only_people or (row["is_person"] and row["link"] != "unsubscribe"))
    ]
    return sorted(found, key=lambda row: -row["occurred_us"])


def test_credits_follow_the_two_rules_order_by_order(view: View) -> None:
    orders = view.orders.head(150)
    by_people = dict(credit_people(orders, view.activity).select("order_id", "campaign_id").rows())
    by_mailchimp = dict(credit_as_mailchimp(orders, view.activity).select("order_id", "campaign_id").rows())
    for order in orders.filter(pl.col("currency") == CURRENCY).to_dicts():
        clicks = touches_before(view, order, "click", 5, only_people=True)
        opens = touches_before(view, order, "open", 1, only_people=True)
        chosen = [*clicks[:1], *opens[:1]]
        assert by_people.get(order["order_id"]) == (chosen[0]["campaign_id"] if chosen else None)
        both = touches_before(view, order, "click", 30, only_people=False)
        both += touches_before(view, order, "open", 5, only_people=False)
        latest = max(both, key=lambda row: row["occurred_us"], default=None)
        assert by_mailchimp.get(order["order_id"]) == (latest["campaign_id"] if latest else None)


def test_only_orders_outside_flows_with_a_goal_are_in_the_other_currency(account: SampleAccount) -> None:
    foreign = account.orders.filter(pl.col("currency") != CURRENCY)["subscriber"].unique()
    goals = [flow.workflow_id for flow in SERIES if flow.goal]
    buyers = account.journeys.filter(pl.col("workflow_id").is_in(goals))["subscriber"]
    assert foreign.len() > 0
    assert not foreign.is_in(buyers.implode()).any()


def test_the_committed_flow_map_describes_the_world() -> None:
    flows = {flow.id: flow for flow in load_flow_map(PROJECT_ROOT / "data" / "definitions").flows}
    for flow in SERIES:
        written = flows[flow.workflow_id]
        assert (written.name, written.category, written.priority, written.trigger, written.goal) == (
            flow.name,
            flow.category,
            flow.priority,
            flow.trigger,
            flow.goal,
        )
        assert [(one.id, one.name, one.kind, one.status, one.campaign) for one in written.steps] == [
            (one.step_id, one.name, one.kind, one.status, flow.campaign_id(one)) for one in flow.steps
        ]
        assert [(one.delay or 0) for one in written.steps] == [one.delay_hours for one in flow.steps]
        assert [(one.grace or Settings().default_grace_hours) for one in written.steps] == [
            one.grace_hours for one in flow.steps
        ]
