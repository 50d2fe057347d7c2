"""How long it takes to read an account, before it is read: calls, minutes and nights by source, and what each is for.

Counts of calls are exact where a source has a call a page or a person. Times rest on one time a call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from pipeline.common.words import counted
from pipeline.mailchimp.paging import PAGE_SIZE
from pipeline.settings import Settings

SECONDS_A_CALL = 0.3
"""Time of a call as accounts tell it. Once a night has read feeds, its own pace counts."""
# Sent-to, the activity with and without bots, and the details of opens list people; three more lists are short.
LISTS_OF_PEOPLE, SHORT_LISTS = 4, 3


@dataclass(frozen=True)
class SourcePlan:
    """One source of the first night: its calls, their time, and what the tables lack without it."""

    source: str
    calls: int
    minutes: float
    nights: int
    loss: str


def feed_nights(people: int, settings: Settings, seconds_a_feed: float | None = None) -> int:
    """Nights that the feeds of so many people take under the budget of the settings.

    Args:
        people: whose feeds are not read yet.
        settings: minutes and feeds a night.
        seconds_a_feed: what a feed took so far, with all connections at work; none before the first.
    """
    pace = seconds_a_feed or SECONDS_A_CALL / settings.max_connections
    a_night = int(settings.feed_minutes * 60 / pace)
    return ceil(people / max(min(a_night, settings.feed_calls or a_night), 1))


def feeds_left(people: int, settings: Settings, seconds_a_feed: float | None = None) -> str:
    """In words what the feeds of so many people take. Arguments as `feed_nights`."""
    nights = feed_nights(people, settings, seconds_a_feed)
    return f"{counted(people, 'call is', 'calls are')} left, about {counted(nights, 'night', 'nights')}"


def first_night(members: int, recipients: Sequence[int], people: int, settings: Settings) -> list[SourcePlan]:
    """The sources whose calls grow with the account.

    Args:
        members: contacts in all audiences.
        recipients: messages sent of each campaign.
        people: who got messages one by one. No more than the members.
        settings: connections and the budget for feeds.
    """

    def plan(source: str, calls: int, loss: str, nights: int = 1) -> SourcePlan:
        return SourcePlan(source, calls, calls * SECONDS_A_CALL / settings.max_connections / 60, nights, loss)

    of_people = sum(LISTS_OF_PEOPLE * ceil(number / PAGE_SIZE) + SHORT_LISTS for number in recipients)
    return [
        plan("members", ceil(members / PAGE_SIZE), "who is subscribed, cohorts by signup, time zones, all decisions"),
        plan("activity of campaigns", of_people, "opens, clicks and bounces, and with them every rate and test"),
        plan("activity feeds", people, FEEDS_LOSS, feed_nights(people, settings)),
    ]


FEEDS_LOSS = (
    "the true time of messages sent one by one: days and hours of `step_metrics_daily`, `time_to_next_step`, `funnel`, "
    "`delay_curves` and `send_time_profiles`, and the marks of machines that rest on the time since sending"
)
