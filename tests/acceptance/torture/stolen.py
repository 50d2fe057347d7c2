"""Requests made outside a browser with credentials that are stolen, made up, old, or somebody else's."""

import random
import string
from collections.abc import Callable, Iterator

from pipeline.optimizations.review import Seen
from pipeline.serving.inbox.app import PREFIX
from pipeline.serving.inbox.sessions import Sessions
from tests.acceptance.torture.signed_in import APPROVER, Target, Victim

Attack = Callable[[Victim, Target], bool]
"""Tries something; whether it got what a stranger must not get. Decisions are looked for by who calls it."""
COLLEAGUE, LATECOMER, ABSENTEE = "noor", "ida", "lia"
HEADERS_OF_PROXIES = ("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-Forwarded-Email")
METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")


def requests(tokens: int) -> Iterator[tuple[str, Attack]]:
    """Each attack with its name; `tokens` of them are random alterations of a good token, tried as one."""
    hosts = ("evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:{port}.evil.example", "0.0.0.0:{port}",
             "evil.example@127.0.0.1:{port}", "[::1]:{port}", "")  # fmt: skip
    for host in hosts:
        yield f"Host '{host}'", _with_everything(host=host)
        yield f"Host '{host}' behind X-Forwarded-Host", _with_everything(host=host, forwarded="127.0.0.1:{port}")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1:{port}.evil.example",
                   "http://evil.example@127.0.0.1:{port}", "file://", "chrome-extension://evil"):  # fmt: skip
        yield f"Origin '{origin}'", _with_everything(origin=origin)
    for site in ("cross-site", "same-site", "none"):
        yield f"Sec-Fetch-Site '{site}'", _with_everything(site=site)
    for method in METHODS:
        yield f"decision by {method}", _by_method(method)
        yield f"decision by {method} that says it is a POST", _by_method(method, X_HTTP_Method_Override="POST")
    for header in HEADERS_OF_PROXIES:
        yield f"{header} without a proxy", _as_nobody(**{header: APPROVER})
    yield "form without a session, as after signing out", _as_nobody()
    yield "name and password", _as_nobody(Authorization="Basic bWFyYTptYXJh")
    for name, cookie in _COOKIES.items():
        yield f"cookie: {name}", _with_cookie(cookie)
    for name, token in _TOKENS.items():
        yield f"form: {name}", _with_token(token)
    yield "form shown to another person, sent by a colleague", _as_colleague
    yield f"{tokens} alterations of a good form", _altered(tokens)
    yield "form of before newer evidence", _before_newer_evidence
    yield "form of a decision that was taken", _once_more
    yield "login link that was used", _used_link
    yield "login link by GET", _link_by_get
    yield "login link that is made up", lambda victim, _: _enters(victim, "a" * 43)
    yield "session chosen by somebody else before signing in", _fixed_session


def decide(victim: Victim, target: Target, token: str | None = None, **headers: str) -> int:
    """Send the form; returns the status."""
    return victim.send("POST", target.path, fields(token or target.token), **headers).status


def fields(token: str) -> dict[str, str]:
    """The fields of a form that approves."""
    return {"form": token, "decision": "approve"}


def session(victim: Victim, cookie: str | None = None) -> dict[str, str]:
    """The header that carries the victim's session, or another."""
    return {"Cookie": f"{victim.cookie_name}={victim.cookie if cookie is None else cookie}"}


def _with_everything(host: str = "127.0.0.1:{port}", forwarded: str = "", origin: str = "", site: str = "") -> Attack:
    """The victim's session and form, and one thing that gives the sender away."""

    def attack(victim: Victim, target: Target) -> bool:
        port = victim.base.rpartition(":")[2]
        headers = {"Host": host, "X_Forwarded_Host": forwarded, "Origin": origin, "Sec_Fetch_Site": site}
        told = {name: value.replace("{port}", port) for name, value in headers.items() if value or name == "Host"}
        return decide(victim, target, **told, **session(victim)) < 400

    return attack


def _by_method(method: str, **headers: str) -> Attack:
    def attack(victim: Victim, target: Target) -> bool:
        path = f"{target.path}?form={target.token}&decision=approve"
        victim.send(method, path, fields(target.token), **headers, **session(victim))
        return False

    return attack


