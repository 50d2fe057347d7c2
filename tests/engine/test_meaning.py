"""What the facts mean: outcomes of steps, conversions and credits, as the glossary defines them."""

from pathlib import Path

import pytest

from pipeline.events.values import LARGEST_AMOUNT
from pipeline.lake.store import Lake
from pipeline.schemas import lake
from tests.engine.story import SECOND, START, Story
from tests.engine.world import (
    DAY,
    FIRST_DAY,
    HOUR,
    build_all,
    connect,
    day_number,
    dimensions,
    engine,
    random_nights,
    step_key,
)

ONE, TWO, THREE, FOUR = (step_key("flow", step) for step in ("one", "two", "three", "four"))


@pytest.fixture
def story() -> Story:
    return Story(FIRST_DAY)


def test_a_message_counts_where_its_latest_version_says(story: Story, tmp_path: Path):
    story.sent(1, sent_at_source="computed")
    story.sent(2)
    story.write(Lake(tmp_path))
    later = Story(FIRST_DAY.replace(day=FIRST_DAY.day + 1))
    later.sent(1, at_us=START + 2 * DAY, status="soft")
    found = later.answer(
        tmp_path, "SELECT subscriber_key, day, bounce_kind, local_hour_of_week FROM core.messages ORDER BY 1"
    )
    friday = 4 * 24
    today = day_number(FIRST_DAY)
    assert found == [(1, today + 2, "soft", friday + 48 + 9 + 1), (2, today, None, friday + 9)]


OUTCOMES = [
    ([], (TWO, "timeout", 36, "stuck")),
    ([("step_entered", 30, {"workflow_id": "flow", "step_id": "two"})], (TWO, "advanced", 30, None)),
    ([("step_entered", 37, {"workflow_id": "flow", "step_id": "two"})], (TWO, "timeout", 36, "stuck")),
    ([("purchase", 5, {})], (TWO, "goal", 5, "goal")),
    ([("conversion", 5, {})], (TWO, "timeout", 36, "stuck")),
    ([("exit", 5, {"workflow_id": "flow", "reason": "completed"})], (None, "completed", 5, "completed")),
    ([("exit", 5, {"workflow_id": "flow", "reason": "goal"})], (TWO, "goal", 5, "goal")),
    ([("exit", 5, {"workflow_id": "flow", "reason": "odd"})], (TWO, "lost", 5, "unknown")),
    ([("exit", 5, {"workflow_id": "classic", "reason": "error"})], (TWO, "timeout", 36, "stuck")),
    (
        [("exit", 5, {"workflow_id": "flow", "reason": "filtered"}), ("unsubscribe", 5, {})],
        (TWO, "lost", 5, "unsubscribed"),
    ),
    ([("unsubscribe", 6, {}), ("exit", 5, {"workflow_id": "flow", "reason": "error"})], (TWO, "lost", 5, "error")),
]


def test_the_outcome_of_a_step_is_what_came_first(story: Story, tmp_path: Path):
    """Planned wait 24 hours, grace 12."""
    for who, (happenings, _) in enumerate(OUTCOMES, 1):
        story.entered(who, "one", START)
        for event_type, hours, more in happenings:
            story.happened(who, event_type, START + hours * HOUR, **more)
    sql = f"""
    SELECT to_step_key, outcome, (outcome_us - entered_us) // {HOUR}, exit_reason
    FROM core.step_entries WHERE step_key = {ONE} ORDER BY subscriber_key"""
    assert story.answer(tmp_path, sql) == [expected for _, expected in OUTCOMES]


def test_routes_are_recorded_else_taken_else_default(story: Story, tmp_path: Path):
    story.entered(1, "two", START, next_step_id="four")
    story.entered(2, "two", START)
    story.entered(2, "four", START + 40 * HOUR)
    story.entered(3, "two", START)
    story.entered(4, "two", START, next_step_id="three", assigned_delay_hours=60, is_delay_randomised=True)
    sql = f"""
    SELECT subscriber_key, to_step_key, outcome, (outcome_us - entered_us) // {HOUR}, assigned_delay_hours
    FROM core.step_entries WHERE step_key = {TWO} ORDER BY 1"""
    assert story.answer(tmp_path, sql) == [
        (1, FOUR, "timeout", 36 + 12, 36),
        (2, FOUR, "advanced", 40, 36),
        (3, THREE, "timeout", 12 + 12, 12),
        (4, THREE, "timeout", 60 + 12, 60),
    ]


