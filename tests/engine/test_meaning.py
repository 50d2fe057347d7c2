"""What the facts mean: marks of machines, outcomes of steps, conversions and credits, as the glossary defines them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.lake.store import Lake
from pipeline.schemas import lake
from tests.engine.world import (
    DAY,
    FIRST_DAY,
    HOUR,
    PARAMETERS,
    Night,
    build_all,
    connect,
    day_number,
    dimensions,
    engine,
    random_nights,
    step_key,
)

SUBSCRIBERS = 40
SECOND = 1_000_000
START = day_number(FIRST_DAY) * DAY + 9 * HOUR
ONE, TWO, THREE, FOUR = (step_key("flow", step) for step in ("one", "two", "three", "four"))


class Story(Night):
    """A night told in short sentences."""

    def sent(self, who: int, campaign_id: str = "campaign-campaign", at_us: int = START, **more: object) -> None:
        told = {"sent_at_source": "feed", "status": "sent", **more}
        self.add(lake.Sends, campaign_id=campaign_id, subscriber_key=who, sent_us=at_us, **told)

    def did(self, who: int, action: str, at_us: int, campaign_id: str = "campaign-campaign", **more: object) -> None:
        told = {"url": "" if action != "click" else "https://example.org/a", "is_image_proxy": False, "is_bot": False}
        self.add(lake.EmailActivity, campaign_id=campaign_id, subscriber_key=who, action=action, occurred_us=at_us,
                 **{**told, "ip_key": who, **more})  # fmt: skip

    def happened(self, who: int, event_type: str, at_us: int, **more: object) -> None:
        self.add(lake.Events, event_id=f"{who}-{event_type}-{at_us}-{more}", occurred_us=at_us, event_type=event_type,
                 subscriber_key=who, properties="{}", **more)  # fmt: skip

    def entered(self, who: int, step_id: str, at_us: int, **more: object) -> None:
        self.happened(who, "step_entered", at_us, workflow_id="flow", step_id=step_id, **more)

    def answer(self, tmp_path: Path, sql: str) -> list[tuple]:
        self.write(Lake(tmp_path))
        connection = connect(dimensions(SUBSCRIBERS))
        build_all(engine(connection, tmp_path))
        return connection.execute(sql).fetchall()


@pytest.fixture
def story() -> Story:
    return Story(FIRST_DAY)


def causes_of(story: Story, tmp_path: Path) -> dict[int, list[str | None]]:
    """The marks of each subscriber's engagements, in the order of time."""
    found = story.answer(
        tmp_path, "SELECT subscriber_key, machine_cause FROM core.engagements ORDER BY subscriber_key, occurred_us, url"
    )
    causes: dict[int, list[str | None]] = {}
    for who, cause in found:
        causes.setdefault(who, []).append(cause)
    return causes


def link(number: int) -> str:
    return f"https://example.org/{number}"


def with_links(story: Story, count: int) -> None:
    for number in range(count):
        story.add(lake.ClickDetails, campaign_id="campaign-campaign", link_id=str(number), url=link(number),
                  total_clicks=9, unique_clicks=9)  # fmt: skip


def clicked(story: Story, who: int, lag_seconds: int, pauses: Sequence[int], **more: object) -> None:
    """The links of the message one after another, with these pauses between them."""
    at_us = START + lag_seconds * SECOND
    for number, pause in enumerate((*pauses, 0)):
        story.did(who, "click", at_us, url=link(number), **more)
        at_us += pause * SECOND


def test_what_mailchimp_tells_and_what_nobody_can_have_done_is_marked(story: Story, tmp_path: Path):
    opened = START + HOUR
    for who in range(1, 20):
        story.sent(who, status="hard" if who == 5 else "sent", sent_at_source="computed" if who in (12, 13) else "feed")
    story.did(1, "open", opened)
    story.add(lake.OpenDetails, campaign_id="campaign-campaign", subscriber_key=1, occurred_us=opened,
              is_proxy_open=True)  # fmt: skip
    story.did(2, "open", opened, is_bot=True, is_image_proxy=True)
    story.did(3, "open", opened, is_image_proxy=True)
    story.did(4, "open", START - SECOND)
    story.did(5, "open", opened)
    story.did(5, "bounce", opened + 4 * SECOND)
    story.did(6, "click", START + 60 * SECOND - 1)
    story.did(7, "click", START + 60 * SECOND)
    story.did(8, "open", START + 10 * SECOND - 1)
    story.did(9, "open", START + 10 * SECOND)
    story.did(10, "click", opened, url="https://x.list-manage.com/unsubscribe?u=1")
    story.did(11, "open", opened)
    story.did(12, "open", START - SECOND)
    story.did(13, "click", START + SECOND)
    assert causes_of(story, tmp_path) == {
        1: ["proxy"], 2: ["bot_filter"], 3: ["image_proxy"], 4: ["before_delivery"], 5: ["before_delivery"],
        6: ["too_fast"], 7: [None], 8: ["too_fast"], 9: [None], 10: ["unsubscribe_link"], 11: [None], 12: [None],
        13: [None],
    }  # fmt: skip


