"""A release with a test of waits, some nights long, on the stand-in account."""

from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.common.time import HOUR_US, end_of_day_us, start_of_day_us
from pipeline.sample.account.world import WINBACK
from pipeline.sample.reacting import Built
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.acceptance.loop import worlds
from tests.acceptance.loop.loops import opened

FIRST, LAST = date(2026, 6, 20), date(2026, 6, 28)


@pytest.fixture(scope="module")
def world() -> worlds.Released:
    with opened(people=2_500) as (ledger, folder):
        made = worlds.Released(ledger, {})
        made.built = Built(released_from_us=start_of_day_us(FIRST))
        made.settle_in(folder)
        waits = (worlds.SHORT, worlds.LONG)
        made.draft = worlds.draft(WINBACK.workflow_id, "miss-you", worlds.WAIT_FIELD, waits, FIRST, minimum_lift=2.0)
        for night in made.nights(FIRST, LAST, 2):
            if night == FIRST:
                made.take_release(night)
                made.take(worlds.is_kind(Kind.EXPERIMENT_START), night)
            made.let_in(night, 2)
        made.live(LAST + timedelta(days=2))
        yield made


def test_each_person_is_let_in_after_the_wait_that_was_drawn(world: worlds.Released) -> None:
    arms = world.tables["experiment_assignments"].select("subscriber_key", "arm")
    mail = world.account.view.messages.filter(step_id="miss-you").select(subscriber_key="subscriber", sent_us="sent_us")
    came = world.account.world.asked.select(subscriber_key="subscriber", came_us="entered_us")
    waited = (
        mail.join(came, on="subscriber_key")
        .join(arms, on="subscriber_key")
        .with_columns(hours=(pl.col("sent_us") - pl.col("came_us")) / HOUR_US)
    )
    assert set(waited["arm"]) == {worlds.SHORT, worlds.LONG}
    assert waited.filter(arm=worlds.LONG)["hours"].min() >= float(worlds.LONG)
    assert waited.filter(arm=worlds.SHORT)["hours"].max() < float(worlds.LONG)
    # Whoever waits the longest has come by the third night before the last.
    early = came.filter(pl.col("came_us") < end_of_day_us(LAST - timedelta(days=4)))
    left = pl.Series(world.account.world.unmailable_us)[early["subscriber_key"]] < world.account.view.now_us
    assert set(early.filter(~left)["subscriber_key"]) <= set(waited["subscriber_key"])


def test_nobody_is_let_in_or_mailed_twice(world: worlds.Released) -> None:
    assert world.account.starts().height > 10
    assert world.account.doubled() == 0


def test_a_message_counts_for_the_test_with_the_arm_that_was_drawn(world: worlds.Released) -> None:
    world.close(LAST + timedelta(days=2))
    shares = world.tables["experiment_assignments"].filter("is_served")
    assert set(shares["arm"]) == {worlds.SHORT, worlds.LONG}
    assert world.tables["experiments"]["status"].to_list() == ["running"]
