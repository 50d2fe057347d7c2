"""Marks of machines: purity and retention of clicks and opens, on the SQL that the product runs over a lake.

Worlds differ in how scanners behave and how soon people react. People draw the time to their first click from a
log-normal law of which .4% lies within a minute and 1% within two.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import polars as pl

from pipeline.lake.store import Lake
from pipeline.schemas import lake
from tests.acceptance.simulations import Check
from tests.engine.world import DAY, FIRST_DAY, HOUR, connect, day_number, dimensions, engine

CAMPAIGN = "campaign-campaign"
START = day_number(FIRST_DAY) * DAY + 9 * HOUR
SECOND = 1_000_000
PEOPLE = 8_000
OFFICE = 40
MANY = 100_000
SCHEMA = {"who": pl.Int64, "action": pl.String, "lag": pl.Float64, "link": pl.Int64, "ip": pl.Int64, "person": pl.Int8}


@dataclass(frozen=True)
class Scanner:
    """How a link scanner behaves; times in seconds.

    Attributes:
        share: share of the recipients whose mail it scans.
        begins: median time from the sending to the first click, and its log standard deviation.
        pause: shortest and longest time from one link to the next.
        links: share of the message's links that it follows; 0 = the first link alone.
        addresses: IP addresses from which it acts; 0 = another one for every click.
        opens: whether it fetches the pictures too, from the address of its first click.
    """

    share: float
    begins: tuple[float, float] = (20.0, 0.4)
    pause: tuple[float, float] = (1.0, 3.0)
    links: float = 1.0
    addresses: int = 60
    opens: bool = True


@dataclass(frozen=True)
class World:
    """A day's mailing: scanners, the number of links, how soon people react, and over how long the mail goes out."""

    scanners: tuple[Scanner, ...] = ()
    links: int = 5
    click_median: float = 16_800.0
    click_spread: float = 2.126
    sent_over_hours: float = 0.0
    is_time_known: bool = True
    people: int = field(default=PEOPLE)


WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "at once, link after link": World((Scanner(0.12),)),
        "at once, slowly": World((Scanner(0.12, begins=(25.0, 0.5), pause=(4.0, 45.0)),)),
        "at once, two links": World((Scanner(0.12),), links=2),
        "half the links, other addresses": World((Scanner(0.12, links=0.5, addresses=0),), links=8),
        "the first link alone": World((Scanner(0.12, begins=(25.0, 0.6), links=0.0),)),
        "the first link alone, other addresses": World(
            (Scanner(0.12, begins=(25.0, 0.6), links=0.0, addresses=0),), people=20_000
        ),
        "minutes later": World((Scanner(0.12, begins=(240.0, 0.5), pause=(1.0, 5.0)),)),
        "one address, within half an hour": World((Scanner(0.08, begins=(500.0, 0.4), links=0.0, addresses=1),)),
        "opens alone": World((Scanner(0.12, links=-1.0),)),
        "several together": World(
            (
                Scanner(0.06),
                Scanner(0.04, begins=(40.0, 0.5), pause=(3.0, 12.0), addresses=0),
                Scanner(0.03, begins=(200.0, 0.5)),
                Scanner(0.03, links=0.0, begins=(15.0, 0.5)),
            ),
            click_median=2_400.0,
            click_spread=1.4,
        ),
        "an automation, all day": World((Scanner(0.12, pause=(1.0, 6.0)),), sent_over_hours=12.0),
        "a short list": World((Scanner(0.12, begins=(25.0, 0.5), pause=(1.0, 10.0)),), people=800),
        "times of sending unknown": World((Scanner(0.12, pause=(1.0, 4.0)),), links=6, is_time_known=False),
        "no scanner": World(),
        "no scanner, prompt people": World(click_median=1_500.0, click_spread=1.3),
    }
)


