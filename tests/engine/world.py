"""A small account told night by night: random rows that repeat, change, move and come late, as a lake may hold them."""

import random
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

from pipeline.engine import Engine
from pipeline.engine.runner import RunResult
from pipeline.lake.store import Lake
from pipeline.schemas import core, lake
from pipeline.schemas.base import Table, conform, identity
from pipeline.schemas.journeys.lake import Recipients
from pipeline.settings import SQL_DIR

EPOCH = date(1970, 1, 1)
FIRST_DAY = date(2026, 3, 20)
HOUR = 3_600_000_000
DAY = 24 * HOUR
PARAMETERS = {"currency": "USD", "shared_ip_recipients": 4, "default_grace_hours": 48}
ZONES = ("UTC", "Europe/Vienna")
STEPS = {"flow": ("one", "two", "three", "four"), "classic": ("c1", "c2"), "campaign": ("campaign",)}
LINKS = ("https://example.org/a", "https://example.org/b")
EVENT_TYPES = ("step_entered", "entry", "exit", "purchase", "refund", "conversion", "visit", "unsubscribe", "trial")


def day_number(day: date) -> int:
    return (day - EPOCH).days


def step_key(workflow_id: str, step_id: str) -> int:
    names = [f"{flow}/{step}" for flow, steps in STEPS.items() for step in steps]
    return names.index(f"{workflow_id}/{step_id}") + 1


def workflow_key(workflow_id: str) -> int:
    return list(STEPS).index(workflow_id) + 101


def dimensions(subscribers: int) -> dict[type[Table], pl.DataFrame]:
    """A flow that branches after its second step, a classic automation without events, and a campaign."""
    forever = {"valid_from_us": -(2**61), "valid_to_us": 2**61}
    change_us = day_number(FIRST_DAY + timedelta(days=3)) * DAY
    flow = [step_key("flow", step) for step in STEPS["flow"]]
    classic = [step_key("classic", step) for step in STEPS["classic"]]
    edge = {
        "workflow_key": workflow_key("flow"),
        "delay_version": 1,
        "grace_hours": 12,
        "is_default": True,
        "edge_source": "map",
        "observed_people": None,
        **forever,
    }
    workflows = [
        {
            "workflow_key": workflow_key(flow_id), "workflow_id": flow_id, "name": flow_id, "priority": 1,
            "kind": {"flow": "flow", "classic": "automation"}.get(flow_id, "campaign"),
            "goal_event_type": {"flow": "purchase", "classic": "trial"}.get(flow_id),
            "status": "active", "definition_version": "1",
        }
        for flow_id in STEPS
    ]  # fmt: skip
    steps = [
        {
            "step_key": step_key(flow_id, step_id), "workflow_key": workflow_key(flow_id), "workflow_id": flow_id,
            "step_id": step_id, "position": position, "name": step_id, "kind": "email",
            "campaign_id": f"{flow_id}-{step_id}", "status": "active",
        }
        for flow_id, step_ids in STEPS.items()
        for position, step_id in enumerate(step_ids, 1)
    ]  # fmt: skip
    edges = [
        {**edge, "from_step_key": flow[0], "to_step_key": flow[1], "delay_hours": 24, "valid_to_us": change_us},
        {**edge, "from_step_key": flow[0], "to_step_key": flow[1], "delay_hours": 6, "valid_from_us": change_us,
         "delay_version": 2},
        {**edge, "from_step_key": flow[1], "to_step_key": flow[2], "delay_hours": 12},
        {**edge, "from_step_key": flow[1], "to_step_key": flow[3], "delay_hours": 36, "is_default": False},
        {**edge, "from_step_key": classic[0], "to_step_key": classic[1], "delay_hours": 24,
         "workflow_key": workflow_key("classic")},
    ]  # fmt: skip
    summer_us = 1_774_746_000_000_000  # 2026-03-29 01:00 UTC, when Vienna's clocks go forward
    offsets = [
        {"zone": "UTC", "from_us": 0, "to_us": 2**61, "offset_us": 0},
        {"zone": "Europe/Vienna", "from_us": 0, "to_us": summer_us, "offset_us": HOUR},
        {"zone": "Europe/Vienna", "from_us": summer_us, "to_us": 2**61, "offset_us": 2 * HOUR},
    ]
    people = [
        {
            "subscriber_key": key, "status": "subscribed", "zone": ZONES[key % 2], "zone_source": "member",
            "signup_us": day_number(FIRST_DAY - timedelta(days=key)) * DAY, "plan": ["basic", None][key % 2],
            "cohort_value": ["red", "blue", None][key % 3],
            "merge_fields": "{}", "tags": "[]",
        }
        for key in range(1, subscribers + 1)
    ]  # fmt: skip
    rows = {
        core.CoreWorkflows: workflows, core.CoreSteps: steps, core.CoreEdges: edges,
        core.CoreZoneOffsets: offsets, core.CoreSubscribers: people,
    }  # fmt: skip
    return {model: conform(pl.DataFrame(content, infer_schema_length=None), model) for model, content in rows.items()}


