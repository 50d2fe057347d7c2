"""The orders of every connected store."""

from datetime import date
from functools import partial

import polars as pl

from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake, QuarantinedRow
from pipeline.mailchimp import columns
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.fields import Field, read_items
from pipeline.mailchimp.fields import currency as read_currency
from pipeline.mailchimp.paging import Listing
from pipeline.mailchimp.pulls.narrowing import ids_of, projection
from pipeline.mailchimp.pulls.pulling import Pull, PullSummary
from pipeline.schemas import lake as tables
from pipeline.schemas.base import identity
from pipeline.settings import Settings

STORES = "/ecommerce/stores"
ORDER_FIELDS = (
    "id,customer.email_address,currency_code,order_total,tax_total,shipping_total,financial_status,processed_at_foreign"
)


def pull_orders(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Every order of every store: orders have no time filter, and a first purchase needs them all.

    Raises:
        SourceError: if the stores cannot be listed, or none of them can be read.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    stores = _stores(pull)
    pull.sources.compare("store", dict.fromkeys(pull.sources.ids("store"), ""), ids_of(stores))
    found = read_items("orders", STORES, columns.STORES, stores)
    pull.set_aside(found.quarantined)

    def read(store: tuple[str, str, str | None]) -> tuple[str, str, Listing, parse.Rows] | None:
        store_id, name, _ = store
        is_there = partial(_is_listed, pull, store_id)
        return pull.attempt("store", store_id, name, partial(_orders, pull, *store), is_there)

    for orders in client.map(read, zip(*found.columns.values(), strict=True)):
        if orders:
            store_id, name, listing, rows = orders
            pull.set_aside(_uncounted(store_id, rows.frame["currency"], settings.currency))
            pull.sources.note_read(
                "store",
                store_id,
                name,
                announced=listing.announced,
                set_aside=len(rows.quarantined),
                left_out=rows.frame.height - pull.add(rows).rows,
            )
    return pull.finish()


def _uncounted(store_id: str, currencies: pl.Series, counted: str) -> list[QuarantinedRow]:
    """A line for each other currency of a store, whose orders are kept and may be the ones that count one day."""
    source, why = identity(tables.Orders).name, f"is not the workspace's currency {counted}: such orders count nowhere"
    others = currencies.filter(currencies != counted).unique().sort()
    return [QuarantinedRow(source, f"{STORES}/{store_id}/orders in {one}", "currency_code", why) for one in others]


def _stores(pull: Pull) -> Listing:
    return pull.listing(STORES, "stores", {"fields": projection("stores", "id,name,currency_code")})


def _is_listed(pull: Pull, store_id: str) -> bool:
    """A store has no address of its own in the contract, so the list is asked once more."""
    return store_id in ids_of(_stores(pull))


def _orders(pull: Pull, store_id: str, name: str, currency: str | None) -> tuple[str, str, Listing, parse.Rows]:
    endpoint = f"{STORES}/{{store_id}}/orders"
    listing = pull.listing(endpoint, "orders", {"fields": projection("orders", ORDER_FIELDS)}, store_id=store_id)
    # An order that names no currency is in that of its store.
    fields = columns.ORDERS | {
        "currency": Field("currency_code", read_currency, required=currency is None, default=currency)
    }
    place = f"{STORES}/{store_id}/orders"
    rows = parse.table_rows(tables.Orders, place, fields, listing, pull.keys, store_id=store_id)
    return store_id, name, listing, rows
