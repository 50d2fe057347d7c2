"""API items become lake frames: pure, one function a table.

Items that break the contract are set aside with the field and the reason. Which rows of a good frame are kept, such as
those of the night's span, is for the pulls.
"""

import json
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import polars as pl

from pipeline.common.personal import without_addresses, without_person
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.keys import member_id as member_id_of
from pipeline.lake.store import QuarantinedRow
from pipeline.mailchimp import columns
from pipeline.mailchimp.fields import Field, Item, Parsed, read_items
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, identity, polars_schema

logger = logging.getLogger(__name__)

LONGEST_DELAY = 10**6
HOURS = {"now": 0.0, "hour": 1.0, "day": 24.0, "week": 168.0}
# Networks from which mail services fetch images for their users, as widely known; not checked against a published list.
IMAGE_PROXIES = tuple(
    IPv4Network(network)
    for network in (
        "66.249.80.0/20",  # Google
        "72.14.199.0/24",
        "74.125.0.0/16",
        "17.0.0.0/8",  # Apple
        "104.28.0.0/16",
        "67.195.0.0/16",  # Yahoo
        "72.30.0.0/16",
        "74.6.0.0/16",
        "98.136.0.0/14",
    )
)
_PROXY_BOUNDS = tuple((int(network.network_address), int(network.broadcast_address)) for network in IMAGE_PROXIES)


@dataclass(frozen=True)
class Rows:
    """Rows for one lake table (its columns but `as_of_day`, perhaps a few more) and those set aside.

    `broken` holds the positions of the items set aside, where somebody has to find them again.
    """

    model: type[Table]
    frame: pl.DataFrame
    quarantined: list[QuarantinedRow]
    broken: list[int] = field(default_factory=list)


def table_rows(
    model: type[Table],
    endpoint: str,
    fields: dict[str, Field],
    items: Sequence[Any],
    keys: SubscriberKeys | None = None,
    judge: Callable[[Item], None] = lambda row: None,
    **constants: str,
) -> Rows:
    """Rows of a table whose items need no more than their fields read.

    Args:
        model: the lake table.
        endpoint: where the items come from, ids filled in.
        fields: how each column is read.
        items: API items.
        keys: turns `member_id`, or else `email_address`, into `subscriber_key`; null where an item has neither.
        judge: raises for a row whose columns do not fit together.
        constants: columns that are the same for every item.

    Raises:
        ContractBrokenError: if most items of a page are broken.
    """
    parsed = read_items(identity(model).name, endpoint, fields, items, judge)
    frame = _frame(parsed, model).with_columns(pl.lit(value).alias(name) for name, value in constants.items())
    return Rows(model, _with_subscriber(frame, keys) if keys else frame, parsed.quarantined)


def member_rows(
    endpoint: str,
    items: Sequence[Any],
    keys: SubscriberKeys,
    *,
    audience_id: str,
    private: frozenset[str],
    external_id: str | None,
) -> Rows:
    """Members of an audience; keeps `member_id`, `email_address` and `external_id` beside the table's columns.

    A member without an address, known by a phone number alone, has the status 'no address' and is keyed by the contact.

    Args:
        endpoint: where the items come from.
        items: API members.
        keys: maker of subscriber keys.
        audience_id: the audience.
        private: tags of merge fields that are not stored.
        external_id: tag of the merge field by which event files name a subscriber.
    """
    parsed = read_items(identity(tables.Members).name, endpoint, columns.MEMBERS, items, columns.known_member)
    told = parsed.columns
    told["external_id"] = [_external_id(fields, external_id) for fields in told["merge_fields"]]
    told["merge_fields"] = [_public_fields(fields, private) for fields in told["merge_fields"]]
    told["tags"] = [_tag_names(tags) for tags in told["tags"]]
    contact_key = pl.Series("contact_key", keys.of_contact(pl.Series(told["contact_id"], dtype=pl.String)))
    frame = _with_subscriber(_frame(parsed, tables.Members), keys).with_columns(
        contact_key,
        pl.coalesce("subscriber_key", contact_key).alias("subscriber_key"),
        pl.coalesce("timestamp_signup", "timestamp_opt").alias("signup_us"),
        pl.when(pl.col("email_address").is_null()).then(pl.lit(tables.NO_ADDRESS)).otherwise("status").alias("status"),
        pl.lit(audience_id).alias("audience_id"),
    )
    return Rows(tables.Members, frame, parsed.quarantined, parsed.broken)


def automation_email_rows(endpoint: str, items: Sequence[Any], workflow_id: str) -> Rows:
    """E-mails of a classic automation with their delay in hours (null where its unit is unknown)."""
    parsed = read_items(identity(tables.AutomationEmails).name, endpoint, columns.AUTOMATION_EMAILS, items)
    delays = parsed.columns.pop("delay")
    parsed.columns["delay_hours"] = [_delay_hours(delay) for delay in delays]
    parsed.columns["delay_action"] = [_text_or_none(delay.get("action")) for delay in delays]
    frame = _frame(parsed, tables.AutomationEmails).with_columns(pl.lit(workflow_id).alias("workflow_id"))
    return Rows(tables.AutomationEmails, frame, parsed.quarantined)


