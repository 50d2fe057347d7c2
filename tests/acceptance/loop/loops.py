"""The four loops, from the first record to the realised lift, each beside what is true."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl

from pipeline.common.sticky_hash import is_held_out
from pipeline.common.time import DAY_US, end_of_day_us, start_of_day_us
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.realised import DAYS_UNTIL_REACHED
from pipeline.optimizations.record import Proposal
from pipeline.sample.account import population
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.told import read_said, said_at
from pipeline.sample.account.world import ONBOARDING, PLANTED, WINBACK
from pipeline.sample.reacting import Built
from pipeline.sample.server.journey_steps import RELEASE_EVENT
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.acceptance.loop import worlds
from tests.acceptance.loop.truth import Line, bought, field_line, first_messages, is_about, lived


@dataclass(frozen=True)
class Plan:
    """The days of a loop: first night, last night, days from night to night, and how many people sign up in all."""

    first: date
    last: date
    every: int
    people: int


@dataclass
class Closed:
    """What a loop came to.

    Attributes:
        loop: its name.
        promised: lift that the record promised; none if it promised none.
        realised, low, high: lift with its interval.
        truth: the lift that is true of the world.
        people: how many got the change, and how many were kept out.
        doubled: messages beyond the first of one e-mail to one person, and starts beyond the first.
        more: further counts that must be zero, by what they count.
    """

    loop: str
    promised: float | None
    realised: float
    low: float
    high: float
    truth: float
    people: tuple[int, int]
    doubled: int
    more: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the truth lies in the interval, nobody got a message twice, and every further count is zero."""
        return self.low <= self.truth <= self.high and not self.doubled and not any(self.more.values())


@contextmanager
def opened(people: int) -> Iterator[tuple[Ledger, Path]]:
    """A ledger and a folder, while so many people sign up in the sample world."""
    with TemporaryDirectory(prefix="driptune-loop-") as folder, patch.object(population, "NEW_SUBSCRIBERS", people):
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
        try:
            yield ledger, Path(folder)
        finally:
            ledger.close()


def drawn_test(plan: Plan) -> Closed:
    """A test that driptune draws, from its start to the winner, and to what the winner brings."""
    with opened(plan.people) as (ledger, folder):
        world = worlds.Drawn(ledger, {})
        world.settle_in(folder)
        world.draft = worlds.draft(
            ONBOARDING.workflow_id, "tips", "TIPS", ("three", "one"), plan.first, minimum_lift=1.0
        )
        winner = None
        for night in world.nights(plan.first, plan.last, plan.every):
            if night == plan.first:
                world.take(worlds.is_kind(Kind.EXPERIMENT_START), night)
            elif winner is None and world.wanted(worlds.is_kind(Kind.EXPERIMENT_WINNER)):
                winner, since = world.take(worlds.is_kind(Kind.EXPERIMENT_WINNER), night), night
        assert winner is not None, "the test found no winner"
        shares = [_share_by_value(world, winner, since, night, "TIPS", value, ["tips"]) for value in ("one", "three")]
        return _closed("a drawn test, from start to winner to lift", world, winner, night, shares[0] / shares[1] - 1)


def path_policy(plan: Plan) -> Closed:
    """A path policy, from the delivery to the switch, and to what the switch brings."""
    with opened(plan.people) as (ledger, folder):
        world = worlds.Paths(ledger, {}, one=worlds.route())
        world.settle_in(folder)
        switch, wrong, told = None, 0, 0
        for night in world.nights(plan.first, plan.last, plan.every):
            if night == plan.first:
                delivery = world.take(worlds.is_kind(Kind.PATH_POLICY, policy=None), night)
                continue
            wrong += wrongly_told(world, delivery, night)
            told += world.tables["path_decisions"].height
            if switch is None:
                switches = [made for made in world.proposals() if made.after.get("policy")]
                if switches:
                    switch, since = world.take(lambda made: bool(made.after.get("policy")), night), night
        assert switch is not None, "no better policy was found"
        arms = ("power", "nudge")
        of_arm = [_share_by_value(world, switch, since, night, "ROUTE", arm, arms) for arm in arms]
        powered = [_share_with_power(world, switch, night, is_out=is_out) for is_out in (False, True)]
        applied, kept_out = (share * of_arm[0] + (1 - share) * of_arm[1] for share in powered)
        served = world.learnt_of_route()
        false = {
            f"of {told:,} decisions, is_served is wrong": wrong,
            f"of {served.height:,} served decisions, not held or not gone": wrongly_served(world, served),
        }
        return _closed(
            "a path policy, from delivery to switch to lift", world, switch, night, applied / kept_out - 1, false
        )


