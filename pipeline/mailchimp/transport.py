"""HTTP below the client: one total deadline per request, and strict JSON.

Knows nothing of Mailchimp; retries and errors belong to the client.
"""

import http.client
import io
import json
import socket
import threading
import time
from typing import Any

import requests.adapters
import urllib3

_current = threading.local()


def set_deadline(deadline: float) -> None:
    """Ends this thread's next request at `deadline` (monotonic seconds), whatever the server does."""
    _current.deadline = deadline


def seconds_left(deadline: float) -> float:
    """Seconds until the deadline.

    Raises:
        TimeoutError: if it has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline passed")
    return left


class _DeadlineReader(io.RawIOBase):
    """A socket's raw stream whose every read may take only what is left of the deadline.

    A socket's own timeout starts anew with each packet, so a server that drips bytes would never meet it.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(seconds_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, _current.deadline))


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _DeadlineResponse


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _DeadlineResponse


class _HTTPConnectionPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Transport adapter that keeps the deadline given by `set_deadline` for headers and body alike."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Makes connections whose responses know the deadline."""
        super().init_poolmanager(*args, **kwargs)
        self._use_deadlines(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """The same through a proxy."""
        return self._use_deadlines(super().proxy_manager_for(*args, **kwargs))

    @staticmethod
    def _use_deadlines(manager: Any) -> Any:
        manager.pool_classes_by_scheme = {"http": _HTTPConnectionPool, "https": _HTTPSConnectionPool}
        return manager


def strict_json(body: bytes) -> Any:
    """The value of a JSON document in UTF-8.

    Raises:
        ValueError: for other encodings, NaN and infinities, repeated keys, nesting without end, or no JSON at all.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if b"\\ud" in body or b"\\uD" in body:
        # A lone surrogate is valid JSON but no text: Polars could not store it.
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