def test_whoever_awaits_their_feed_is_in_no_step_until_it_is_read(story: Story, tmp_path: Path):
    """The second message may have been sent to both; before the feed is read nobody knows when, or whether."""
    for who in (1, 2):
        story.entered(who, "one", START)
        story.sent(who, "flow-one")
        story.listed(who, "flow-two", "awaited" if who == 1 else "read")
    story.write(Lake(tmp_path))
    connection = connect(dimensions(4))
    build_all(engine(connection, tmp_path))
    entered = "SELECT subscriber_key FROM core.step_entries ORDER BY 1"
    assert connection.execute(entered).fetchall() == [(2,)]
    later = Story(FIRST_DAY.replace(day=FIRST_DAY.day + 1))
    later.listed(1, "flow-two", "read")
    later.write(Lake(tmp_path))
    build_all(engine(connection, tmp_path))
    assert connection.execute(entered).fetchall() == [(1,), (2,)]


def test_without_events_sending_is_entering_and_a_queue_shows_who_waits(story: Story, tmp_path: Path):
    story.sent(1, "classic-c1")
    story.sent(1, "classic-c2", START + 25 * HOUR)
    story.sent(2, "classic-c1")
    planned = (day_number(FIRST_DAY) + 3) * DAY
    night = {"workflow_id": "classic", "step_id": "c2", "as_of_day": day_number(FIRST_DAY), "next_send_us": planned}
    story.add(lake.AutomationQueue, subscriber_key=1, **night)
    story.add(lake.AutomationQueue, subscriber_key=2, **night)
    sql = """
    SELECT subscriber_key, step.step_id, entry_source, outcome, outcome_us // 3600000000 FROM core.step_entries AS entry
    LEFT JOIN core.steps AS step ON step.step_key = entry.step_key ORDER BY 1, 2"""
    assert story.answer(tmp_path, sql) == [
        (1, "c1", "sent_to", "advanced", START // HOUR + 25),
        (1, "c2", "sent_to", "completed", START // HOUR + 25),
        (2, "c1", "sent_to", "timeout", START // HOUR + 24 + 12),
        (2, "c2", "queue", "timeout", planned // HOUR + 48),
    ]


def test_an_order_counts_once_net_of_refunds_in_one_currency(story: Story, tmp_path: Path):
    store = {"store_id": "s", "tax_cents": 100, "shipping_cents": 50, "subscriber_key": 1, "processed_us": START}
    story.happened(1, "purchase", START, order_id="both", revenue_cents=900, currency="USD")
    story.happened(1, "purchase", START + HOUR, order_id="both", revenue_cents=900, currency="USD")
    story.happened(1, "refund", START + DAY, order_id="both", revenue_cents=300, currency="USD")
    for order_id, status, currency in (
        ("both", "paid", "USD"), ("store", "paid", "USD"), ("back", "refunded", "USD"), ("off", "cancelled", "USD"),
        ("euro", "paid", "EUR"),
    ):  # fmt: skip
        story.add(lake.Orders, order_id=order_id, financial_status=status, currency=currency, total_cents=1_000,
                  **store)  # fmt: skip
    # A guest's order is nobody's.
    story.add(lake.Orders, order_id="guest", financial_status="paid", currency="USD", total_cents=1_000,
              **{**store, "subscriber_key": None})  # fmt: skip
    sql = "SELECT conversion_id, net_cents, is_order FROM core.conversions ORDER BY 1"
    assert story.answer(tmp_path, sql) == [
        ("order:both", 600, True),
        ("store:s:back", 0, True),
        ("store:s:store", 850, True),
    ]


def test_an_order_is_one_within_its_store_and_gives_back_what_it_brought_at_most(story: Story, tmp_path: Path):
    """Two stores number their orders alike. A refund that stores and events tell of is one."""
    order = {"tax_cents": 100, "shipping_cents": 50, "processed_us": START, "currency": "USD", "total_cents": 1_000}
    for store_id, who, order_id, status in (
        ("first", 1, "1001", "paid"),
        ("second", 2, "1001", "paid"),
        ("first", 3, "1002", "refunded"),
        ("first", 4, "1003", "paid"),
        ("second", 4, "1003", "paid"),
    ):
        told = {"store_id": store_id, "subscriber_key": who, "order_id": order_id, "financial_status": status}
        story.add(lake.Orders, **order, **told)
    story.happened(3, "refund", START + DAY, order_id="1002", revenue_cents=850)
    story.happened(4, "purchase", START, order_id="1003", revenue_cents=800)
    story.happened(4, "refund", START + DAY, order_id="1003", revenue_cents=1_000)
    sql = "SELECT conversion_id, subscriber_key, net_cents FROM core.conversions ORDER BY 1"
    assert story.answer(tmp_path, sql) == [
        ("order:1003", 4, 0),
        ("store:first:1001", 1, 850),
        ("store:first:1002", 3, 0),
        ("store:second:1001", 2, 850),
    ]


def test_a_goal_that_is_reached_with_an_order_is_reached(story: Story, tmp_path: Path):
    """The goal of 'classic' is a trial, that of 'flow' a purchase; nobody has 'conversion' for a goal."""
    story.sent(1)
    story.did(1, "click", START + 2 * HOUR)
    for event_type, cents in (("trial", None), ("purchase", 900), ("conversion", None)):
        story.happened(1, event_type, START + DAY, order_id="o", revenue_cents=cents)
    story.happened(2, "conversion", START + DAY, order_id="p", revenue_cents=700)
    story.add(lake.Orders, store_id="s", subscriber_key=2, order_id="p", financial_status="paid", currency="USD",
              total_cents=800, tax_cents=0, shipping_cents=0, processed_us=START + DAY)  # fmt: skip
    sql = """
    SELECT told.subscriber_key, told.event_type, told.is_order, told.net_cents, credit.conversion_id
    FROM core.conversions AS told
    LEFT JOIN core.credits AS credit ON credit.conversion_id = told.conversion_id AND credit.view = 'report'
    ORDER BY 1, 2"""
    assert story.answer(tmp_path, sql) == [
        (1, "purchase", True, 900, "order:o"),
        (1, "trial", False, 0, None),
        (2, "conversion", True, 700, None),
        (2, "purchase", False, 0, None),
    ]


def test_squares_of_revenue_hold_the_amounts_of_every_currency(story: Story, tmp_path: Path):
    """40 million dong are an order of 1,500 dollars. The largest amount that an event may tell is far larger."""
    largest = LARGEST_AMOUNT * 100 - 1
    for who, cents in enumerate((4_000_000_000, largest, largest), 1):
        story.sent(who)
        story.did(who, "click", START + 2 * HOUR)
        story.happened(who, "purchase", START + DAY, order_id=f"o{who}", revenue_cents=cents)
    sql = "SELECT net_cents, squared_cents FROM reductions.credit_days WHERE view = 'report'"
    assert story.answer(tmp_path, sql) == [(4_000_000_000 + 2 * largest, 4_000_000_000**2 + 2 * largest**2)]


def test_one_conversion_one_credit_a_view(story: Story, tmp_path: Path):
    """A human click beats a later human open in the report; Mailchimp's rule takes the last touch, machine or not."""
    for who in (1, 2, 3):
        story.sent(who)
        story.sent(who, "classic-c1", START + HOUR)
    story.did(1, "click", START + 2 * HOUR)
    story.did(1, "open", START + 3 * HOUR, campaign_id="classic-c1")
    story.did(2, "open", START + 3 * HOUR, campaign_id="classic-c1", is_bot=True)
    story.did(3, "click", START + 2 * HOUR)
    for who, days in ((1, 1), (2, 1), (3, 6)):
        story.happened(who, "purchase", START + days * DAY, order_id=f"o{who}", revenue_cents=100)
    sql = """
    SELECT subscriber_key, view, step.step_id, touch FROM core.credits AS credit
    LEFT JOIN core.steps AS step ON step.step_key = credit.step_key ORDER BY 1, 2"""
    assert story.answer(tmp_path, sql) == [
        (1, "mailchimp_compat", "c1", "open"),
        (1, "report", "campaign", "click"),
        (2, "mailchimp_compat", "c1", "open"),
        (3, "mailchimp_compat", "campaign", "click"),
    ]


def test_activity_stands_at_its_own_local_hour(story: Story, tmp_path: Path):
    """Reactions on the day of the send at the hour they came, behaviour on its own day; machines are nobody."""
    vienna, utc = 1, 2
    for who in (vienna, utc):
        story.sent(who)
    story.sent(vienna, "classic-c1", status="hard")
    story.did(vienna, "click", START + 14 * HOUR)
    story.did(utc, "open", START + HOUR)
    story.did(utc, "open", START + 2 * HOUR, is_bot=True)
    story.happened(vienna, "visit", START + 10 * DAY)
    story.happened(utc, "purchase", START + DAY, order_id="o", revenue_cents=100)
    story.happened(utc, "trial", START + DAY)
    friday, first = 4 * 24, day_number(FIRST_DAY)
    sql = """
    SELECT subscriber_key, day, local_hour_of_week, sends, human_opens, human_clicks, behaviour_events
    FROM reductions.subscriber_hours ORDER BY 1, 2, 3"""
    assert story.answer(tmp_path, sql) == [
        (vienna, first, friday + 10, 1, 0, 0, 0),
        (vienna, first, friday + 24, 0, 0, 1, 0),
        # Ten days later the clocks have gone forward.
        (vienna, first + 10, 11, 0, 0, 0, 1),
        (utc, first, friday + 9, 1, 0, 0, 0),
        (utc, first, friday + 10, 0, 1, 0, 0),
        (utc, first + 1, friday + 24 + 9, 0, 0, 0, 1),
    ]


def test_opens_of_mail_from_before_machines_were_marked_are_nobodys(story: Story, tmp_path: Path):
    before_us = 1_719_014_400_000_000 - DAY
    story.sent(2, at_us=before_us)
    story.did(2, "open", before_us + HOUR)
    story.did(2, "click", before_us + HOUR)
    sql = "SELECT SUM(human_opens), SUM(human_clicks) FROM reductions.subscriber_hours"
    assert story.answer(tmp_path, sql) == [(0, 1)]


def test_a_link_counts_the_people_who_clicked_it_in_delivered_messages(story: Story, tmp_path: Path):
    first, second = "https://example.org/a", "https://example.org/b"
    for who in (1, 2, 3, 4):
        story.sent(who, status="hard" if who == 4 else "sent")
    story.did(1, "click", START + HOUR, url=first)
    story.did(1, "click", START + 2 * HOUR, url=first)
    story.did(1, "click", START + 3 * HOUR, url=second)
    story.did(2, "click", START + HOUR, url=first, is_bot=True)
    story.did(3, "click", START + HOUR, url="https://x.list-manage.com/Unsubscribe?u=1")
    story.did(4, "click", START + HOUR, url=first)
    sql = "SELECT url, day, clicks, unique_clicks, unique_human_clicks FROM reductions.link_days ORDER BY 1"
    today = day_number(FIRST_DAY)
    assert story.answer(tmp_path, sql) == [(first, today, 3, 2, 1), (second, today, 1, 1, 1)]


def test_messages_before_a_message_are_counted_to_the_instant(story: Story, tmp_path: Path):
    """Seven days before to the second count, and one second more does not; bounced messages are none."""
    late = START + 40 * DAY
    story.sent(1, "flow-one", at_us=late)
    story.sent(1, "flow-two", at_us=late - 7 * DAY)
    story.sent(1, "flow-three", at_us=late - 7 * DAY - SECOND)
    story.sent(1, "flow-four", at_us=late - 28 * DAY)
    story.sent(1, "classic-c1", at_us=late - DAY, status="soft")
    story.sent(1, "classic-c2", at_us=late - 28 * DAY - SECOND)
    story.sent(2, "flow-one", at_us=late)
    story.did(1, "click", late + HOUR, campaign_id="flow-one")
    story.add(lake.Unsubscribes, campaign_id="flow-one", subscriber_key=2, occurred_us=late + HOUR)
    sql = f"""
    SELECT messages_7d, messages_28d, delivered, unique_human_clicks, unsubscribes
    FROM reductions.frequency_days WHERE step_key = {ONE} ORDER BY 1"""
    assert story.answer(tmp_path, sql) == [(0, 0, 1, 0, 1), (1, 3, 1, 1, 0)]


@pytest.mark.parametrize("seed", range(3))
def test_messages_before_a_message_are_those_that_a_plain_count_finds(seed: int, tmp_path: Path):
    for night in random_nights(seed, 3, 250, subscribers=6):
        night.write(Lake(tmp_path))
    connection = connect(dimensions(6))
    build_all(engine(connection, tmp_path))
    plain = """
    SELECT step_key, day, least(messages_7d, 10), least(messages_28d, 20), COUNT(*) FROM (
      SELECT one.step_key, one.day, one.subscriber_key,
        COUNT(*) FILTER (other.sent_us >= one.sent_us - 604800000000) AS messages_7d,
        COUNT(other.sent_us) AS messages_28d
      FROM core.sends AS one LEFT JOIN core.sends AS other
        ON other.subscriber_key = one.subscriber_key AND other.bounce_kind IS NULL
        AND other.sent_us >= one.sent_us - 2419200000000
        AND (other.sent_us < one.sent_us OR (other.sent_us = one.sent_us AND other.step_key < one.step_key))
      WHERE one.bounce_kind IS NULL GROUP BY ALL)
    GROUP BY ALL ORDER BY ALL"""
    found = "SELECT step_key, day, messages_7d, messages_28d, delivered FROM reductions.frequency_days ORDER BY ALL"
    assert connection.execute(found).fetchall() == connection.execute(plain).fetchall()