def released_waits(plan: Plan) -> Closed:
    """A release with a test of waits, from both records to the winner, and to what the winner brings."""
    with opened(plan.people) as (ledger, folder):
        world = worlds.Released(ledger, {})
        world.built = Built(released_from_us=start_of_day_us(plan.first))
        world.settle_in(folder)
        waits = (worlds.SHORT, worlds.LONG)
        world.draft = worlds.draft(
            WINBACK.workflow_id, "miss-you", worlds.WAIT_FIELD, waits, plan.first, minimum_lift=2.0
        )
        winner = None
        for night in world.nights(plan.first, plan.last, plan.every):
            if night == plan.first:
                world.take_release(night)
                world.take(worlds.is_kind(Kind.EXPERIMENT_START), night)
            elif winner is None and world.wanted(worlds.is_kind(Kind.EXPERIMENT_WINNER)):
                winner, since = world.take(worlds.is_kind(Kind.EXPERIMENT_WINNER), night), night
            world.let_in(night, plan.every)
        assert winner is not None, "the test found no winner"
        shares = [_share_by_wait(world, winner, since, night, hours) for hours in (108, 24)]
        return _closed("a release with a test of waits, to lift", world, winner, night, shares[0] / shares[1] - 1)


def send_hours(plan: Plan) -> list[Closed]:
    """Hours of sending, from the drawing to the lift by drawn hours, and to the lift against those kept out."""
    with opened(plan.people) as (ledger, folder):
        world = worlds.Hours(ledger, {})
        first_day = plan.first + timedelta(days=1)
        world.built = Built(hours_from_us=start_of_day_us(first_day))
        world.settle_in(folder)
        world.timing = worlds.Timing(share=0.6, days=180, followed_from=first_day)
        for night in world.nights(plan.first, plan.last, plan.every):
            if night == plan.first:
                world.learnt_before = world.learnt(world.facts(), night)
                made = world.take(worlds.is_kind(Kind.SEND_TIME), night)
        [row] = world.tables["send_time_lift"].filter(estimator="doubly robust").to_dicts()
        learnt = world.learnt_before.subscribers.drop_nulls(["recommended_local_hour", "current_local_hour"])
        names = ("recommended_local_hour", "current_local_hour")
        engaged = [_engaged(world, learnt, name, plan.first, night) for name in names]
        drawn = Closed(
            "send hours, from drawing to lift: by drawn hours",
            None,
            row["engagement_lift"],
            row["engagement_lift_low"],
            row["engagement_lift_high"],
            engaged[0] / engaged[1] - 1,
            (row["recommended_sends"], row["current_sends"]),
            world.account.doubled(),
        )
        clicked = [_clicked(world, made, night, is_held=is_held) for is_held in (True, False)]
        name = "send hours, from drawing to lift: against those kept out"
        return [drawn, _closed(name, world, made, night, clicked[0] / clicked[1] - 1)]


def wrongly_told(world: worlds.Paths, delivery: Proposal, night: date) -> int:
    """Decisions of a night whose `is_served` differs from what the stand-in's record says that the person holds.

    Those kept out of the delivery hold the default whatever is chosen, so nothing is served to them.
    """
    decided = world.tables["path_decisions"]
    out = is_held_out(decided["subscriber_key"], delivery.optimization_id, delivery.holdout_share)
    said = read_said(world.account.log, world.account.world.people)
    keys = decided["subscriber_key"].to_numpy()
    held = said_at(said, PLANTED.route[2], keys, np.full(len(keys), end_of_day_us(night)))
    is_held = held.eq_missing(decided["arm"])
    is_wrong = (decided["is_served"] & ~is_held) | (~decided["is_served"] & is_held & ~out)
    return int(is_wrong.sum())


def wrongly_served(world: worlds.Paths, served: pl.DataFrame) -> int:
    """Served decisions of the log whose person did not hold the arm, or went another way, when the mail was sent."""
    said = read_said(world.account.log, world.account.world.people)
    held = said_at(said, PLANTED.route[2], served["subscriber_key"].to_numpy(), served["sent_us"].to_numpy())
    mail = world.account.view.messages.select(subscriber_key="subscriber", sent_us="sent_us", went="step_id")
    went = served.join(mail, on=["subscriber_key", "sent_us"], how="left", maintain_order="left")["went"]
    return int((held.ne_missing(served["arm"]) | went.ne_missing(served["arm"])).sum())


def _closed(
    loop: str,
    world: worlds.Sample,
    made: Proposal,
    night: date,
    truth: float,
    more: dict[str, int] | None = None,
) -> Closed:
    row = world.realised(made, night)
    return Closed(
        loop,
        made.expected_lift,
        row["realised_lift"],
        row["realised_lift_low"],
        row["realised_lift_high"],
        truth,
        (row["exposures"], row["held_out_exposures"]),
        world.account.doubled(),
        more or {},
    )


