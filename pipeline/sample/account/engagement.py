"""Opens, clicks and bounces as Mailchimp records them: of people, of privacy proxies and of link scanners.

People are drawn so that no documented rule takes them for a machine: at least a minute after the send, more than
10 s between two links, from an address of their own. Machines always break at least one rule.
"""

import numpy as np
import polars as pl

from pipeline.common.time import MINUTE_US, SECOND_US
from pipeline.sample.account.draws import Draws
from pipeline.sample.account.population import SCANNERS, Population
from pipeline.sample.account.world import NEVER_US, Array

LINKS = ("shop", "guide", "story")
UNSUBSCRIBE_LINK = "unsubscribe"
LINK_URLS = {
    **{link: f"https://northwind.example/{link}" for link in LINKS},
    UNSUBSCRIBE_LINK: "https://northwind.us1.list-manage.com/unsubscribe?u=5d1c&id=5a3b1e7f90",
}
FILTERED_SHARES = {"too_fast": 0.5, "all_links": 0.4, "shared_ip": 0.3}  # of their clicks that Mailchimp recognises
SCAN_SHARE = 0.6
APART_US = 2 * MINUTE_US
SCHEMA = pl.Schema(
    {
        "campaign_id": pl.String,
        "subscriber": pl.Int64,
        "action": pl.String,
        "occurred_us": pl.Int64,
        "link": pl.String,
        "ip": pl.String,
        "bounce_kind": pl.String,
        "is_proxy": pl.Boolean,
        "is_filtered": pl.Boolean,
        "is_person": pl.Boolean,
    }
)
Parts = list[pl.DataFrame]


def draw_activity(draws: Draws, people: Population, messages: pl.DataFrame) -> pl.DataFrame:
    """One row per recorded open, click or bounce, distinct by (campaign, subscriber, action, instant, link).

    Args:
        draws: chance of each slot.
        people: who they are.
        messages: frame of messages as `account` makes it.
    """
    parts: Parts = []
    _people_open(draws, people, messages, parts)
    _people_click(draws, messages, parts)
    _proxies_open(draws, people, messages, parts)
    _scanners_click(draws, people, messages, parts)
    _bounces(draws, messages, parts)
    activity = pl.concat(parts)
    return activity.unique(
        ["campaign_id", "subscriber", "action", "occurred_us", "link"], keep="first", maintain_order=True
    ).sort("campaign_id", "subscriber", "occurred_us", "action", "link")


def _people_open(draws: Draws, people: Population, messages: pl.DataFrame, parts: Parts) -> None:
    opened = messages.filter(pl.col("person_open_us").is_not_null())
    person = opened["subscriber"].to_numpy()
    # Behind a privacy proxy a person's own open mostly leaves no trace besides the proxy's.
    is_seen = ~people.has_proxy[person] | (draws.random(opened["slot"]) < 0.3)
    again = is_seen & (draws.random(opened["slot"]) < 0.3)
    wait = pl.Series(draws.integers(600, 200_000, opened["slot"]) * SECOND_US)
    parts.append(_rows(opened.filter(is_seen), "open", pl.col("person_open_us"), is_person=True))
    parts.append(_rows(opened.filter(again), "open", pl.col("person_open_us") + wait.filter(again), is_person=True))


def _people_click(draws: Draws, messages: pl.DataFrame, parts: Parts) -> None:
    clicked = messages.filter(pl.col("person_click_us").is_not_null())
    first = draws.integers(0, len(LINKS), clicked["slot"])
    moment = clicked["person_click_us"].to_numpy().copy()
    chosen = np.ones(clicked.height, dtype=bool)
    for number, share in enumerate((1.0, 0.25, 0.3)):
        chosen &= draws.random(clicked["slot"]) < share
        links = pl.Series(np.array(LINKS)[(first + number) % len(LINKS)])
        rows = clicked.with_columns(link=links, moment=pl.Series(moment)).filter(chosen)
        parts.append(_rows(rows, "click", pl.col("moment"), link=pl.col("link"), is_person=True))
        moment = moment + draws.integers(15, 90, clicked["slot"]) * SECOND_US
    leaving = messages.filter(pl.col("unsubscribed_us").is_not_null())
    leaving = leaving.filter(draws.random(leaving["slot"]) < 0.4)
    link = pl.lit(UNSUBSCRIBE_LINK)
    parts.append(_rows(leaving, "click", pl.col("unsubscribed_us") - 2 * SECOND_US, link=link, is_person=True))


