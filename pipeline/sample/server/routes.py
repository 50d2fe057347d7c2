"""Which call gets which answer: every operation of the stand-in API, by method and path. No HTTP here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.routing import compile_path

from pipeline.sample.server.audiences import AccountApi
from pipeline.sample.server.automations import AutomationsApi
from pipeline.sample.server.journeys import JourneysApi
from pipeline.sample.server.reports import ReportsApi
from pipeline.sample.server.shapes import Item, not_found, project
from pipeline.sample.server.store import StoreApi
from pipeline.sample.server.view import View
from pipeline.sample.server.writes import WritesApi
from pipeline.settings import Refusal

MEMBER = "/lists/{list_id}/members/{hash}"
AUTOMATION = "/automations/{workflow_id}"
EMAIL = AUTOMATION + "/emails/{email_id}"
REPORT = "/reports/{id}"
JOURNEY = "/customer-journeys/journeys/{journey_id}"
JOURNEY_STEP = JOURNEY + "/steps/{step_id}"


@dataclass(frozen=True)
class Call:
    """One call: ids from the path in their order, query parameters, and the parsed JSON body."""

    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: Any = None


Endpoint = Callable[[Call], Item | None]
Operation = tuple[str, str, Endpoint]


def operations(view: View, log: Path | None = None, refusal: Refusal = "none") -> list[Operation]:
    """Method, path and answer of every operation, the busiest first; an answer of none is 204 No Content.

    Args:
        view: what can be seen.
        log: file in which changes are kept, and from which earlier ones are repeated; none = they end with the server.
        refusal: how the reads of journeys fail or differ.
    """
    reports = ReportsApi(view)
    account = AccountApi(view)
    automations = AutomationsApi(view, reports)
    store = StoreApi(view)
    journeys = JourneysApi(view, account, reports, refusal)
    writes = WritesApi(account, automations, journeys, view.now_us)
    found: list[Operation] = [
        ("GET", f"{MEMBER}/activity-feed", _asked(account.activity_feed)),
        ("GET", f"{REPORT}/email-activity", _asked(reports.email_activity)),
        ("GET", f"{REPORT}/email-activity/{{hash}}", _asked(reports.one_activity)),
        ("GET", f"{REPORT}/open-details", _asked(reports.open_details)),
        ("GET", f"{REPORT}/sent-to", _asked(reports.sent_to)),
        ("GET", f"{REPORT}/click-details", _asked(reports.click_details)),
        ("GET", f"{REPORT}/click-details/{{link}}/members", _asked(reports.link_members)),
        ("GET", f"{REPORT}/unsubscribed", _asked(reports.unsubscribed)),
        ("GET", f"{REPORT}/abuse-reports", _plain(reports.abuse_reports)),
        ("GET", REPORT, _plain(reports.report)),
        ("GET", "/reports", _asked(reports.reports)),
        ("GET", "/campaigns", _asked(reports.campaigns)),
        ("GET", "/campaigns/{id}", _plain(reports.campaign)),
        ("GET", "/lists", _asked(account.lists)),
        ("GET", "/lists/{list_id}", _plain(account.audience)),
        ("GET", "/lists/{list_id}/merge-fields", _asked(account.merge_fields)),
        ("GET", "/lists/{list_id}/members", _asked(account.members)),
        ("GET", MEMBER, _plain(account.member)),
        ("GET", "/automations", _asked(automations.automations)),
        ("GET", AUTOMATION, _plain(automations.automation)),
        ("GET", f"{AUTOMATION}/emails", _plain(automations.automation_emails)),
        ("GET", EMAIL, _plain(automations.automation_email)),
        ("GET", f"{EMAIL}/queue", _plain(automations.queue)),
        ("GET", f"{EMAIL}/queue/{{hash}}", _plain(automations.queued)),
        ("GET", f"{AUTOMATION}/removed-subscribers", _plain(automations.removed)),
        ("GET", "/customer-journeys/journeys", _asked(journeys.journeys)),
        ("GET", JOURNEY, _plain(journeys.journey)),
        ("GET", f"{JOURNEY}/steps", _plain(journeys.steps)),
        ("GET", JOURNEY_STEP, _plain(journeys.step)),
        ("GET", "/ecommerce/stores", _asked(store.stores)),
        ("GET", "/ecommerce/orders", lambda call: store.orders(None, call.query)),
        ("GET", "/ecommerce/stores/{store_id}/orders", _asked(store.orders)),
        ("GET", "/ecommerce/stores/{store_id}/customers", _asked(store.customers)),
        ("GET", "/batches", _asked(writes.batches)),
        ("GET", "/batches/{id}", _plain(writes.batch)),
        ("GET", "/ping", lambda call: {"health_status": "Everything's Chimpy!"}),
        ("GET", "/", _plain(account.root)),
        ("GET", "", _plain(account.root)),
        ("POST", "/lists/{list_id}/merge-fields", _given(writes.add_merge_field)),
        ("PATCH", EMAIL, _given(writes.change_email)),
        ("POST", f"{EMAIL}/actions/pause", _plain(writes.pause_email)),
        ("POST", f"{EMAIL}/actions/start", _plain(writes.start_email)),
        ("PATCH", MEMBER, _given(writes.change_member)),
        ("PUT", MEMBER, _given(writes.change_member)),
        ("POST", f"{MEMBER}/tags", _given(writes.tag_member)),
        ("POST", f"{MEMBER}/events", _given(writes.send_event)),
        ("POST", f"{JOURNEY_STEP}/actions/trigger", _given(writes.trigger_journey)),
        ("GET", "/record", _plain(writes.record)),
    ]

    def run(method: str, path: str, query: Mapping[str, str], body: Any) -> Item | None:
        for known, pattern, endpoint in each:
            match = pattern.match(path)
            if match and known == method:
                return endpoint(Call(tuple(match.groups()), query, body))
        raise not_found()

    found.append(("POST", "/batches", lambda call: writes.submit(call.body, run)))
    each = [(method, compile_path(path)[0], endpoint) for method, path, endpoint in found]
    if log is not None and log.exists():
        with log.open(encoding="utf-8") as kept:
            writes.repeat(kept, run)
    return [(method, path, _kept(method, path, endpoint, writes, log)) for method, path, endpoint in found]


def _kept(method: str, path: str, endpoint: Endpoint, writes: WritesApi, log: Path | None) -> Endpoint:
    """The endpoint, which keeps what it changed before it answers, in a log if there is one."""
    if method == "GET":
        return endpoint

    def change(call: Call) -> Item | None:
        answer = endpoint(call)
        filled = re.sub(r"{[^}]*}", "{}", path).format(*call.ids)
        line = writes.keep(method, filled, call.body)
        if log is not None:
            with log.open("a", encoding="utf-8") as kept:
                kept.write(line)
        return answer

    return change


def _plain(method: Callable[..., Item | None]) -> Endpoint:
    return lambda call: _projected(method(*call.ids), call.query)


def _asked(method: Callable[..., Item]) -> Endpoint:
    return lambda call: _projected(method(*call.ids, call.query), call.query)


def _given(method: Callable[..., Item | None]) -> Endpoint:
    return lambda call: method(*call.ids, call.body)


def _projected(body: Item | None, query: Mapping[str, str]) -> Item | None:
    return project(query, body) if body is not None and query else body
