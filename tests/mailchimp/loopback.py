"""A small HTTP server on loopback for tests, and Mailchimp's ways of answering: paging, projection, problems."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = Callable[[BaseHTTPRequestHandler, str, dict[str, str]], None]


@contextmanager
def serve(answer: Answer) -> Iterator[str]:
    """Yields the base URL `http://127.0.0.1:PORT/3.0`; `answer` gets handler, path below /3.0 and query."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            try:
                answer(self, parts.path.removeprefix("/3.0"), dict(parse_qsl(parts.query, keep_blank_values=True)))
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_PATCH(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Tests are silent."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            # A client that goes away is no news.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/3.0"
    finally:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """A complete response; underscores in header names become dashes."""
    handler.send_response(status)
    for name, value in {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


Found = tuple[str, list[Any]] | dict[str, Any] | None


def answer_with(handler: BaseHTTPRequestHandler, found: Found, query: dict[str, str]) -> None:
    """Answers with an object, with the page of a collection (its key and items), or with a problem if there is none."""
    if found is None:
        refuse(handler, 404, "Resource Not Found")
    else:
        send(handler, 200, json.dumps(project(page_of(found, query), query.get("fields", ""))).encode())


def page_of(found: tuple[str, list[Any]] | dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
    """The object, or the page of a collection that the query asks for."""
    if isinstance(found, dict):
        return found
    key, items = found
    offset, count = int(query.get("offset", 0)), int(query.get("count", 10))
    return {key: items[offset : offset + count], "total_items": len(items)}


def refuse(handler: BaseHTTPRequestHandler, status: int, title: str) -> None:
    """A problem document."""
    problem = {"type": "about:blank", "title": title, "status": status, "detail": "", "instance": ""}
    send(handler, status, json.dumps(problem).encode(), Content_Type="application/problem+json")


def project(value: Any, fields: str) -> Any:
    """The value with only the named fields, as the API's `fields` parameter does."""
    return _projected(value, [name.split(".") for name in fields.split(",")]) if fields else value


def _projected(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_projected(one, paths) for one in value]
    if not isinstance(value, dict) or [] in paths:
        return value
    wanted = {path[0] for path in paths}
    return {
        name: _projected(inner, [path[1:] for path in paths if path[0] == name])
        for name, inner in value.items()
        if name in wanted
    }
