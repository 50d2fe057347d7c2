"""What of the sample account can be seen at the end of a day: nothing later has happened, the deleted are gone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from pipeline.common.time import end_of_day_us
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.world import EVERY_FLOW, Array, Flow, Step


@dataclass(frozen=True)
class View:
    """Facts before `now_us`; frames as in `account`, with later instants null.

    `messages` and `activity` leave out deleted members; `all_messages` and `all_activity` are what totals count.
    """

    account: SampleAccount
    now_us: int
    messages: pl.DataFrame
    activity: pl.DataFrame
    all_messages: pl.DataFrame
    all_activity: pl.DataFrame
    orders: pl.DataFrame
    members: Array  # subscribers that exist
    status: Array  # Mailchimp's status, per subscriber
    changed_us: Array  # per subscriber

    @property
    def now(self) -> datetime:
        """The server's clock."""
        return datetime.fromtimestamp(self.now_us / 1e6, UTC)


def look(account: SampleAccount, as_of: date) -> View:
    """The account as it stands at the end of `as_of`."""
    now = end_of_day_us(as_of)
    people = account.people
    exists = (people.signup_us < now) & (people.deleted_us >= now)
    messages = account.messages.filter(pl.col("sent_us") < now).with_columns(
        pl.when(pl.col(name) < now).then(pl.col(name)).alias(name)
        for name in ("bounce_us", "unsubscribed_us", "complained_us", "person_open_us", "person_click_us")
    )
    messages = messages.with_columns(pl.when(pl.col("bounce_us").is_not_null()).then(pl.col("bounce_kind")))
    activity = account.activity.filter(pl.col("occurred_us") < now)
    left = account.unmailable_us < now
    status = np.where(
        left, np.where(account.unmailable_reason == "hard_bounce", "cleaned", "unsubscribed"), "subscribed"
    )
    status = np.where(people.archived_us < now, "archived", status)
    changed = people.signup_us.copy()
    for moment in (account.unmailable_us, people.archived_us):
        changed = np.where(moment < now, np.maximum(changed, moment), changed)
    present = pl.col("subscriber").is_in(np.flatnonzero(exists))
    return View(
        account=account,
        now_us=now,
        messages=messages.filter(present),
        activity=activity.filter(present),
        all_messages=messages,
        all_activity=activity,
        orders=account.orders.filter(pl.col("occurred_us") < now),
        members=np.flatnonzero(exists),
        status=status,
        changed_us=changed,
    )


def campaigns_at(now_us: int) -> list[tuple[Flow, Step, str]]:
    """Flow, step and campaign id of every campaign that exists; deleted ones leave no tombstone."""
    return [
        (flow, step, campaign_id)
        for flow in EVERY_FLOW
        for step in flow.steps
        if (campaign_id := flow.campaign_id(step)) and step.status != "deleted" and flow.created_us < now_us
    ]