@dataclass
class Night:
    """What one night reads: rows by lake table."""

    as_of: date
    rows: dict[type[Table], list[dict[str, object]]] = field(default_factory=dict)

    def add(self, model: type[Table], **row: object) -> None:
        self.rows.setdefault(model, []).append(row)

    def write(self, target: Lake) -> None:
        for model, rows in self.rows.items():
            target.append(model, pl.DataFrame(rows, infer_schema_length=None), self.as_of)


def random_nights(seed: int, nights: int, rows: int, subscribers: int, days_late: int = 8) -> list[Night]:
    """Nights of random rows, a fifth of which tell of any of `days_late` days before, and some anew or otherwise."""
    source = random.Random(seed)
    told = []
    for number in range(nights):
        night = Night(FIRST_DAY + timedelta(days=number))
        for _ in range(rows):
            _random_row(source, night, subscribers, days_late)
        told.append(night)
    return told


def _random_row(source: random.Random, night: Night, subscribers: int, days_late: int) -> None:
    age = source.choice([0, 0, 0, 0, source.randrange(days_late)])
    at_us = (day_number(night.as_of) - age) * DAY + source.randrange(48) * HOUR // 2 + source.randrange(3) * 1_000_000
    who = source.randint(1, subscribers)
    flow_id = source.choice(list(STEPS))
    step_id = source.choice(STEPS[flow_id])
    campaign = {"campaign_id": f"{flow_id}-{step_id}", "subscriber_key": who}
    kind = source.choice(["send", "send", "activity", "activity", "activity", "event", "event", "event", "rest"])
    if kind == "send":
        night.add(Recipients, **campaign, feed_state=source.choice(["awaited", "read", "read", "read"]), feed_us=None,
                  status="sent", audience_id="a")  # fmt: skip
        night.add(lake.Sends, **campaign, sent_us=at_us, sent_at_source=source.choice(["feed", "feed", "computed"]),
                  status=source.choice(["sent", "sent", "sent", "sent", "hard", "soft"]))  # fmt: skip
    elif kind == "activity":
        action = source.choice(["open", "click", "click", "bounce"])
        url = source.choice([*LINKS, "https://example.org/unsubscribe"]) if action == "click" else ""
        night.add(lake.EmailActivity, **campaign, action=action, occurred_us=at_us, url=url,
                  ip_key=source.choice([None, 1, 2]), is_image_proxy=source.random() < 0.1,
                  is_bot=source.random() < 0.1)  # fmt: skip
        if action == "open":
            night.add(lake.OpenDetails, **campaign, occurred_us=at_us, is_proxy_open=source.random() < 0.4)
    elif kind == "event":
        _random_event(source, night, who, at_us)
    else:
        _random_rest(source, night, campaign, at_us)


