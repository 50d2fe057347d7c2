"""The product event stream of the sample account, and its files: in three formats, some late, doubled or malformed."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.common.time import DAY_US, HOUR_US, MINUTE_US, end_of_day_us
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.population import PLANS
from pipeline.sample.account.world import CART, CURRENCY, FIRST_US, NEVER_US, PLANTED, SERIES, Array, us

LATE_SHARE = 0.02
LATEST_DAYS = 20
DOUBLED_SHARE = 0.01
CONVERSION_SHARE = 0.004  # of visits
DEVICES = ("ios", "android", "web")
# Beyond this day only visits come late: a late step or order would make people look stuck who are not.
LAST_LATE_US = us("2026-06-08")
FORMATS = ("csv", "parquet", "ndjson")  # by number of the month
COLUMNS = (
    "event_id",
    "occurred_at",
    "event_type",
    "subscriber",
    "workflow_id",
    "step_id",
    "order_id",
    "revenue",
    "currency",
    "plan",
    "properties",
    "device",
)
MALFORMED = (  # field, value that breaks its contract, day of the file that holds the row
    ("occurred_at", "2026-02-30T25:61:00Z", "2026-02-11"),
    ("subscriber", None, "2026-02-19"),
    ("event_type", None, "2026-03-03"),
    ("revenue", "twelve", "2026-03-17"),
    ("event_id", None, "2026-05-09"),
    ("occurred_at", None, "2026-05-21"),
    ("occurred_at", "yesterday", "2026-06-04"),
    ("properties", "{not json", "2026-06-16"),
)
JOURNEYS = tuple(flow.workflow_id for flow in SERIES if flow.kind == "flow")


def event_stream(account: SampleAccount) -> pl.DataFrame:
    """Every valid event once: the contract's columns as text, `occurred_us`, and `arrived_us` in a file."""
    people = account.people
    parts = [
        _signups(account),
        _visits(account),
        _entries(account),
        _steps(account),
        _filter_failures(account),
        _exits(account),
        _carts(account),
        _purchases(account),
        _refunds(account),
    ]
    events = pl.concat(parts, how="diagonal").sort(
        "occurred_us", "person", "event_type", "step_id", maintain_order=True
    )
    # Each of its own source: more events at the end change nothing of those before.
    naming, lateness, waiting = np.random.default_rng(account.seed + 1).spawn(3)
    names = np.where(naming.random(people.size) < 0.7, people.address, people.member_id)
    late = lateness.random(events.height) < LATE_SHARE
    days = waiting.integers(1, LATEST_DAYS + 1, events.height)
    occurred = events["occurred_us"].to_numpy()
    may_be_late = (events["event_type"] == "visit").to_numpy() | (occurred < LAST_LATE_US)
    return events.with_columns(
        event_id=pl.format("e{}", pl.int_range(pl.len()).cast(pl.String).str.zfill(7)),
        occurred_at=_text(pl.col("occurred_us")),
        subscriber=pl.Series(names[events["person"].to_numpy()]),
        arrived_us=pl.Series(np.where(late & may_be_late, occurred + days * DAY_US, occurred)),
    ).select(*COLUMNS, "occurred_us", "arrived_us")


