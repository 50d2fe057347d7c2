"""Worlds of the lake: what is told more than once, and people whose clocks change, through the SQL that counts."""

import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from pipeline.dimensions.zones import zone_offsets
from pipeline.lake.store import Lake
from pipeline.schemas import core
from pipeline.schemas.base import Table
from tests.acceptance.worlds import Told
from tests.engine.story import Story
from tests.engine.world import DAY, connect, day_number, dimensions, engine

PEOPLE = 40
MESSAGE = "flow-one"
SECOND = 1_000_000
NIGHTS = tuple(date(2026, 3, 20) + timedelta(days=day) for day in range(5))
COUNTED = ("core.sends", "core.engagements", "core.messages", "core.conversion_claims", "core.conversions")
ZONES = ("Europe/Vienna", "America/New_York", "Australia/Sydney", "UTC")
CHANGES = tuple(date(2026, *day) for day in ((3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1)))
"""Days on which the clocks of one of the zones change, forward or back."""
Row = Callable[[Story], None]


def told_again(random: np.random.Generator) -> Told:
    """Each message, act and purchase is told once to three times, by the same night or by later ones, in any order."""
    rows: dict[str, list[Row]] = {"sends": [], "clicks": [], "purchases": []}
    for who in range(1, PEOPLE + 1):
        sent = day_number(NIGHTS[0]) * DAY + int(random.integers(0, 20 * 3600)) * SECOND
        later = sent + int(random.integers(3_600, 80_000)) * SECOND
        rows["sends"].append(lambda night, who=who, at=sent: night.sent(who, MESSAGE, at))
        if random.random() < 0.5:
            rows["clicks"].append(lambda night, who=who, at=later: night.did(who, "click", at, MESSAGE))
        if random.random() < 0.5:
            rows["purchases"].append(
                lambda night, who=who, at=later: night.happened(
                    who, "purchase", at, order_id=f"order-{who}", revenue_cents=500, currency="USD"
                )
            )
    nights = [Story(day) for day in NIGHTS]
    for row in random.permutation([row for several in rows.values() for row in several]):
        for night in random.integers(0, len(nights), random.integers(1, 4)):
            row(nights[night])
    found = _answers(
        nights,
        dimensions(PEOPLE),
        COUNTED,
        "SELECT (SELECT count(*) FROM core.messages), (SELECT count(*) FROM core.engagements WHERE action = 'click'), "
        "(SELECT count(*) FROM core.conversions), (SELECT count(*) FROM core.conversions WHERE net_cents <> 500)",
    )
    ((messages, clicks, purchases, mispriced),) = found
    truth = [len(several) for several in rows.values()]
    wrong = sum(one != other for one, other in zip((messages, clicks, purchases), truth, strict=True)) + mispriced
    return Told(wrong, 1, int(messages == truth[0]))


def clocks_change(random: np.random.Generator) -> Told:
    """People of four zones visit on the day of a change, and on the days before and after it."""
    change = CHANGES[random.integers(0, len(CHANGES))]
    night = Story(change + timedelta(days=2))
    zones = {who: ZONES[who % len(ZONES)] for who in range(1, PEOPLE + 1)}
    truth: dict[tuple[int, int], int] = {}
    for who, zone in zones.items():
        for _ in range(4):
            at = (day_number(change) - 1) * DAY + int(random.integers(0, 3 * 24 * 3600)) * SECOND
            night.happened(who, "visit", at, url=f"{at}")
            local = datetime.fromtimestamp(at / SECOND, UTC).astimezone(ZoneInfo(zone))
            key = who, 24 * local.weekday() + local.hour
            truth[key] = truth.get(key, 0) + 1
    frames = dimensions(PEOPLE)
    frames[core.CoreZoneOffsets] = zone_offsets(pl.Series(ZONES), date(2026, 1, 1), date(2027, 1, 1))
    lives = pl.DataFrame({"subscriber_key": list(zones), "zone": list(zones.values())})
    people = frames[core.CoreSubscribers]
    frames[core.CoreSubscribers] = people.update(lives, on="subscriber_key")
    found = _answers(
        [night],
        frames,
        (*COUNTED, "reductions.subscriber_hours"),
        "SELECT subscriber_key, local_hour_of_week, CAST(sum(behaviour_events) AS BIGINT) "
        "FROM reductions.subscriber_hours GROUP BY ALL",
    )
    said = {(who, hour): count for who, hour, count in found}
    wrong = sum(said.get(key) != truth.get(key) for key in said.keys() | truth.keys())
    return Told(wrong, 1, int(sum(said.values()) == sum(truth.values())))


def _answers(
    nights: list[Story], frames: dict[type[Table], pl.DataFrame], models: tuple[str, ...], sql: str
) -> list[tuple[int, ...]]:
    """What a query says after these nights were written and these models built."""
    with tempfile.TemporaryDirectory() as folder:
        for night in nights:
            night.write(Lake(Path(folder)))
        connection = connect(frames)
        built = engine(connection, Path(folder))
        for name in models:
            built.build(name)
        return connection.execute(sql).fetchall()