def _reached(life: SampleAccount, steps: list[str], first: date, last: date) -> pl.DataFrame:
    """First messages since a day to people who were members long enough to be written to."""
    mail = first_messages(life, steps, start_of_day_us(first), end_of_day_us(last))
    signup = pl.Series(life.people.signup_us)[mail["subscriber"]]
    return mail.filter(pl.col("sent_us") // DAY_US - signup // DAY_US >= DAYS_UNTIL_REACHED)


def _share_by_value(
    world: worlds.Sample,
    made: Proposal,
    since: date,
    night: date,
    means: str,
    value: str,
    steps: Sequence[str],
) -> float:
    """Share of people who buy after the first e-mail, if everybody holds the value from when the record was applied."""
    assert made.measure is not None
    at_us = _applied_us(since)
    everybody = range(world.account.world.people.size)
    lines = [field_line(world.account.world, key, at_us, means, value) for key in everybody]
    is_its = is_about(means)
    life = lived(
        world.account.log, lambda line: not (is_its(line) and int(str(line["at_us"])) >= at_us), lines, world.built
    )
    days = made.measure.window_days
    mail = _reached(life, list(steps), since + timedelta(days=2), night - timedelta(days=days))
    return float(bought(life, mail, days).mean())  # type: ignore[arg-type]


def _share_with_power(world: worlds.Sample, made: Proposal, night: date, *, is_out: bool) -> float:
    """Share of the people with a change, or of those kept out, who went the path 'power'."""
    applied_day = world.ledger.record(made.optimization_id).applied_day
    assert applied_day is not None
    mail = _reached(world.account.world, ["power", "nudge"], applied_day + timedelta(days=1), night)
    out = is_held_out(mail["subscriber"], made.optimization_id, made.holdout_share)
    return float((mail.filter(out if is_out else ~out)["step_id"] == "power").mean())  # type: ignore[arg-type]


def _share_by_wait(world: worlds.Sample, made: Proposal, since: date, night: date, hours: int) -> float:
    """Share of people who buy after the first e-mail, if everybody who came since is let in after so many hours."""
    assert made.measure is not None
    first_us = start_of_day_us(since + timedelta(days=2))
    asked = world.account.world.asked.filter(pl.col("entered_us") >= first_us)
    member = world.account.world.people.member_id
    lines: list[Line] = [
        {
            "at_us": worlds.hours_later(came, hours),
            "method": "POST",
            "path": f"/lists/a/members/{member[key]}/events",
            "body": {"name": RELEASE_EVENT},
        }
        for key, came in asked.select("subscriber", "entered_us").iter_rows()
    ]
    life = lived(
        world.account.log,
        lambda line: not (str(line["path"]).endswith("/events") and int(str(line["at_us"])) >= first_us),
        lines,
        world.built,
    )
    days = made.measure.window_days
    mail = _reached(life, ["miss-you"], since + timedelta(days=2), night - timedelta(days=days))
    mail = mail.filter(pl.col("subscriber").is_in(asked["subscriber"].implode()))
    return float(bought(life, mail, days).mean())  # type: ignore[arg-type]


def _engaged(world: worlds.Hours, learnt: pl.DataFrame, name: str, first: date, night: date) -> float:
    """Share of messages that are opened if everybody holds an hour that was learnt before."""
    at_us = _applied_us(first)
    rows = learnt.select("subscriber_key", name).iter_rows()
    lines = [field_line(world.account.world, key, at_us, PLANTED.hour_field, str(hour)) for key, hour in rows]
    is_its = is_about(PLANTED.hour_field)
    life = lived(world.account.log, lambda line: not is_its(line), lines, world.built)
    mail = life.messages.filter(
        pl.col("subscriber").is_in(learnt["subscriber_key"].implode())
        & pl.col("bounce_kind").is_null()
        & (pl.col("sent_us") >= start_of_day_us(first + timedelta(days=1)))
        & (pl.col("sent_us") < end_of_day_us(night))
    )
    return float(mail["person_open_us"].is_not_null().mean())  # type: ignore[arg-type]


def _clicked(world: worlds.Hours, made: Proposal, night: date, *, is_held: bool) -> float:
    """Share of people who click the first message, if everybody holds the hour assigned last, or nobody any."""
    assert made.measure is not None
    applied_day = world.ledger.record(made.optimization_id).applied_day
    assert applied_day is not None
    rows = world.tables["send_time_assignments"].select("subscriber_key", "assigned_local_hour").iter_rows()
    at_us = start_of_day_us(applied_day)
    lines = [field_line(world.account.world, key, at_us, PLANTED.hour_field, str(hour)) for key, hour in rows]
    is_its = is_about(PLANTED.hour_field)
    life = lived(world.account.log, lambda line: not is_its(line), lines if is_held else [], world.built)
    days = made.measure.window_days
    steps = life.messages.filter(pl.col("kind") != "campaign")["step_id"].unique().to_list()
    mail = _reached(life, steps, applied_day + timedelta(days=1), night - timedelta(days=days))
    is_soon = pl.col("person_click_us") - pl.col("sent_us") < days * DAY_US
    return float(mail.select(is_soon.fill_null(False)).to_series().mean())  # type: ignore[arg-type]


def _applied_us(night: date) -> int:
    """When what was approved after a night is written."""
    return worlds.instant_us(datetime.combine(night + timedelta(days=1), time(4), UTC))