def write_events(account: SampleAccount, folder: Path, as_of: date) -> list[Path]:
    """Write the files that exist at the end of `as_of`, one a month of arrival; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    events = event_stream(account)
    choosing, waiting = np.random.default_rng(account.seed + 2).spawn(2)
    doubled = events.filter(choosing.random(events.height) < DOUBLED_SHARE)
    again = doubled.with_columns(pl.col("arrived_us") + pl.Series(waiting.integers(0, 3 * DAY_US, doubled.height)))
    rows = pl.concat([events, again, _malformed(events)]).filter(pl.col("arrived_us") < end_of_day_us(as_of))
    rows = rows.sort("arrived_us", "event_id", nulls_last=True)
    month = pl.from_epoch("arrived_us", time_unit="us").dt.strftime("%Y-%m").alias("month")
    paths = []
    for (name,), file in rows.with_columns(month).partition_by("month", as_dict=True, maintain_order=True).items():
        extension = FORMATS[int(str(name)[-2:]) % len(FORMATS)]
        path = folder / f"events-{name}.{extension}"
        _write(file.select(COLUMNS), path, extension)
        paths.append(path)
    return paths


def _write(rows: pl.DataFrame, path: Path, extension: str) -> None:
    if extension == "csv":
        rows.write_csv(path)
    elif extension == "ndjson":
        rows.write_ndjson(path)
    else:
        rows.with_columns(
            pl.col("occurred_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC"),
            pl.col("revenue").cast(pl.Float64),
        ).write_parquet(path)


def _malformed(events: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for number, (field, value, day) in enumerate(MALFORMED):
        row = dict(events.filter(pl.col("event_type") == "purchase").row(number, named=True))
        row |= {"event_id": f"malformed-{number}", "arrived_us": us(day) + 12 * HOUR_US, field: value}
        rows.append(row)
    return pl.DataFrame(rows, schema=events.schema)


def _text(instant: pl.Expr) -> pl.Expr:
    return pl.from_epoch(instant, time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def _money(cents: pl.Expr) -> pl.Expr:
    return pl.format("{}.{}", cents // 100, (cents % 100).cast(pl.String).str.zfill(2))


def _frame(
    person: Array | pl.Series, occurred_us: Array | pl.Series, event_type: str, **more: str | pl.Series
) -> pl.DataFrame:
    frame = pl.DataFrame({"person": pl.Series(person), "occurred_us": pl.Series(occurred_us)})
    literals = {name: pl.lit(value) if isinstance(value, str) else value for name, value in more.items()}
    empty = {name: pl.lit(None, dtype=pl.String) for name in COLUMNS if name not in literals}
    return frame.with_columns(**{**empty, **literals, "event_type": pl.lit(event_type)})


def _signups(account: SampleAccount) -> pl.DataFrame:
    people = account.people
    plan = np.array(PLANS)[people.plan]
    new = np.flatnonzero(people.signup_us >= FIRST_US)
    old = np.flatnonzero(people.signup_us < FIRST_US)
    return pl.concat(
        [
            _frame(new, people.signup_us[new], "signup", plan=pl.Series(plan[new])),
            _frame(old, FIRST_US + old * MINUTE_US, "plan_changed", plan=pl.Series(plan[old])),
        ]
    )


def _visits(account: SampleAccount) -> pl.DataFrame:
    visits = account.visits
    generator = np.random.default_rng(account.seed + 3)
    device = np.array(DEVICES)[generator.integers(0, len(DEVICES), visits.height)]
    seen = _frame(visits["subscriber"], visits["occurred_us"], "visit", device=pl.Series(device))
    # Those set aside for planted phenomena reach no goal.
    goals = visits.filter(generator.random(visits.height) < CONVERSION_SHARE).filter(
        ~pl.col("subscriber").is_in(np.flatnonzero(account.people.is_planted))
    )
    return pl.concat([seen, _frame(goals["subscriber"], goals["occurred_us"] + MINUTE_US, "conversion")])


def _entries(account: SampleAccount) -> pl.DataFrame:
    journeys = account.journeys.filter(pl.col("workflow_id").is_in(JOURNEYS))
    workflow = journeys["workflow_id"]
    return _frame(journeys["subscriber"], journeys["entered_us"], "entry", workflow_id=workflow)


def _steps(account: SampleAccount) -> pl.DataFrame:
    # Who waited for a start came to the first step before it.
    place = ["subscriber", "workflow_id", "step_id"]
    begun = account.entries.filter(pl.col("workflow_id").is_in(JOURNEYS)).join(account.asked, on=place, how="anti")
    came = account.asked.with_columns(delay_hours=pl.lit(-1, dtype=pl.Int64))
    entries = pl.concat([begun, came], how="diagonal")
    experiment_flow, experiment_step, experiment = PLANTED.experiment
    started = us(PLANTED.experiment_from)
    properties = [
        _properties(
            next_step_id=following if step in ("route", "segment") else None,
            assigned_delay_hours=hours if hours >= 0 else None,
            is_delay_randomised=True if hours >= 0 else None,
            experiment=experiment if in_test else None,
            arm=arm if in_test else None,
        )
        for step, following, hours, arm, in_test in entries.select(
            "step_id",
            "next_step_id",
            "delay_hours",
            "arm",
            (pl.col("workflow_id") == experiment_flow)
            & (pl.col("step_id") == experiment_step)
            & (pl.col("entered_us") >= started),
        ).iter_rows()
    ]
    return _frame(
        entries["subscriber"],
        entries["entered_us"],
        "step_entered",
        workflow_id=entries["workflow_id"],
        step_id=entries["step_id"],
        properties=pl.Series(properties, dtype=pl.String),
    )


def _filter_failures(account: SampleAccount) -> pl.DataFrame:
    """The flow tool's own word that the next step's filter holds somebody back."""
    held = account.entries.filter((pl.col("cause") == "failed filter") & pl.col("is_held"))
    return _frame(
        held["subscriber"],
        held["next_us"],
        "filter_failed",
        workflow_id=held["workflow_id"],
        step_id=held["step_id"],
        properties=pl.Series([_properties(next_step_id=step) for step in held["next_step_id"]], dtype=pl.String),
    )


def _exits(account: SampleAccount) -> pl.DataFrame:
    left = account.journeys.filter(pl.col("workflow_id").is_in(JOURNEYS) & pl.col("exit_us").is_not_null())
    return _frame(
        left["subscriber"],
        left["exit_us"],
        "exit",
        workflow_id=left["workflow_id"],
        step_id=left["exit_step_id"],
        properties=pl.Series([_properties(reason=reason) for reason in left["exit_reason"]], dtype=pl.String),
    )


def _carts(account: SampleAccount) -> pl.DataFrame:
    carts = account.journeys.filter(pl.col("workflow_id") == CART.workflow_id)
    return _frame(carts["subscriber"], carts["entered_us"] - CART.steps[0].delay_hours * HOUR_US, "cart_abandoned")


def _purchases(account: SampleAccount) -> pl.DataFrame:
    orders = account.orders
    return _frame(
        orders["subscriber"],
        orders["occurred_us"],
        "purchase",
        order_id=orders["order_id"],
        revenue=orders.select(_money(pl.col("net_cents"))).to_series(),
        currency=orders["currency"],
    )


def _refunds(account: SampleAccount) -> pl.DataFrame:
    refunds = account.orders.filter(pl.col("refund_us") < NEVER_US)
    return _frame(
        refunds["subscriber"],
        refunds["refund_us"],
        "refund",
        order_id=refunds["order_id"],
        revenue=refunds.select(_money(pl.col("refund_cents"))).to_series(),
        currency=CURRENCY,
    )


def _properties(**known: object) -> str | None:
    present = {name: value for name, value in known.items() if value is not None}
    return json.dumps(present) if present else None