def _proxies_open(draws: Draws, people: Population, messages: pl.DataFrame, parts: Parts) -> None:
    delivered = messages.filter(pl.col("bounce_kind").is_null())
    person, slot = delivered["subscriber"].to_numpy(), delivered["slot"]
    seconds = pl.Series(draws.integers(2, 20, slot) * SECOND_US)
    # Where a person opened behind a proxy, the proxy has fetched too: the upper bound on human opens must hold.
    fetches = (draws.random(slot) < 0.95) | delivered["person_open_us"].is_not_null().to_numpy()
    for has, network, is_marked in (
        (people.has_proxy, "104.28.58", True),
        (people.has_image_proxy, "66.249.84", False),
    ):
        mine = has[person] & fetches
        if not is_marked:
            mine &= draws.random(slot) < 0.7
        rows = delivered.with_columns(
            moment=pl.col("sent_us") + seconds, ip=_addresses(network, draws.integers(1, 200, slot))
        ).filter(mine)
        parts.append(
            _rows(
                rows,
                "open",
                pl.col("moment"),
                ip=pl.col("ip"),
                is_person=False,
                is_proxy=is_marked,
                is_filtered=is_marked,
            )
        )


def _scanners_click(draws: Draws, people: Population, messages: pl.DataFrame, parts: Parts) -> None:
    delivered = messages.filter(pl.col("bounce_kind").is_null())
    person = delivered["subscriber"].to_numpy()
    kind = np.array(SCANNERS)[people.scanner[person]]
    scans = draws.random(delivered["slot"]) < SCAN_SHARE
    for cause in SCANNERS[1:]:
        mine = (kind == cause) & scans
        if cause == "shared_ip":
            mine &= (delivered["kind"] == "campaign").to_numpy()
        rows = delivered.filter(mine)
        slot = rows["slot"]
        filtered = pl.Series(draws.random(slot) < FILTERED_SHARES[cause])
        if cause == "shared_ip":
            address = pl.Series(["192.0.2.7"] * rows.height, dtype=pl.String)
        else:
            address = _addresses("192.0.2", 10 + person[mine] % 200)
        start = {"too_fast": (1, 4), "all_links": (60, 600), "shared_ip": (120, 1800)}[cause]
        moment = rows["sent_us"].to_numpy() + draws.integers(*start, slot) * SECOND_US
        links = LINKS if cause == "all_links" else (LINKS[0],)
        # Nobody could tell a person's click in the middle of a scan from the scan.
        own_click = rows["person_click_us"].fill_null(NEVER_US).to_numpy()
        is_apart = pl.Series(np.abs(own_click - moment) > APART_US)
        for link in links:
            marked = rows.with_columns(moment=pl.Series(moment), ip=address, is_filtered=filtered).filter(is_apart)
            parts.append(
                _rows(
                    marked,
                    "click",
                    pl.col("moment"),
                    link=pl.lit(link),
                    ip=pl.col("ip"),
                    is_filtered=pl.col("is_filtered"),
                    is_person=False,
                )
            )
            moment = moment + draws.integers(0, 4, slot) * SECOND_US


def _bounces(draws: Draws, messages: pl.DataFrame, parts: Parts) -> None:
    bounced = messages.filter(pl.col("bounce_kind").is_not_null())
    parts.append(_rows(bounced, "bounce", pl.col("bounce_us"), bounce_kind=pl.col("bounce_kind"), is_person=False))
    hard = bounced.filter(pl.col("bounce_kind") == "hard")
    # As really recorded once: an image proxy fetched the message seconds before it bounced.
    early = hard.filter(draws.random(hard["slot"]) < 0.3)
    parts.append(_rows(early, "open", pl.col("bounce_us") - 3 * SECOND_US, ip=pl.lit("72.14.199.40"), is_person=False))


def _rows(
    messages: pl.DataFrame,
    action: str,
    moment: pl.Expr,
    *,
    is_person: bool,
    link: pl.Expr | None = None,
    ip: pl.Expr | None = None,
    bounce_kind: pl.Expr | None = None,
    is_proxy: bool = False,
    is_filtered: pl.Expr | bool = False,
) -> pl.DataFrame:
    own = pl.format(
        "198.{}.{}.{}",
        18 + pl.col("subscriber") // 65_536,
        pl.col("subscriber") // 256 % 256,
        pl.col("subscriber") % 256,
    )
    address = own if ip is None else ip
    return messages.select(
        "campaign_id",
        "subscriber",
        pl.lit(action).alias("action"),
        moment.alias("occurred_us"),
        (pl.lit("") if link is None else link).alias("link"),
        (pl.lit(None, dtype=pl.String) if action == "bounce" else address).alias("ip"),
        (pl.lit(None, dtype=pl.String) if bounce_kind is None else bounce_kind).alias("bounce_kind"),
        pl.lit(is_proxy).alias("is_proxy"),
        (pl.lit(is_filtered) if isinstance(is_filtered, bool) else is_filtered).alias("is_filtered"),
        pl.lit(is_person).alias("is_person"),
    ).cast(SCHEMA)


def _addresses(network: str, host: Array) -> pl.Series:
    return pl.Series([f"{network}.{one}" for one in host.tolist()], dtype=pl.String)
