"""Who a person is: one-time links, the cookie that a link gives, and forms that no other page can fill in."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable

from itsdangerous import BadSignature, URLSafeTimedSerializer

from pipeline.optimizations.review import Seen

LINK_SECONDS = 15 * 60
SESSION_SECONDS = 12 * 3600
FORM_SECONDS = 3600
COOKIE = "driptune_inbox"


class Sessions:
    """The sessions of one server. Its secret is drawn at the start and never stored, so all sessions end with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        secret = secrets.token_bytes(32)
        # Every port of a host shares its cookies. What listens on another one cannot replace a cookie of unknown name.
        self.cookie_name = f"{COOKIE}_{secrets.token_hex(8)}"
        self._cookies = URLSafeTimedSerializer(secret, salt="session")
        self._forms = URLSafeTimedSerializer(secret, salt="form")
        self._links: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def link_token(self, actor: str) -> str:
        """A token that lets `actor` in once, within a quarter of an hour."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._links[_digest(token)] = (actor, self._clock() + LINK_SECONDS)
        return token

    def redeem(self, token: str) -> str | None:
        """The cookie for a token that has not been used and is not too old; otherwise none."""
        with self._lock:
            actor, ends = self._links.pop(_digest(token), ("", 0.0))
        if not actor or self._clock() > ends:
            return None
        return self._cookies.dumps([actor, secrets.token_urlsafe(16)])

    def held(self, cookies: Iterable[str]) -> str:
        """The session among the cookies that a browser sent; empty if there is none.

        Another port of this host may have planted cookies of the same name, which are none of our sessions.

        Args:
            cookies: the values of the request's Cookie headers.
        """
        pairs = (pair.strip().partition("=") for header in cookies for pair in header.split(";"))
        values = (value for name, _, value in pairs if name == self.cookie_name)
        return next((value for value in values if self.actor(value) is not None), "")

    def actor(self, cookie: str) -> str | None:
        """Who holds the cookie; none if this server did not make it, or if it is too old."""
        try:
            actor, _ = self._cookies.loads(cookie, max_age=SESSION_SECONDS)
        except (BadSignature, ValueError, TypeError):
            return None
        return str(actor)

    def form_token(self, session: str, seen: Seen) -> str:
        """A token for a form of this session about a record as the session saw it."""
        return self._forms.dumps([_digest(session), seen.optimization_id, seen.revision, seen.evidence_hash])

    def seen(self, session: str, token: str) -> Seen | None:
        """The record as this session saw it beside the form; none if the form is of another session."""
        try:
            holder, optimization_id, revision, evidence_hash = self._forms.loads(token, max_age=FORM_SECONDS)
        except (BadSignature, ValueError, TypeError):
            return None
        return Seen(optimization_id, revision, evidence_hash) if holder == _digest(session) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
