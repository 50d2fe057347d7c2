"""What is true of a change: the world lived twice, with everybody in one arm, and with everybody in the other.

Chance belongs to people and slots, so both lives differ by the change alone.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl

from pipeline.common.time import DAY_US
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.reacting import Built

Line = dict[str, object]


def lived(log: Path, keep: Callable[[Line], bool], more: Iterable[Line], built: Built | None) -> SampleAccount:
    """The world with the lines of a log that are kept, and with more of them."""
    kept = [line for line in map(json.loads, log.read_text().splitlines()) if keep(line)]
    other = log.with_name("other.ndjson")
    other.write_text("".join(json.dumps(line) + "\n" for line in [*kept, *more]))
    return generate(log=other, built=built)


def field_line(world: SampleAccount, key: int, at_us: int, field: str, value: str) -> Line:
    """A write of a merge field."""
    path = f"/lists/a/members/{world.people.member_id[key]}"
    return {"at_us": at_us, "method": "PATCH", "path": path, "body": {"merge_fields": {field: value}}}


def is_about(field: str) -> Callable[[Line], bool]:
    """Whether a line writes a merge field."""
    return lambda line: field in (line["body"] or {}).get("merge_fields", {})  # type: ignore[attr-defined]


def first_messages(world: SampleAccount, steps: Iterable[str], first_us: int, end_us: int) -> pl.DataFrame:
    """The first message of each person from these steps in a time."""
    mail = world.messages.filter(
        pl.col("step_id").is_in(list(steps)) & (pl.col("sent_us") >= first_us) & (pl.col("sent_us") < end_us)
    )
    return mail.sort("sent_us").unique("subscriber", keep="first", maintain_order=True)


def bought(world: SampleAccount, mail: pl.DataFrame, window_days: int) -> pl.Series:
    """Whether each of these people bought within the window after the message."""
    orders = world.orders.select("subscriber", bought_us="occurred_us")
    later = mail.select("subscriber", "sent_us").join(orders, on="subscriber")
    since = pl.col("bought_us") - pl.col("sent_us")
    buyers = later.filter(since.is_between(0, window_days * DAY_US, closed="left"))["subscriber"]
    return mail["subscriber"].is_in(buyers.implode())
