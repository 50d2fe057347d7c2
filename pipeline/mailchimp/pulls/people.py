"""One person, whatever their address: a contact keeps the key under which it was first known.

Keys are made of addresses, since nothing else names a person everywhere. A contact id tells who changed theirs.
"""

import polars as pl

from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.schemas import lake as tables


def known_persons(
    members: pl.DataFrame, audience_id: str, lake: Lake, keys: SubscriberKeys
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Members of one audience under the key by which each person is known.

    Args:
        members: with `subscriber_key` made of the present address (or of the contact, where there is no address),
            `member_id` and `contact_key`.
        audience_id: the audience.
        lake: what is known of contacts and addresses.
        keys: keys of addresses, with no regard to who is known by another one.

    Returns:
        The members, and rows of `lake.renamed` for addresses whose owner has changed. Somebody new on an address that a
        known person has left is a person of their own, keyed by the contact.
    """
    contacts = (
        lake.latest(tables.Members)
        .filter((pl.col("audience_id") == audience_id) & pl.col("contact_key").is_not_null())
        .select("contact_key", known_key="subscriber_key")
        .unique("contact_key", keep="first")
        .collect()
    )
    renamed = lake.latest(tables.Renamed).select("address_key", alias_key="subscriber_key").collect()
    told = members.rename({"subscriber_key": "address_key"}).join(
        contacts, on="contact_key", how="left", maintain_order="left"
    )
    told = told.join(renamed, on="address_key", how="left", maintain_order="left")
    present = _present_addresses(told, lake, keys)
    for person, address in (("address_key", "own_address"), ("alias_key", "alias_address")):
        addresses = present.rename({"subscriber_key": person, "present_key": address})
        told = told.join(addresses, on=person, how="left", maintain_order="left")
    lives_there = pl.col("alias_address") == pl.col("address_key")
    has_moved = pl.col("own_address") != pl.col("address_key")
    told = told.with_columns(
        pl.coalesce(
            "known_key",
            pl.when(lives_there | pl.col("contact_key").is_null()).then("alias_key"),
            pl.when(has_moved).then("contact_key"),
            "address_key",
        ).alias("subscriber_key")
    )
    is_news = pl.col("member_id").is_not_null() & (pl.col("subscriber_key") != pl.coalesce("alias_key", "address_key"))
    news = told.filter(is_news).select("address_key", "subscriber_key", pl.lit(audience_id).alias("audience_id"))
    return told.select(members.columns), news


def _present_addresses(told: pl.DataFrame, lake: Lake, keys: SubscriberKeys) -> pl.DataFrame:
    """`subscriber_key` and `present_key`: where the persons in question live, by what is held and by tonight's news."""
    persons = pl.concat([told["address_key"], told["alias_key"]]).drop_nulls().unique().alias("subscriber_key")
    held = lake.addresses().join(persons.to_frame(), on="subscriber_key", how="semi")
    held = held.select("subscriber_key", keys.of_member_id(held["member_id"]).alias("present_key"))
    moved = told.filter(pl.col("known_key").is_not_null() & pl.col("member_id").is_not_null())
    return pl.concat([held, moved.select(subscriber_key="known_key", present_key="address_key")]).unique(
        "subscriber_key", keep="last", maintain_order=True
    )


def without_address(lake: Lake) -> pl.Series:
    """Persons of the address file who are a member with an address in no audience any more."""
    reached = lake.latest(tables.Members).filter(~pl.col("status").is_in([tables.DELETED, tables.NO_ADDRESS]))
    return (
        lake.addresses()
        .join(reached.select("subscriber_key").unique().collect(), on="subscriber_key", how="anti")
        .get_column("subscriber_key")
    )


def deleted_members(lake: Lake, audience_id: str, alive: pl.Series) -> pl.DataFrame:
    """The members of an audience who are there no more, as last known but for their status."""
    return (
        lake.latest(tables.Members)
        .filter((pl.col("audience_id") == audience_id) & (pl.col("status") != tables.DELETED))
        .collect()
        .join(alive.alias("subscriber_key").to_frame(), on="subscriber_key", how="anti")
        .with_columns(status=pl.lit(tables.DELETED))
        .drop("as_of_day")
    )
