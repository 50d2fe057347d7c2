"""The stand-in Mailchimp server: HTTP around the API of the sample account, on loopback only.

Authentication, throttling and problem documents belong here; what is answered stands in `routes`. Run by `serving`,
which sends account and day through standard input and reads the port from the output.
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
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sample.server.routes import Call, Endpoint, operations
from pipeline.sample.server.shapes import Item, ProblemError, not_found
from pipeline.sample.server.view import View, look
from pipeline.settings import Refusal

LARGEST_CONNECTIONS = 10
KEY_SUFFIX = "-us1"


def make_app(
    view: View,
    connections: Callable[[], int],
    fail_every: int = 0,
    log: Path | None = None,
    refusal: Refusal = "none",
) -> Starlette:
    """The application for one view of the account.

    Args:
        view: what can be seen.
        connections: number of connections open now.
        fail_every: every so many requests one is throttled, 0 = never.
        log: file that keeps what is written.
        refusal: how the reads of journeys fail or differ.
    """
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
                body = None if request.method == "GET" else _parsed(await request.body())
                found = endpoint(Call(tuple(request.path_params.values()), request.query_params, body))
            except ProblemError as problem:
                return _problem(problem)
            return Response(status_code=204) if found is None else _json(200, found)

        return respond

    async def missing(request: Request, _: Exception) -> Response:
        return _problem(not_found())

    async def wrong_method(request: Request, _: Exception) -> Response:
        detail = "The requested method and resource are not compatible."
        return _problem(ProblemError(405, "Method Not Allowed", detail))

    answered = operations(view, log, refusal)
    routes = [Route(f"/3.0{path}", answer(endpoint), methods=[method]) for method, path, endpoint in answered]
    return Starlette(routes=routes, exception_handlers={404: missing, 405: wrong_method})


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except ValueError as error:
        raise ProblemError(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.") from error


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


def _problem(problem: ProblemError) -> Response:
    return _json(problem.status, problem.body, "application/problem+json")


def _json(status: int, body: Item, media_type: str = "application/json") -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status_code=status, media_type=media_type)


def main() -> None:
    """Serve what standard input describes, until it closes: a server never outlives who started it."""
    account, as_of, port, fail_every, log, refusal = pickle.load(sys.stdin.buffer)
    # Named TCP, because asyncio turns Nagle's delay off only for sockets that say so.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    server: uvicorn.Server
    app = make_app(look(account, as_of), lambda: len(server.server_state.connections), fail_every, log, refusal)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))


def _leave_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