def _random_event(source: random.Random, night: Night, who: int, at_us: int) -> None:
    event_type = source.choice(EVENT_TYPES)
    day = at_us // DAY
    flow_id = source.choice(["flow", "flow", "flow", "classic"] if event_type == "exit" else ["flow"])
    is_money = event_type in ("purchase", "refund", "conversion")
    night.add(
        lake.Events,
        # An event id is told again, with another content, only on its own day.
        event_id=f"{day}-{source.randrange(200)}", occurred_us=at_us, event_type=event_type, subscriber_key=who,
        workflow_id=flow_id if event_type in ("step_entered", "entry", "exit") else None,
        step_id=source.choice(STEPS["flow"]) if event_type == "step_entered" else None,
        order_id=source.choice([None, f"order-{source.randrange(12)}"]) if is_money else None,
        revenue_cents=source.randrange(1, 9) * 100 if is_money else None, currency="USD" if is_money else None,
        reason=source.choice(["completed", "filtered", "odd"]) if event_type == "exit" else None,
        next_step_id=source.choice([None, None, "three", "four"]), assigned_delay_hours=source.choice([None, 48]),
        is_delay_randomised=source.choice([None, True]), properties="{}",
    )  # fmt: skip


def _random_rest(source: random.Random, night: Night, campaign: dict[str, object], at_us: int) -> None:
    who = campaign["subscriber_key"]
    kind = source.choice(["unsubscribe", "complaint", "order", "queue", "removal", "link"])
    if kind == "unsubscribe":
        night.add(lake.Unsubscribes, **campaign, occurred_us=at_us)
    elif kind == "complaint":
        night.add(lake.AbuseReports, **campaign, occurred_us=at_us)
    elif kind == "order":
        night.add(lake.Orders, store_id="store", order_id=f"order-{source.randrange(12)}", subscriber_key=who,
                  currency=source.choice(["USD", "USD", "EUR"]), total_cents=1_000, tax_cents=100, shipping_cents=50,
                  financial_status=source.choice(["paid", "refunded", "cancelled"]), processed_us=at_us)  # fmt: skip
    elif kind == "queue":
        night.add(lake.AutomationQueue, workflow_id="classic", step_id=source.choice(STEPS["classic"]),
                  subscriber_key=who, as_of_day=day_number(night.as_of), next_send_us=at_us + 3 * DAY)  # fmt: skip
    elif kind == "removal":
        night.add(lake.RemovedSubscribers, workflow_id="classic", subscriber_key=who)
    else:
        night.add(lake.ClickDetails, campaign_id=campaign["campaign_id"], link_id=source.choice(["1", "2"]),
                  url=source.choice(LINKS), total_clicks=1, unique_clicks=1)  # fmt: skip


def connect(frames: dict[type[Table], pl.DataFrame], file: Path | str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A working file that holds the dimensions, in memory unless a place is named."""
    connection = duckdb.connect(file, config={"threads": 1})
    connection.execute("CREATE SCHEMA core")
    for model, frame in frames.items():
        write_dimension(connection, model, frame)
    return connection


def write_dimension(connection: duckdb.DuckDBPyConnection, model: type[Table], frame: pl.DataFrame) -> None:
    connection.register("incoming", frame)
    connection.execute(f"CREATE OR REPLACE TABLE {identity(model).qualified_name} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def engine(connection: duckdb.DuckDBPyConnection, root: Path, memory_bytes: int = 2**30) -> Engine:
    return Engine(connection, SQL_DIR, root, PARAMETERS, memory_bytes)


def build_all(engine: Engine) -> list[RunResult]:
    return [engine.build(name) for name in engine.models]


def build_read_by(sql: str, engine: Engine) -> None:
    """Build the models that a query reads, and those that these are made of."""
    wanted = {name for name in engine.models if re.search(rf"\b{name}\b", sql)}
    for name in reversed(engine.models):
        if name in wanted:
            wanted.update(engine.models[name].depends_on)
    for name in engine.models:
        if name in wanted:
            engine.build(name)


def differing_rows(
    left: duckdb.DuckDBPyConnection, right: duckdb.DuckDBPyConnection, names: list[str]
) -> dict[str, int]:
    """Rows of each table that only one side holds, by table; those without any are left out."""
    counts = {}
    for name in names:
        one, other = (side.sql(f"SELECT * FROM {name}").pl() for side in (left, right))
        columns = one.columns
        tallies = [frame.group_by(columns).len() for frame in (one, other.select(columns))]
        on = [*columns, "len"]
        extra = sum(tallies[i].join(tallies[1 - i], on=on, how="anti", nulls_equal=True).height for i in (0, 1))
        if extra:
            counts[name] = extra
    return counts
