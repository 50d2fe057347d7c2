"""What is written to the field of the sample's test changes what is sent afterwards, and nothing before."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.common.time import DAY_US, end_of_day_us
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.stream import event_stream
from pipeline.sample.account.world import PLANTED

AT_US = end_of_day_us(date(2026, 6, 29))
FRAMES = {"messages": "sent_us", "entries": "entered_us", "activity": "occurred_us", "orders": "occurred_us"}


@pytest.fixture(scope="module")
def told(account: SampleAccount, tmp_path_factory: pytest.TempPathFactory) -> SampleAccount:
    """The account after everybody of even number was told arm B, and the others A."""
    log = tmp_path_factory.mktemp("told") / "writes.ndjson"
    write = '{"at_us": %d, "method": "PATCH", "path": "/lists/a/members/%s", "body": {"merge_fields": {"%s": "%s"}}}\n'
    lines = [
        write % (AT_US, member, PLANTED.experiment_field, "AB"[number % 2 == 0])
        for number, member in enumerate(account.people.member_id.tolist())
    ]
    log.write_text("".join(lines) + '{"cut')
    return generate(account.seed, log)


@pytest.mark.parametrize(("frame", "moment"), FRAMES.items())
def test_the_past_is_the_same(account: SampleAccount, told: SampleAccount, frame: str, moment: str) -> None:
    before = [getattr(one, frame).filter(pl.col(moment) < AT_US) for one in (account, told)]
    # What comes of a message may lie after the change, and differ.
    past = [
        rows.with_columns(
            pl.when(pl.col(name) < AT_US).then(name).alias(name) for name in rows.columns if "_us" in name
        )
        for rows in before
    ]
    assert past[0].height > 0
    assert past[0].equals(past[1])


def test_events_of_the_past_are_the_same(account: SampleAccount, told: SampleAccount) -> None:
    past = [event_stream(one).filter(pl.col("occurred_us") < AT_US) for one in (account, told)]
    assert past[0].equals(past[1])


def test_from_then_on_each_is_sent_the_arm_that_the_field_holds(account: SampleAccount, told: SampleAccount) -> None:
    flow, step, _ = PLANTED.experiment
    at_step = (pl.col("workflow_id") == flow) & (pl.col("step_id") == step)
    later = told.entries.filter(at_step & (pl.col("entered_us") >= AT_US))
    assert later["arm"].to_list() == ["AB"[number % 2 == 0] for number in later["subscriber"].to_list()]
    bought = told.orders.select("subscriber", bought_us="occurred_us")
    soon = later.join(bought, on="subscriber").filter(
        (pl.col("bought_us") > pl.col("entered_us")) & (pl.col("bought_us") <= pl.col("entered_us") + 7 * DAY_US)
    )
    counts = {arm: later.filter(pl.col("arm") == arm).height for arm in "AB"}
    rates = {arm: soon.filter(pl.col("arm") == arm)["subscriber"].n_unique() / counts[arm] for arm in "AB"}
    planted = PLANTED.experiment_purchase
    assert rates["B"] - rates["A"] > 0.5 * (planted["B"] - planted["A"])


def test_a_log_that_says_nothing_of_the_field_changes_nothing(account: SampleAccount, tmp_path: Path) -> None:
    log = tmp_path / "writes.ndjson"
    line = {"at_us": AT_US, "method": "PATCH", "path": f"/lists/a/members/{account.people.member_id[7]}"}
    log.write_text(json.dumps({**line, "body": {"merge_fields": {"SENDHOUR": "9"}}}) + "\n")
    assert np.array_equal(generate(account.seed, log).unmailable_us, account.unmailable_us)
    assert generate(account.seed, log).orders.equals(account.orders)