def _as_nobody(**headers: str) -> Attack:
    def attack(victim: Victim, target: Target) -> bool:
        shown = victim.send("GET", target.path, **headers).status
        return min(shown, decide(victim, target, **headers)) < 400

    return attack


def _with_cookie(cookie: Callable[[Victim, Target], str]) -> Attack:
    def attack(victim: Victim, target: Target) -> bool:
        headers = session(victim, cookie(victim, target))
        shown = victim.send("GET", target.path, **headers).status
        return min(shown, decide(victim, target, **headers)) < 400

    return attack


def _with_token(token: Callable[[Victim, Target], str]) -> Attack:
    def attack(victim: Victim, target: Target) -> bool:
        return decide(victim, target, token(victim, target), **session(victim)) < 400

    return attack


def _as_colleague(victim: Victim, target: Target) -> bool:
    """Somebody who may decide, with a form that another person was shown."""
    return decide(victim, target, **session(victim, victim.session_of(COLLEAGUE))) < 400


def _altered(count: int) -> Attack:
    """Single characters of the form's token changed, the last one left: not all of its bits count."""

    def attack(victim: Victim, target: Target) -> bool:
        draw, let_in = random.Random(target.token), 0
        for _ in range(count):
            place = draw.randrange(len(target.token) - 1)
            other = draw.choice(string.ascii_letters.replace(target.token[place], ""))
            token = target.token[:place] + other + target.token[place + 1 :]
            let_in += decide(victim, target, token, **session(victim)) < 400
        return let_in > 0

    return attack


def _before_newer_evidence(victim: Victim, target: Target) -> bool:
    victim.renews(target)
    return decide(victim, target, **session(victim)) < 400


def _once_more(victim: Victim, target: Target) -> bool:
    """The form of the decision before, which was taken."""
    last = victim.last
    return last is None or decide(victim, last, **session(victim)) < 400


def _used_link(victim: Victim, target: Target) -> bool:
    return _enters(victim, victim.links[APPROVER])


def _enters(victim: Victim, token: str, **headers: str) -> bool:
    return bool(victim.send("POST", f"{PREFIX}/login", {"token": token}, **headers).cookies)


def _link_by_get(victim: Victim, target: Target) -> bool:
    return bool(victim.send("GET", f"{PREFIX}/login?token={victim.links[ABSENTEE]}").cookies)


def _fixed_session(victim: Victim, target: Target) -> bool:
    planted = "planted"
    given = victim.send("POST", f"{PREFIX}/login", {"token": victim.links[LATECOMER]}, **session(victim, planted))
    is_known = victim.send("GET", target.path, **session(victim, planted)).status < 400
    return f"{victim.cookie_name}={planted};" in given.cookies or not given.cookies or is_known


def _signed_elsewhere(victim: Victim, target: Target) -> str:
    """A session of the same name that another server opened."""
    elsewhere = Sessions()
    return elsewhere.cookie(APPROVER)


def _form_elsewhere(victim: Victim, target: Target) -> str:
    return Sessions().form_token(victim.cookie, Seen.of(victim.ledger.record(target.record_id)))


def _form_of_another_person(victim: Victim, target: Target) -> str:
    page = victim.send("GET", target.path, **session(victim, victim.session_of(COLLEAGUE))).body
    return page.partition('name="form" value="')[2].partition('"')[0]


_COOKIES: dict[str, Callable[[Victim, Target], str]] = {
    "a name": lambda victim, target: APPROVER,
    "signed by another server": _signed_elsewhere,
    "a form": lambda victim, target: target.token,
    "a login link": lambda victim, target: victim.links[ABSENTEE],
    "without its signature": lambda victim, target: victim.cookie.rpartition(".")[0],
}
_TOKENS: dict[str, Callable[[Victim, Target], str]] = {
    "made up": lambda victim, target: "x.y.z",
    "signed by another server": _form_elsewhere,
    "a session": lambda victim, target: victim.cookie,
    "of another person": _form_of_another_person,
    "of another record": lambda victim, target: victim.last.token if victim.last else "none",
    "without its signature": lambda victim, target: target.token.rpartition(".")[0],
}
