"""Kinds of faulty answers that fit any endpoint, and an account whose answers are broken by choice."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.mailchimp.fake_account import FakeAccount
from tests.mailchimp.faults import FAULTS, Break, Page
from tests.mailchimp.loopback import page_of, project, send

Choose = Callable[[str, dict[str, str]], Break | None]


def _changed(change: Callable[[Page], Any]) -> Break:
    def answer(handler: BaseHTTPRequestHandler, page: Page) -> None:
        change(page)
        send(handler, 200, json.dumps(page).encode())

    return answer


def _key(page: Page) -> str:
    return next(key for key, value in page.items() if isinstance(value, list))


def _items(page: Page) -> list[Any]:
    found: list[Any] = page[_key(page)]
    return found


def _items_as_object(page: Page) -> None:
    page[_key(page)] = {}


def _without_items(page: Page) -> None:
    del page[_key(page)]


def _numbers(page: Page) -> None:
    page[_key(page)] = list(range(len(_items(page))))


def _nothing_but_nulls(page: Page) -> None:
    for one in _items(page) if any(isinstance(value, list) for value in page.values()) else [page]:
        one.update(dict.fromkeys(one))


def _no_items(page: Page) -> None:
    _items(page).clear()


def _first_item_only(page: Page) -> None:
    del _items(page)[1:]


def _null_item(page: Page) -> None:
    _items(page)[0] = None


def _ids_of_others(page: Page) -> None:
    for one in _items(page) if any(isinstance(value, list) for value in page.values()) else [page]:
        one["id"] = "0" * 32


def tolerant(fault: Break) -> Break:
    """The fault, or the right answer where it has nothing that the fault changes."""

    def answer(handler: BaseHTTPRequestHandler, page: Page) -> None:
        try:
            fault(handler, page)
        except (KeyError, IndexError, StopIteration, AttributeError, TypeError):
            send(handler, 200, json.dumps(page).encode())

    return answer


KINDS: dict[str, Break] = {
    **{fault.name: tolerant(fault.answer) for fault in FAULTS},
    "204 without a body": lambda handler, page: send(handler, 204, b""),
    "an empty object": lambda handler, page: send(handler, 200, b"{}"),
    "an empty page that announces more": tolerant(_changed(_no_items)),
    "a short page that announces more": tolerant(_changed(_first_item_only)),
    "items as an object": tolerant(_changed(_items_as_object)),
    "no items": tolerant(_changed(_without_items)),
    "numbers as items": tolerant(_changed(_numbers)),
    "nothing but nulls": tolerant(_changed(_nothing_but_nulls)),
    "a null item": tolerant(_changed(_null_item)),
    "ids of others": tolerant(_changed(_ids_of_others)),
}


class BreakingAccount:
    """Answers of another account, some of them broken: `choose` gets path and query, and tells how; none = right."""

    def __init__(self, account: FakeAccount, choose: Choose) -> None:
        self._account, self._choose = account, choose

    def answer(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        fault = self._choose(path, query)
        if fault is None:
            self._account.answer(handler, path, query)
            return
        found = page_of(self._account.find(path, query) or {}, query)
        page: Page = json.loads(json.dumps(project(found, query.get("fields", ""))))
        fault(handler, page)
