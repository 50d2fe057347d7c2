"""The activity feeds: whose is read tonight, and what is kept of them. Each costs a call, so a night has a budget.

`lake.recipients` holds every message that waits for its time. What was read is written there after each thousand
people, so that a night which is cut loses no more than these, and the next one goes on behind them. Messages get into
`lake.sends` once their time is settled. Until then they count nowhere, rather than on a day that may be wrong.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl

from pipeline.common.errors import NotFoundError, SourceError
from pipeline.common.time import DAY_US
from pipeline.common.words import PROGRESS, minutes_left
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.pulls.one_by_one.planned import journey_campaigns, with_computed_times
from pipeline.mailchimp.pulls.pulling import MOST_FAILING, STOPPING, Pull
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Recipients

FEED_ENDPOINT = "/lists/{list_id}/members/{member_id}/activity-feed"
PEOPLE_A_WRITE = 1_000
SECONDS_A_MINUTE = 60.0
PERSON = ["audience_id", "subscriber_key"]
MESSAGE = ["campaign_id", "subscriber_key"]
_TOLD = {"audience_id": pl.String, "subscriber_key": pl.Int64, "campaign_id": pl.String}
_TOLD |= {"feed_us": pl.Int64, "feed_sends": pl.Int64}


@dataclass(frozen=True)
class Person:
    """Whose feed to read; nobody's can be asked for without a member id."""

    audience_id: str
    subscriber_key: int
    member_id: str | None


class Budget:
    """How many feeds may still be read in a night, and for how long. Further attempts at the night share it.

    Args:
        pull: the night's; its state remembers what earlier attempts took.
    """

    def __init__(self, pull: Pull) -> None:
        self._state, self._spent = pull.state, pull.state.section("feeds")
        self._seconds, self._feeds = pull.settings.feed_minutes * SECONDS_A_MINUTE, pull.settings.feed_calls
        if self._spent.get("night") != pull.as_of.isoformat():
            self._spent.update(night=pull.as_of.isoformat(), seconds=0.0, feeds=0)
        self._started = time.monotonic() - self._spent["seconds"]
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> bool:
        """Whether one more feed may be read."""
        with self._lock:
            is_spent = self._feeds is not None and self._spent["feeds"] >= self._feeds
            if is_spent or time.monotonic() - self._started >= self._seconds:
                return False
            self._spent["feeds"] += 1
            self.taken += 1
            return True

    def remember(self) -> None:
        """Keep what was taken, for another attempt and for estimates."""
        self._spent["seconds"] = time.monotonic() - self._started
        self._state.save_only("feeds")

    def left(self, people: int) -> str:
        """How long it takes tonight to read so many more people, in words."""
        done, seconds = self._spent["feeds"], self._spent["seconds"]
        in_time = (self._seconds - seconds) * done / seconds if done else people
        by_number = people if self._feeds is None else self._feeds - done
        return minutes_left(done, done + min(people, in_time, by_number), seconds)


class FeedReading:
    """The feeds of one night: those that fail, and those that were read and are not written yet."""

    def __init__(self, pull: Pull, waiting: pl.DataFrame) -> None:
        self._pull, self._waiting = pull, waiting
        self._budget = Budget(pull)
        self._failed: list[SourceError] = []
        self._read: dict[Person, dict[str, list[int]]] = {}
        self._is_over = False

    def run(self, people: list[Person]) -> None:
        """Read the feeds in this order, until all are read or the night's budget is spent.

        Raises:
            SourceError: if nothing of the account can be read. What was read before is kept.
        """
        blocks = _in_blocks(self._waiting, people)
        for block, first in enumerate(range(0, len(people), PEOPLE_A_WRITE)):
            last = min(first + PEOPLE_A_WRITE, len(people))
            try:
                self._pull.client.map(self._ask, people[first:last])
            finally:
                self._write(blocks[block,])
            if self._is_over:
                break
            left = self._budget.left(len(people) - last)
            PROGRESS.info("activity feeds: %s of %s people asked for, %s", f"{last:,}", f"{len(people):,}", left)
        self._pull.fail_in_part(self._failed, self._budget.taken - len(self._failed))

    def _ask(self, person: Person) -> None:
        if person.member_id is None:
            self._read[person] = {}
            return
        # A few errors may be the whole account's trouble, and each takes a whole budget of attempts.
        if self._is_over or len(self._failed) >= MOST_FAILING or not self._budget.take():
            self._is_over = True
            return
        params: dict[str, str | int] = {
            "activity_filters": "sent",
            "fields": "activity.activity_type,activity.campaign_id,activity.created_at_timestamp",
        }
        ids = {"list_id": person.audience_id, "member_id": person.member_id}
        try:
            self._read[person] = parse.feed_times(
                FEED_ENDPOINT, self._pull.client.listing(FEED_ENDPOINT, "activity", params, **ids)
            )
        except NotFoundError:  # the member was deleted
            self._read[person] = {}
        except STOPPING:
            raise
        except SourceError as error:
            self._failed.append(error)

    def _write(self, waiting: pl.DataFrame) -> None:
        read, self._read = self._read, {}
        if read:
            self._pull.add(parse.Rows(Recipients, _told(waiting, read), []))
            self._pull.write()
        self._budget.remember()