def activity_rows(endpoint: str, items: Sequence[Any], keys: SubscriberKeys, campaign_id: str) -> Rows:
    """Opens, clicks and bounces of a campaign, one row an event; `is_bot` is for the caller who has both passes."""
    fields = columns.RECIPIENT, "activity", columns.ACTIVITY
    parsed = _exploded(tables.EmailActivity, endpoint, items, *fields)
    frame = _frame(parsed, tables.EmailActivity)
    proxies = [ip for ip in frame["ip"].drop_nulls().unique() if is_image_proxy(ip)]
    frame = frame.with_columns(
        keys.of_ip(frame["ip"]).alias("ip_key"),
        # Only opens fetch images: a click from the same network is a person behind a privacy relay.
        ((pl.col("action") == "open") & pl.col("ip").is_in(proxies).fill_null(False)).alias("is_image_proxy"),
        pl.lit(campaign_id).alias("campaign_id"),
    )
    return Rows(tables.EmailActivity, _with_subscriber(frame.drop("ip"), keys), parsed.quarantined)


def open_rows(endpoint: str, items: Sequence[Any], keys: SubscriberKeys, campaign_id: str) -> Rows:
    """Opens of a campaign with Mailchimp's mark of proxy opens."""
    parsed = _exploded(tables.OpenDetails, endpoint, items, columns.OPENER, "opens", columns.OPEN)
    frame = _frame(parsed, tables.OpenDetails).with_columns(pl.lit(campaign_id).alias("campaign_id"))
    return Rows(tables.OpenDetails, _with_subscriber(frame, keys), parsed.quarantined)


def feed_times(endpoint: str, items: Sequence[Any]) -> dict[str, list[int]]:
    """Times of sending (epoch microseconds) by campaign, from one member's activity feed, in order."""
    parsed = read_items(identity(tables.Sends).name, endpoint, columns.FEED, items)
    times: dict[str, list[int]] = {}
    for kind, campaign, sent_us in zip(*parsed.columns.values(), strict=True):
        if kind == "sent" and campaign and sent_us is not None:
            times.setdefault(campaign, []).append(sent_us)
    return {campaign: sorted(found) for campaign, found in times.items()}


def is_image_proxy(address: str) -> bool:
    """Whether an IP address belongs to a known image proxy; what is no IPv4 address does not."""
    try:
        value = int.from_bytes(socket.inet_pton(socket.AF_INET, address))
    except (OSError, ValueError):
        return False
    return any(first <= value <= last for first, last in _PROXY_BOUNDS)


def _exploded(
    model: type[Table],
    endpoint: str,
    items: Sequence[Any],
    outer: dict[str, Field],
    inner: str,
    fields: dict[str, Field],
) -> Parsed:
    """One row per element of the list `inner` of each item, which brings along its member."""
    source = identity(model).name
    parents = read_items(source, endpoint, outer, items)
    pairs = [
        (member, element)
        for member, elements in zip(parents.columns["member_id"], parents.columns[inner], strict=True)
        for element in elements
    ]
    parsed = read_items(source, endpoint, fields, [element for _, element in pairs])
    parsed.columns["member_id"] = [pairs[index][0] for index in parsed.kept]
    parsed.quarantined += parents.quarantined
    return parsed


def _frame(parsed: Parsed, model: type[Table]) -> pl.DataFrame:
    """The good rows. Every column has its type from the table or from `HELPERS`, whatever the items hold."""
    schema = {**columns.HELPERS, **polars_schema(model)}
    return pl.DataFrame(parsed.columns, schema={name: schema[name] for name in parsed.columns})


def _with_subscriber(frame: pl.DataFrame, keys: SubscriberKeys) -> pl.DataFrame:
    """The frame with `subscriber_key`, by the member id or else by the address; null where a row has neither."""
    if "email_address" in frame.columns:
        by_address = frame["email_address"].map_elements(member_id_of, return_dtype=pl.String)
        told = pl.col("member_id") if "member_id" in frame.columns else pl.lit(None, dtype=pl.String)
        frame = frame.with_columns(pl.coalesce(told, by_address).alias("member_id"))
    return frame.with_columns(keys.of_member_id(frame["member_id"]).alias("subscriber_key"))


def _public_fields(fields: dict[str, Any], private: frozenset[str]) -> str:
    return json.dumps(without_person(fields, private), ensure_ascii=False, sort_keys=True)


def _external_id(fields: dict[str, Any], tag: str | None) -> str | None:
    value = fields.get(tag) if tag else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # Events are read without the blanks around an id.
    return (str(value).strip() or None) if isinstance(value, str | int) else None


def _tag_names(tags: list[Any]) -> str:
    names = sorted(str(tag["name"]) for tag in tags if isinstance(tag, dict) and "name" in tag)
    return json.dumps([without_addresses(name) for name in names], ensure_ascii=False)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _delay_hours(delay: dict[str, Any]) -> float | None:
    amount, unit = delay.get("amount", 0), delay.get("type")
    if not isinstance(unit, str) or unit not in HOURS or not isinstance(amount, int) or abs(amount) > LONGEST_DELAY:
        if delay:
            logger.warning("An automation e-mail's delay has a unit we do not know; its planned wait stays unknown.")
        return None
    return (-1 if delay.get("direction") == "before" else 1) * amount * HOURS[unit]