def run(scale: float = 1.0, seed: int = 404) -> list[Check]:
    """Mark every world by the product's SQL and compare the marks with the truth."""
    runs = max(int(6 * scale), 1)
    checks: list[Check] = []
    office: list[bool] = []
    for number, (name, world) in enumerate(WORLDS.items()):
        marked = pl.concat(
            acts.with_columns(run=pl.lit(run))
            for run, acts in enumerate(_marked(world, np.random.default_rng([seed, number]), runs))
        )
        office += marked.filter((pl.col("ip") == 1) & (pl.col("person") == 1))["is_human"].to_list()
        for action in ("click", "open"):
            mine = marked.filter(pl.col("action") == action)
            if world.scanners and mine["person"].min() == 0:
                checks.append(_by_run(f"{name}: purity of {action}s", mine.filter("is_human"), "person", 0.98))
            checks.append(_by_run(f"{name}: people kept, {action}s", _people(mine), "is_human", 0.99))
    checks.append(_share(f"an office of {OFFICE} behind one address: acts kept", np.array(office), 0.99))
    return checks


def _people(acts: pl.DataFrame) -> pl.DataFrame:
    """Messages in which a person acted, and whether any of these acts is left."""
    return acts.filter(pl.col("person") == 1).group_by("run", "who").agg(pl.col("is_human").any())


