"""The stand-in Mailchimp server: HTTP around the API of the sample account, on loopback only.

Routes, authentication, throttling and problem documents belong here; what is answered stands in `api_account` and
`api_reports`. Run by `serving`, which sends account and day through standard input and reads the port from the output.
"""

import asyncio
import base64
import json
import os
import pickle
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sample.api_account import AccountApi
from pipeline.sample.api_reports import ReportsApi
from pipeline.sample.shapes import Item, ProblemError, not_found, project
from pipeline.sample.view import View, look

LARGEST_CONNECTIONS = 10
KEY_SUFFIX = "-us1"
Endpoint = Callable[[Request], Item]


def make_app(view: View, connections: Callable[[], int], fail_every: int = 0) -> Starlette:
    """The application for one view of the account.

    Args:
        view: what can be seen.
        connections: number of connections open now.
        fail_every: every so many requests one is throttled, 0 = never.
    """
    reports = ReportsApi(view)
    account = AccountApi(view, reports)
    served = 0

    def answer(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            nonlocal served
            served += 1
            try:
                _check_key(request.headers.get("authorization", ""))
                if connections() > LARGEST_CONNECTIONS:
                    raise ProblemError(429, "Too Many Requests", "You have exceeded the limit of 10 connections.")
                if fail_every and served % fail_every == 0:
                    raise ProblemError(429, "Too Many Requests", "Please try again later.")
                body = endpoint(request)
                return _json(200, project(request.query_params, body) if request.query_params else body)
            except ProblemError as problem:
                return _json(problem.status, problem.body, "application/problem+json")

        return respond

    async def missing(request: Request, _: Exception) -> Response:
        return _json(404, not_found().body, "application/problem+json")

    async def wrong_method(request: Request, _: Exception) -> Response:
        problem = ProblemError(405, "Method Not Allowed", "The requested method and resource are not compatible.")
        return _json(405, problem.body, "application/problem+json")

    routes = [Route(f"/3.0{path}", answer(endpoint), methods=["GET"]) for path, endpoint in _routes(account, reports)]
    return Starlette(routes=routes, exception_handlers={404: missing, 405: wrong_method})


def _routes(account: AccountApi, reports: ReportsApi) -> list[tuple[str, Endpoint]]:
    """Paths and what answers them, the busiest first."""
    member = "/lists/{list_id}/members/{hash}"
    email = "/automations/{workflow_id}/emails/{email_id}"
    report = "/reports/{id}"

    def of_report(method: Callable[[str, Any], Item]) -> Endpoint:
        return lambda request: method(request.path_params["id"], request.query_params)

    def plain(method: Callable[..., Item]) -> Endpoint:
        return lambda request: method(*request.path_params.values())

    def asked(method: Callable[..., Item]) -> Endpoint:
        return lambda request: method(*request.path_params.values(), request.query_params)

    return [
        (f"{member}/activity-feed", asked(account.activity_feed)),
        (f"{report}/email-activity", of_report(reports.email_activity)),
        (f"{report}/email-activity/{{hash}}", asked(reports.one_activity)),
        (f"{report}/open-details", of_report(reports.open_details)),
        (f"{report}/sent-to", of_report(reports.sent_to)),
        (f"{report}/click-details", of_report(reports.click_details)),
        (f"{report}/click-details/{{link}}/members", asked(reports.link_members)),
        (f"{report}/unsubscribed", of_report(reports.unsubscribed)),
        (f"{report}/abuse-reports", plain(reports.abuse_reports)),
        (report, plain(reports.report)),
        ("/reports", asked(reports.reports)),
        ("/campaigns", asked(reports.campaigns)),
        ("/campaigns/{id}", plain(reports.campaign)),
        ("/lists", asked(account.lists)),
        ("/lists/{list_id}", plain(account.audience)),
        ("/lists/{list_id}/merge-fields", asked(account.merge_fields)),
        ("/lists/{list_id}/members", asked(account.members)),
        (member, plain(account.member)),
        ("/automations", asked(account.automations)),
        ("/automations/{workflow_id}", plain(account.automation)),
        ("/automations/{workflow_id}/emails", plain(account.automation_emails)),
        (email, plain(account.automation_email)),
        (f"{email}/queue", plain(account.queue)),
        (f"{email}/queue/{{hash}}", plain(account.queued)),
        ("/automations/{workflow_id}/removed-subscribers", plain(account.removed)),
        ("/ecommerce/stores", asked(account.stores)),
        ("/ecommerce/orders", lambda request: account.orders(None, request.query_params)),
        ("/ecommerce/stores/{store_id}/orders", asked(account.orders)),
        ("/ecommerce/stores/{store_id}/customers", asked(account.customers)),
        ("/ping", lambda request: {"health_status": "Everything's Chimpy!"}),
        ("/", lambda request: account.root()),
        ("", lambda request: account.root()),
    ]


def _check_key(header: str) -> None:
    """HTTP Basic with any user and the key as password, or a bearer token."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value:
        return
    if scheme.lower() == "basic":
        try:
            _, _, key = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            key = ""
        if key.endswith(KEY_SUFFIX) and key != KEY_SUFFIX:
            return
    raise ProblemError(401, "API Key Invalid", "Your API key may be invalid, or you've attempted the wrong datacenter.")


def _json(status: int, body: Item, media_type: str = "application/json") -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status_code=status, media_type=media_type)


def main() -> None:
    """Serve what standard input describes, until it closes: a server never outlives who started it."""
    account, as_of, port, fail_every = pickle.load(sys.stdin.buffer)
    # Named TCP, because asyncio turns Nagle's delay off only for sockets that say so.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    server: uvicorn.Server
    app = make_app(look(account, as_of), lambda: len(server.server_state.connections), fail_every)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))


def _leave_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