def read_feeds(pull: Pull, member_ids: pl.DataFrame) -> None:
    """Reads the feeds of those whose messages wait for their time, and settles what was read.

    Args:
        pull: the night's; `lake.recipients` holds all that waits.
        member_ids: `audience_id`, `subscriber_key`, `member_id` of tonight's recipients. They may not be known as
            members yet.

    Raises:
        SourceError: if nothing of the account can be read. What was read before is kept.
    """
    recipients = pull.lake.latest(Recipients).collect()
    if not pull.settings.feed_minutes:
        awaited = recipients.filter(pl.col("feed_state") == "awaited")
        pull.add(parse.Rows(Recipients, awaited.with_columns(feed_state=pl.lit("declined")), []))
        pull.write()
    else:
        waiting = recipients.join(_to_ask(pull, recipients), on=MESSAGE, how="semi")
        reading = FeedReading(pull, waiting)
        reading.run(_in_order(pull, recipients, waiting, member_ids))


def _to_ask(pull: Pull, recipients: pl.DataFrame) -> pl.DataFrame:
    """Messages that wait, and those whose feed may still tell the time that had to be computed."""
    settled_us = pull.end_us - timedelta(days=pull.settings.recheck_days) // timedelta(microseconds=1)
    is_recent = (pl.col("sent_at_source") == "computed") & (pl.col("sent_us") >= settled_us)
    recent = pull.lake.latest(tables.Sends).filter(is_recent).select(MESSAGE).collect()
    return pl.concat([recipients.filter(pl.col("feed_state") != "read").select(MESSAGE), recent])


def _in_order(pull: Pull, recipients: pl.DataFrame, waiting: pl.DataFrame, member_ids: pl.DataFrame) -> list[Person]:
    """Whose feed is read first: who got mail of a flow within the days that are analysed, the newest before the others.

    When that was is guessed by what is known without the feed: a recipient whom an earlier night did not list got the
    message since, for everybody else signup and planned delays tell. Opens and clicks must not tell it: those who do
    neither would come last, and the rates of those who were read would be too high until the end.
    """
    first_night = recipients.group_by("campaign_id").agg(first_night=pl.col("as_of_day").min())
    came_later = pl.when(pl.col("as_of_day") > pl.col("first_night")).then(pl.col("as_of_day") * DAY_US)
    in_flow = pl.col("campaign_id").is_in(journey_campaigns(pull.lake, pull.settings))
    since_us = pull.end_us - pull.settings.funnel_days * DAY_US
    guessed = with_computed_times(
        waiting.join(first_night, on="campaign_id"), pull.lake, pull.settings, pull.end_us
    ).with_columns(guess_us=pl.coalesce(came_later, "computed_us", 0), is_in_flow=in_flow)
    people = guessed.group_by(PERSON).agg(
        is_needed=(pl.col("is_in_flow") & (pl.col("guess_us") >= since_us)).any(), newest_us=pl.col("guess_us").max()
    )
    by_address = pull.lake.addresses().select("subscriber_key", address_id="member_id")
    ids = member_ids.unique(PERSON, keep="first")
    named = (
        people.join(ids, on=PERSON, how="left")
        .join(by_address, on="subscriber_key", how="left")
        .sort("is_needed", "newest_us", *PERSON, descending=[True, True, False, False])
        .with_columns(
            pl.when(pl.col("audience_id") != "").then(pl.coalesce("member_id", "address_id")).alias("member_id")
        )
    )
    return [Person(*row) for row in named.select(*PERSON, "member_id").iter_rows()]


def _in_blocks(waiting: pl.DataFrame, people: list[Person]) -> dict[tuple[Any, ...], pl.DataFrame]:
    """The waiting messages of each block of people that is written at once, by the number of the block."""
    schema = {name: _TOLD[name] for name in PERSON}
    order = pl.DataFrame([(one.audience_id, one.subscriber_key) for one in people], schema=schema, orient="row")
    numbered = order.with_columns(block=pl.int_range(pl.len()) // PEOPLE_A_WRITE)
    of_people = waiting.join(numbered, on=PERSON, maintain_order="left")
    return of_people.partition_by("block", as_dict=True, include_key=False)


def _told(waiting: pl.DataFrame, read: dict[Person, dict[str, list[int]]]) -> pl.DataFrame:
    """The waiting messages of the people who were read, with what their feeds told."""
    asked = pl.DataFrame([(one.audience_id, one.subscriber_key) for one in read], schema=PERSON, orient="row")
    times = pl.DataFrame(list(_rows(read)), schema=_TOLD, orient="row")
    return (
        waiting.drop("feed_us", "feed_sends")
        .join(asked, on=PERSON, how="semi")
        .join(times, on=[*PERSON, "campaign_id"], how="left")
        .with_columns(feed_state=pl.lit("read"))
    )


def _rows(read: dict[Person, dict[str, list[int]]]) -> Iterator[tuple[str, int, str, int, int]]:
    """What each feed tells of a campaign: the first time of sending, which counts, and how many there are."""
    for person, told in read.items():
        for campaign_id, times in told.items():
            yield person.audience_id, person.subscriber_key, campaign_id, times[0], len(times)
