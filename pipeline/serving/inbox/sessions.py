"""Who a person is: the cookie that a link gives, and forms that no other page can fill in."""

import hashlib
import secrets
from collections.abc import Iterable

from itsdangerous import BadSignature, URLSafeTimedSerializer

from pipeline.optimizations.review import Seen

SESSION_SECONDS = 12 * 3600
FORM_SECONDS = 3600
COOKIE = "driptune_inbox"


class Sessions:
    """The sessions of one server. Its secret is drawn at the start and never stored, so all sessions end with it."""

    def __init__(self) -> None:
        secret = secrets.token_bytes(32)
        # Every port of a host shares its cookies. What listens on another one cannot replace a cookie of unknown name.
        self.cookie_name = f"{COOKIE}_{secrets.token_hex(8)}"
        self._cookies = URLSafeTimedSerializer(secret, salt="session")
        self._forms = URLSafeTimedSerializer(secret, salt="form")

    def cookie(self, actor: str) -> str:
        """The cookie for somebody whom a link let in."""
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
