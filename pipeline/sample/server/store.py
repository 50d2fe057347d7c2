"""Stores, orders and customers as the Marketing API shows them."""

from collections.abc import Mapping
from functools import cached_property

from pipeline.sample.account.population import FIRST_NAMES
from pipeline.sample.account.world import AUDIENCE_ID, CURRENCY, STORE_ID
from pipeline.sample.server.audiences import AUDIENCE_CREATED
from pipeline.sample.server.reports import AUDIENCE_NAME
from pipeline.sample.server.shapes import Item, not_found, page, text
from pipeline.sample.server.view import View

Query = Mapping[str, str]


class StoreApi:
    """Answers for `/ecommerce`, as of a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._people = view.account.people

    def stores(self, query: Query) -> Item:
        """GET /ecommerce/stores."""
        store = {
            "id": STORE_ID,
            "list_id": AUDIENCE_ID,
            "name": AUDIENCE_NAME,
            "platform": "custom",
            "is_syncing": False,
            "currency_code": CURRENCY,
            "timezone": "America/New_York",
            "created_at": AUDIENCE_CREATED,
            "updated_at": AUDIENCE_CREATED,
            "list_is_active": True,
        }
        return page(query, "stores", [store])

    def orders(self, store_id: str | None, query: Query) -> Item:
        """GET /ecommerce/stores/{id}/orders, and of all stores: no window of time."""
        self._store(store_id)
        chosen = self._orders
        if "customer_id" in query:
            chosen = [row for row in chosen if f"c{row['subscriber']}" == query["customer_id"]]
        if query.get("campaign_id") or query.get("outreach_id") or query.get("has_outreach") == "true":
            chosen = []
        body = page(query, "orders", chosen, self._order)
        return {**body, "store_id": store_id} if store_id else body

    def customers(self, store_id: str, query: Query) -> Item:
        """GET /ecommerce/stores/{id}/customers."""
        self._store(store_id)
        buyers: dict[int, list[Item]] = {}
        for row in self._orders:
            buyers.setdefault(row["subscriber"], []).append(row)
        if query.get("email_address"):
            buyers = {one: rows for one, rows in buyers.items() if self._people.address[one] == query["email_address"]}
        body = page(query, "customers", list(buyers.items()), lambda item: self._customer(*item))
        return {**body, "store_id": store_id}

    @cached_property
    def _orders(self) -> list[Item]:
        return self._view.orders.filter("is_in_store").to_dicts()

    def _store(self, store_id: str | None) -> None:
        if store_id not in (None, STORE_ID):
            raise not_found()

    def _order(self, row: Item) -> Item:
        total = row["net_cents"] + row["tax_cents"] + row["shipping_cents"]
        is_back = row["refund_us"] < self._view.now_us
        state = (
            "paid" if not is_back else "refunded" if row["refund_cents"] == row["net_cents"] else "partially_refunded"
        )
        moment = text(row["occurred_us"])
        return {
            "id": row["order_id"],
            "customer": self._customer(row["subscriber"], [row]),
            "store_id": STORE_ID,
            "financial_status": state,
            "fulfillment_status": "shipped",
            "currency_code": row["currency"],
            "order_total": total / 100,
            "discount_total": 0,
            "tax_total": row["tax_cents"] / 100,
            "shipping_total": row["shipping_cents"] / 100,
            "processed_at_foreign": moment,
            "updated_at_foreign": text(row["refund_us"]) if is_back else moment,
            "lines": [],
        }

    def _customer(self, person: int, rows: list[Item]) -> Item:
        spent = sum(row["net_cents"] + row["tax_cents"] + row["shipping_cents"] for row in rows)
        return {
            "id": f"c{person}",
            "email_address": str(self._people.address[person]),
            "opt_in_status": True,
            "company": "",
            "first_name": FIRST_NAMES[person % len(FIRST_NAMES)],
            "last_name": "",
            "orders_count": len(rows),
            "total_spent": spent / 100,
            "created_at": text(int(self._people.signup_us[person])),
            "updated_at": text(max(row["occurred_us"] for row in rows)),
        }
