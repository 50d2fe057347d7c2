"""The flows of the sample react to what is written: from then on, for these people, and for nobody before."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.common.time import DAY_US, HOUR_US, start_of_day_us
from pipeline.sample.account import population
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.stream import event_stream
from pipeline.sample.account.world import ONBOARDING, PLANTED, WINBACK
from pipeline.sample.account.zones import local_hour
from pipeline.sample.reacting import Built
from pipeline.sample.server.journey_steps import RELEASE_EVENT

AT_US = start_of_day_us(date(2026, 5, 1))
FRAMES = {"messages": "sent_us", "entries": "entered_us", "orders": "occurred_us"}
Lives = Mapping[str, SampleAccount]


@pytest.fixture(scope="module", autouse=True)
def few_people() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "NEW_SUBSCRIBERS", 6_000)
        yield


@pytest.fixture(scope="module")
def plain(few_people: None) -> SampleAccount:
    return generate()


def told(plain: SampleAccount, folder: Path, lines: Iterator[tuple[int, int, str, Any]], built: Built) -> SampleAccount:
    """The account with writes: (subscriber, at, end of the path, body)."""
    log = folder / "writes.ndjson"
    with log.open("w") as file:
        for person, at_us, end, body in lines:
            path = f"/lists/a/members/{plain.people.member_id[person]}{end}"
            file.write(json.dumps({"at_us": at_us, "method": "POST", "path": path, "body": body}) + "\n")
    return generate(log=log, built=built)


@pytest.fixture(scope="module")
def lives(plain: SampleAccount, tmp_path_factory: pytest.TempPathFactory) -> Lives:
    """The account under three kinds of writes, each to everybody at one time."""
    everybody = range(plain.people.size)
    built = Built(hours_from_us=AT_US)
    released = Built(released_from_us=AT_US)
    asked = generate(built=released).asked

    def fields(name: str, values: tuple[str, str]) -> Iterator[tuple[int, int, str, Any]]:
        return ((one, AT_US, "", {"merge_fields": {name: values[one % 2]}}) for one in everybody)

    starts = (
        (person, came + (24 if person % 2 else 96) * HOUR_US, "/events", {"name": RELEASE_EVENT})
        for person, came in asked.select("subscriber", "entered_us").iter_rows()
        if person % 5
    )
    folder = tmp_path_factory.mktemp
    return {
        "path": told(plain, folder("path"), fields("ROUTE", ("power", "nudge")), Built()),
        "hour": told(plain, folder("hour"), fields("SENDHOUR", ("8", "20")), built),
        "start": told(plain, folder("start"), starts, released),
    }


@pytest.mark.parametrize("life", ["path", "hour", "start"])
@pytest.mark.parametrize(("frame", "moment"), FRAMES.items())
def test_nothing_of_the_past_changes(plain: SampleAccount, lives: Lives, life: str, frame: str, moment: str) -> None:
    before = [getattr(one, frame).filter(pl.col(moment) < AT_US) for one in (plain, lives[life])]
    # What comes of a message may lie after the change, and differ.
    past = [
        rows.with_columns(
            pl.when(pl.col(name) < AT_US).then(name).alias(name) for name in rows.columns if "_us" in name
        ).drop("next_step_id", "next_us", strict=False)
        for rows in before
    ]
    assert past[0].height > 0
    assert past[0].equals(past[1])


def reached(life: SampleAccount, flow: str, first_us: int = AT_US) -> pl.DataFrame:
    planted = np.flatnonzero(life.people.is_planted)
    mail = life.messages.filter((pl.col("workflow_id") == flow) & (pl.col("sent_us") >= first_us))
    return mail.filter(~pl.col("subscriber").is_in(planted))


def buyers(life: SampleAccount, mail: pl.DataFrame) -> float:
    later = mail.select("subscriber", "sent_us").join(life.orders.select("subscriber", "occurred_us"), on="subscriber")
    soon = later.filter((pl.col("occurred_us") - pl.col("sent_us")).is_between(0, 7 * DAY_US))
    return soon["subscriber"].n_unique() / mail["subscriber"].n_unique()


def test_the_branch_leads_where_the_field_says_and_each_path_sells_as_planted(lives: Lives) -> None:
    # Whoever is at the branch when it is written has been led on already.
    mail = reached(lives["path"], ONBOARDING.workflow_id, AT_US + 2 * DAY_US)
    here = mail.filter(pl.col("step_id").is_in(["power", "nudge"]))
    assert here.height > 500
    assert here["step_id"].to_list() == [("power", "nudge")[one % 2] for one in here["subscriber"].to_list()]
    rates = {step: buyers(lives["path"], here.filter(step_id=step)) for step in ("power", "nudge")}
    planted = {one.step_id: one.purchase for one in PLANTED.reactions if one.means == "ROUTE"}
    assert rates["power"] - rates["nudge"] > 0.5 * (planted["power"]["power"] - planted["nudge"]["nudge"])


def test_mail_goes_out_at_the_hour_that_is_held_once_the_flows_wait_for_it(lives: Lives) -> None:
    life = lives["hour"]
    mail = reached(life, ONBOARDING.workflow_id, AT_US + DAY_US)
    person, sent = mail["subscriber"].to_numpy(), mail["sent_us"].to_numpy()
    hours = local_hour(life.people.zone[person], sent)
    # An e-mail leaves some seconds after its time, perhaps in the next hour.
    assert np.isin((hours - np.where(person % 2, 20, 8)) % 24, (0, 1)).all()
    assert ((hours - np.where(person % 2, 20, 8)) % 24 == 0).mean() > 0.97


def test_nobody_gets_a_released_flow_without_a_start_and_a_long_wait_sells_as_planted(lives: Lives) -> None:
    life = lives["start"]
    came = life.asked.filter(pl.col("subscriber") % 5 != 0)
    mail = reached(life, WINBACK.workflow_id).filter(step_id="miss-you")
    assert mail.height > 300
    assert set(mail["subscriber"]) <= set(came["subscriber"])
    waited = mail.join(life.asked, on="subscriber").select((pl.col("sent_us") - pl.col("entered_us")) // HOUR_US)
    assert waited.to_series().to_list() == [24 if one % 2 else 96 for one in mail["subscriber"].to_list()]
    rates = [buyers(life, mail.filter(pl.col("subscriber") % 2 == odd)) for odd in (1, 0)]
    short, long = PLANTED.wait_purchase
    assert rates[1] - rates[0] > 0.5 * (long - short)


def test_the_events_tell_who_came_to_a_released_flow_and_nobody_twice(lives: Lives) -> None:
    life = lives["start"]
    first = event_stream(life).filter((pl.col("event_type") == "step_entered") & (pl.col("step_id") == "miss-you"))
    assert not first["subscriber"].is_duplicated().any()
    assert set(life.asked["entered_us"]) <= set(first["occurred_us"])
