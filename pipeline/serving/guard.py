"""A guard before the Dagster webserver, which by itself would run mutations for any page that a browser has open.

The guard lets through what a person's own browser tab or a local client sends, and nothing a foreign page can forge.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GRAPHQL_PATHS = ("/graphql",)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
WEBSOCKET_POLICY_VIOLATION = 1008


class Guard:
    """ASGI middleware that checks Host and Origin, and admits GraphQL only as POST of JSON or same-origin websocket.

    Another site cannot show a page in a frame, where it could lead a person's clicks onto the page.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with the reason."""
        reason = None if scope["type"] == "lifespan" else self._refusal(scope)
        if reason is None:
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": WEBSOCKET_POLICY_VIOLATION, "reason": reason})
        else:
            await PlainTextResponse(reason, status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        if headers.get("host") not in self._allowed_hosts:
            return "Unknown Host. Open the address that driptune up printed."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc not in self._allowed_hosts:
            return "Requests from other sites are refused."
        if scope["type"] == "websocket":
            return None if origin is not None else "A websocket needs an Origin."
        if scope["path"].rstrip("/") in GRAPHQL_PATHS:
            is_json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
            if scope["method"] != "POST" or not is_json:
                return "GraphQL is served to POST of application/json only."
        elif scope["method"] not in SAFE_METHODS and headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "Requests from other sites are refused."
        return None


def _unframed(send: Send) -> Send:
    async def send_unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
        await send(message)

    return send_unframed
