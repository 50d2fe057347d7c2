"""A made-up account on loopback that can be written to, and whose every answer can be broken."""

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

import polars as pl

from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.client import MailchimpClient
from pipeline.settings import Settings
from tests.mailchimp.contract import CONTRACT, ContractAdapter
from tests.mailchimp.fake_account import API_KEY, AUDIENCE, FakeAccount, automation_email, member, member_id, subscriber
from tests.mailchimp.loopback import answer_with, project, refuse, send

Break = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
Choose = Callable[[str, str, dict[str, str]], Break | None]
WORKFLOW, EMAIL = "flow1", "mail1"
AUTOMATION = f"/automations/{WORKFLOW}/emails/{EMAIL}"
REFUSED = object()
"""What is found for a write that the account does not take: a merge field whose tag is there already."""


class WritableAccount(FakeAccount):
    """Members with merge fields and one automation e-mail.

    Attributes:
        choose: what breaks the answer to a request (method, path, query); none leaves it right.
        is_deaf: whether writes are answered well and forgotten.
        synchronised: whether writes of tags said that they start no flow.
        writes: paths that were written to, in their order.
        let_in: numbers of the members who were let into a flow, in their order.
    """

    def __init__(self, people: int) -> None:
        super().__init__()
        self.members = [member(number) for number in range(people)]
        self.found[AUTOMATION] = automation_email(EMAIL, 1, amount=1, type="day", direction="after", action="signup")
        self.found[AUTOMATION]["status"] = "paused"  # type: ignore[call-overload, index]
        self.choose: Choose = lambda method, path, query: None
        self.is_deaf = False
        self.synchronised: set[bool] = set()
        self.writes: list[str] = []
        self.let_in: list[int] = []
        self._lock = threading.Lock()

    def values(self, field: str) -> dict[int, str]:
        """What a merge field holds, by number of the member; those who hold nothing are left out."""
        held = {number: one["merge_fields"].get(field, "") for number, one in enumerate(self.members)}
        return {number: value for number, value in held.items() if value}

    def tags(self, number: int) -> set[str]:
        """The tags of a member."""
        return {one["name"] for one in self.members[number].get("tags", [])}

    def tag(self, number: int, *names: str) -> None:
        """A person's own edit: the member has these tags and no others."""
        self.members[number]["tags"] = [{"id": place, "name": name} for place, name in enumerate(names)]

    def set(self, number: int, field: str, value: str) -> None:
        """A person's own edit."""
        self.members[number]["merge_fields"] = {**self.members[number]["merge_fields"], field: value}

    def answer(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        with self._lock:
            right = self.find(path, query) if handler.command == "GET" else self._written(path, body)
            fault = self.choose(handler.command, path, query)
        if fault is not None:
            fault(handler, {} if right is REFUSED else _page(right, query))
        elif right is REFUSED:
            refuse(handler, 400, "Invalid Resource")
        elif right == {} and handler.command == "POST":
            send(handler, 204, b"")
        else:
            answer_with(handler, right, query)

    def find(self, path: str, query: dict[str, str]) -> Any:
        audience, is_member, wanted = path.removeprefix("/lists/").partition("/members/")
        if is_member:
            people = self.members if audience == AUDIENCE else self.other_members.get(audience, [])
            return next((one for one in people if one["id"].lower() == wanted), None)
        return super().find(path, query)

    def _written(self, path: str, body: Any) -> Any:
        self.writes.append(path)
        if path.endswith("/actions/trigger"):
            addresses = [one["email_address"] for one in self.members]
            self.let_in.append(addresses.index(body["email_address"]))
            return {}
        if path.endswith("/events"):
            self.let_in.append(self.members.index(self.find(path.removesuffix("/events"), {})))
            return {}
        if path.endswith("/tags") and not body.get("is_syncing"):
            self.let_in.append(self.members.index(self.find(path.removesuffix("/tags"), {})))
        if path.endswith("/tags"):
            return self._tagged(path.removesuffix("/tags"), body)
        if path.endswith("/merge-fields"):
            known = self._items(path)
            if body["tag"] in {one["tag"] for one in known}:
                return REFUSED
            made = {"merge_id": len(known) + 1, "tag": body["tag"], "name": body["name"], "type": "text"}
            if not self.is_deaf:
                known.append(made)
            return made
        if path.startswith(AUTOMATION):
            return self._email(path, body)
        found = self.find(path, {})
        if found is not None and not self.is_deaf:
            found["merge_fields"] = {**found["merge_fields"], **body["merge_fields"]}
        return found

    def _tagged(self, path: str, body: Any) -> Any:
        found = self.find(path, {})
        if found is None:
            return None
        self.synchronised.add(body.get("is_syncing", False))
        number = self.members.index(found)
        wanted = {one["name"]: one["status"] == "active" for one in body["tags"]}
        if not self.is_deaf:
            kept = self.tags(number) - {name for name, is_on in wanted.items() if not is_on}
            self.tag(number, *sorted(kept | {name for name, is_on in wanted.items() if is_on}))
        return {}

    def _email(self, path: str, body: Any) -> Any:
        email: Any = self.found[AUTOMATION]
        action = path.removeprefix(f"{AUTOMATION}/actions/")
        if action == path:
            changes, answer = {"delay": body["delay"]}, email
        else:
            changes, answer = {"status": {"start": "sending", "pause": "paused"}[action]}, {}
        if not self.is_deaf:
            email |= changes
        return answer


def client_of(url: str, **limits: Any) -> MailchimpClient:
    """The client of the account at `url`; every request keeps the contract."""
    adapter = ContractAdapter(pool_maxsize=8) if CONTRACT.exists() else None
    return MailchimpClient(url, API_KEY, settings=Settings(_env_file=None, **limits), adapter=adapter)  # type: ignore[call-arg]


def reached(url: str, people: int, keys: Sequence[int] | None = None, **limits: Any) -> MailchimpAccount:
    """The account at `url` as driptune reaches it, its members known by `keys`; the flow's audience is the main one."""
    client = client_of(url, **limits)
    known = [subscriber(number) for number in range(people)] if keys is None else keys
    ids = [member_id(number) for number in range(people)]
    addresses = pl.DataFrame({"subscriber_key": known, "member_id": ids})
    return MailchimpAccount(client, addresses, audience_of={WORKFLOW: AUDIENCE})


def _page(found: Any, query: dict[str, str]) -> dict[str, Any]:
    """The right answer as an object, for a fault to change."""
    if isinstance(found, tuple):
        key, items = found
        offset = int(query.get("offset", 0))
        found = {key: items[offset : offset + int(query.get("count", 10))], "total_items": len(items)}
    page: dict[str, Any] = json.loads(json.dumps(project(found or {}, query.get("fields", ""))))
    return page