def test_link_after_link_is_a_scan_from_its_beginning_to_its_end(story: Story, tmp_path: Path):
    """A run that begins soon after sending goes on, however slow; later runs are marked if nobody reads so fast."""
    with_links(story, 4)
    for who in range(1, 12):
        story.sent(who)
    clicked(story, 1, 50, [60, 20, 20])
    clicked(story, 2, 50, [61])
    clicked(story, 3, 100, [10])
    clicked(story, 4, 100, [11])
    clicked(story, 5, 3_600, [10, 10, 10])
    clicked(story, 6, 3_600, [10, 10, 11])
    clicked(story, 7, 3_600, [5, 5])
    clicked(story, 8, 3_600, [5, 6])
    clicked(story, 9, 3_600, [1])
    clicked(story, 10, 3_600, [2, 2, 2])
    story.did(10, "click", START + 2 * HOUR)
    assert causes_of(story, tmp_path) == {
        1: ["too_fast"] + ["early_run"] * 3, 2: ["too_fast", None], 3: ["early_run"] * 2, 4: [None] * 2,
        5: ["all_links"] * 4, 6: [None] * 4, 7: ["all_links"] * 3, 8: [None] * 3, 9: [None] * 2,
        10: ["all_links"] * 4 + [None],
    }  # fmt: skip


def test_both_of_two_links_are_a_scan_only_within_three_seconds(story: Story, tmp_path: Path):
    with_links(story, 2)
    for who, pause in ((1, 3), (2, 4)):
        story.sent(who)
        clicked(story, who, 3_600, [pause])
    assert causes_of(story, tmp_path) == {1: ["all_links"] * 2, 2: [None] * 2}


def test_an_address_is_a_machine_if_it_acts_as_soon_as_mail_is_sent(story: Story, tmp_path: Path):
    """77 acts for many within half an hour, 78 for one fewer; 79 for three within two minutes, 80 for two alone."""
    many = PARAMETERS["shared_ip_recipients"]
    for who in range(1, 40):
        story.sent(who)
    for who in range(1, 1 + many):
        story.did(who, "click", START + (1_799 - who) * SECOND, ip_key=77)
    for who in range(10, 10 + many - 1):
        story.did(who, "click", START + (1_799 - who) * SECOND, ip_key=78)
    for who, lag in ((20, 100), (21, 119), (23, 90), (22, 600)):
        story.did(who, "click", START + lag * SECOND, ip_key=79)
    for who, lag in ((30, 100), (31, 119), (32, 600)):
        story.did(who, "click", START + lag * SECOND, ip_key=80)
    story.did(22, "click", START + HOUR, ip_key=79)
    found = causes_of(story, tmp_path)
    assert {found[who][0] for who in range(1, 1 + many)} == {"shared_ip"}
    assert {found[who][0] for who in range(10, 10 + many - 1)} == {None}
    assert [found[who] for who in (20, 21, 22)] == [["shared_ip"], ["shared_ip"], ["shared_ip", None]]
    assert [found[who] for who in (30, 31, 32)] == [[None]] * 3


def test_an_office_of_forty_behind_one_address_is_human(story: Story, tmp_path: Path):
    for who in range(1, 41):
        story.sent(who)
        story.did(who, "open", START + who * 4 * 60 * SECOND, ip_key=77)
        story.did(who, "click", START + (who * 4 + 1) * 60 * SECOND, ip_key=77)
    causes = causes_of(story, tmp_path)
    assert len(causes) == 40
    assert {cause for marks in causes.values() for cause in marks} == {None}


def test_an_open_that_came_with_a_machines_clicks_is_the_machines(story: Story, tmp_path: Path):
    with_links(story, 3)
    for who in range(1, 6):
        story.sent(who)
    clicked(story, 1, 50, [1, 1], ip_key=5)
    story.did(1, "open", START + 21 * SECOND, ip_key=6)
    story.did(1, "open", START + HOUR, ip_key=1)
    clicked(story, 2, 600, [1, 1], ip_key=5)
    story.did(2, "open", START + 590 * SECOND, ip_key=5)
    story.did(2, "open", START + 595 * SECOND, ip_key=2)
    assert causes_of(story, tmp_path) == {
        1: ["with_clicks", "too_fast", "too_fast", "too_fast", None],
        2: ["with_clicks", None, "all_links", "all_links", "all_links"],
    }


@pytest.mark.parametrize(("later", "cause"), [(100, None), (99, "rush")])
def test_far_more_opens_than_the_senders_own_pace_are_a_rush(later: int, cause: str | None, tmp_path: Path):
    """Twenty in half a minute, against as many in ten minutes as make five, or hardly fewer, of half a minute."""
    story = Story(FIRST_DAY)
    for who in range(1, 21 + later):
        story.sent(who)
        story.did(who, "open", START + (40 if who <= 20 else 300 + who) * SECOND)
    found = causes_of(story, tmp_path)
    assert {found[who][0] for who in range(1, 21)} == {cause}
    assert {found[who][0] for who in range(21, 21 + later)} == {None}


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
        ("order:back", 0, True),
        ("order:both", 600, True),
        ("order:store", 850, True),
    ]


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
