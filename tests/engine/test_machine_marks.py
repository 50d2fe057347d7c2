"""Marks of machines by the models of `sql/`: by cases, and against scanners and people whose truth is known."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.schemas import lake
from tests.acceptance.simulations import machine_marks as simulation
from tests.engine.story import SECOND, START, Story
from tests.engine.world import FIRST_DAY, HOUR, PARAMETERS


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


def test_acceptance_in_small():
    missed = [check for check in simulation.run(scale=0.1) if not check.holds]
    assert not missed