def _by_run(measure: str, rows: pl.DataFrame, column: str, target: float) -> Check:
    shares = rows.group_by("run").agg(pl.col(column).cast(pl.Float64).mean())[column].to_numpy()
    error = float(shares.std(ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else _binomial_error(rows[column])
    return Check(measure, float(shares.mean()), target, ">=", error)


def _binomial_error(values: pl.Series) -> float:
    share = float(values.cast(pl.Float64).to_numpy().mean())
    return float(np.sqrt(share * (1 - share) / len(values)))


def _share(measure: str, values: np.ndarray, target: float) -> Check:
    return Check(measure, float(values.mean()), target, ">=", _binomial_error(pl.Series(values)))


def _marked(world: World, rng: np.random.Generator, runs: int) -> Iterator[pl.DataFrame]:
    for _ in range(runs):
        acts = _acts(world, rng)
        sent = START + (rng.random(world.people) * world.sent_over_hours * HOUR).astype(np.int64) // SECOND * SECOND
        with tempfile.TemporaryDirectory() as folder:
            yield marks_of(world, acts, sent, Path(folder))


def _acts(world: World, rng: np.random.Generator) -> pl.DataFrame:
    parts = list(_persons(world, rng))
    machine = np.split(rng.permutation(world.people), np.cumsum([int(s.share * world.people) for s in world.scanners]))
    for number, scanner in enumerate(world.scanners):
        parts += _scans(world, scanner, machine[number], 1_000_000 * (number + 1), rng)
    return pl.concat(parts).with_columns(pl.col("lag").floor()).unique(["who", "action", "lag", "link"], keep="first")


def _persons(world: World, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    """A third opens, and some of them click. The first in order share the office's address, others have their own."""
    who = np.flatnonzero(rng.random(world.people) < np.where(np.arange(world.people) < OFFICE, 0.9, 0.35))
    ip = np.where(who < OFFICE, 1, 100 + who)
    clicks = rng.random(len(who)) < 0.3
    click = np.exp(np.log(world.click_median) + world.click_spread * rng.standard_normal(len(who)))
    reading = np.minimum(rng.uniform(5, 60, len(who)), click / 2)
    alone = np.exp(np.log(world.click_median / 2) + world.click_spread * 0.9 * rng.standard_normal(len(who)))
    yield _rows(who, "open", np.where(clicks, click - reading, alone), -1, ip, 1)
    again = rng.random(len(who)) < 0.2
    yield _rows(who[again], "open", alone[again] + rng.exponential(40_000, again.sum()), -1, ip[again], 1)
    link, at = rng.integers(0, world.links, len(who)), click
    for number, share in enumerate((1.0, 0.25, 0.3)[: world.links]):
        clicks = clicks & (rng.random(len(who)) < share)
        yield _rows(who[clicks], "click", at[clicks], (link[clicks] + number) % world.links, ip[clicks], 1)
        at = at + 2 + np.exp(np.log(25) + 0.8 * rng.standard_normal(len(who)))


def _scans(
    world: World, scanner: Scanner, who: np.ndarray, first_ip: int, rng: np.random.Generator
) -> Iterator[pl.DataFrame]:
    median, spread = scanner.begins
    at = np.exp(np.log(median) + spread * rng.standard_normal(len(who)))
    ip = first_ip + (
        rng.integers(0, scanner.addresses, len(who)) if scanner.addresses else rng.integers(0, 10**5, len(who))
    )
    if scanner.opens:
        yield _rows(who, "open", np.maximum(at - rng.uniform(0, 3, len(who)), 0), -1, ip, 0)
    for link in range(1 if scanner.links == 0 else world.links):
        follows = rng.random(len(who)) < (1.0 if scanner.links == 0 else scanner.links)
        yield _rows(who[follows], "click", at[follows], link, ip[follows], 0)
        at = at + np.where(follows, rng.uniform(*scanner.pause, len(who)), 0)
        if not scanner.addresses:
            ip = first_ip + rng.integers(0, MANY, len(who))


def _rows(
    who: np.ndarray, action: str, lag: np.ndarray, link: np.ndarray | int, ip: np.ndarray, person: int
) -> pl.DataFrame:
    frame = pl.DataFrame({"who": who, "lag": lag, "ip": ip})
    told = {"action": pl.lit(action), "link": pl.Series(np.broadcast_to(link, len(who))), "person": pl.lit(person)}
    return frame.with_columns(**told).select(*SCHEMA).cast(pl.Schema(SCHEMA))


def marks_of(world: World, acts: pl.DataFrame, sent: np.ndarray, root: Path) -> pl.DataFrame:
    """The acts with `is_human`, as `core.engagements` has it after the models ran over a lake with these acts."""
    campaign = pl.lit(CAMPAIGN).alias("campaign_id")
    source = "campaign" if world.is_time_known else "computed"
    sends = pl.DataFrame({"subscriber_key": np.arange(world.people), "sent_us": sent})
    told = acts.join(sends, left_on="who", right_on="subscriber_key", maintain_order="left").select(
        campaign,
        pl.lit(False).alias("is_image_proxy"),
        pl.lit(False).alias("is_bot"),
        pl.col("action", "person", "ip"),
        subscriber_key="who",
        occurred_us=pl.col("sent_us") + (pl.col("lag") * SECOND).cast(pl.Int64),
        url=pl.when(pl.col("link") < 0).then(pl.lit("")).otherwise(pl.format("https://example.org/{}", "link")),
        ip_key="ip",
    )
    links = pl.DataFrame({"link_id": [str(link) for link in range(world.links)]}).with_columns(
        campaign, url=pl.format("https://example.org/{}", "link_id"), total_clicks=1, unique_clicks=1
    )
    target = Lake(root)
    target.append(
        lake.Sends, sends.with_columns(campaign, sent_at_source=pl.lit(source), status=pl.lit("sent")), FIRST_DAY
    )
    target.append(lake.EmailActivity, told.drop("person", "ip"), FIRST_DAY)
    target.append(lake.ClickDetails, links, FIRST_DAY)
    connection = connect(dimensions(1))
    models = engine(connection, root)
    for name in ("core.sends", "core.engagements"):
        models.build(name)
    found = connection.sql(
        "SELECT subscriber_key, action, occurred_us, url, is_human, machine_cause FROM core.engagements"
    )
    keys = ["subscriber_key", "action", "occurred_us", "url"]
    return told.join(found.pl(), on=keys, how="inner").rename({"subscriber_key": "who"})
