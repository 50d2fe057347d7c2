"""Somebody signed in to the real `driptune up` in Chromium, and what others can make of their session."""

import http.client
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import dagster as dg

from pipeline.config.approvals import load_approvals
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal
from pipeline.orchestration.instance import open_instance
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.serving.inbox.app import PREFIX
from pipeline.serving.inbox.sessions import COOKIE
from tests.acceptance.torture.installation import Installation
from tests.mailchimp.loopback import send, serve
from tests.optimizations.conftest import proposal
from tests.serving.started import START_SECONDS, driptune_up

APPROVER = "mara"
ANSWER_SECONDS = 10
SETTLE_MILLISECONDS = 300
NO_DECISIONS = {
    EventType.PROPOSED,
    EventType.EVIDENCE_RENEWED,
    EventType.EXPIRED,
    EventType.SUPERSEDED,
    EventType.WENT_STALE,
}
# High enough for a record's page to need no scrolling, so that a click through a frame can meet its button.
VIEWPORT = {"width": 1280, "height": 2400}


@dataclass(frozen=True)
class Target:
    """A record that its approver looks at.

    Attributes:
        record_id: the record.
        path: of its page.
        token: of the form that the approver has before their eyes; it is good, whoever gets hold of it.
        button: where on the page the approver would click, in pixels.
    """

    record_id: str
    path: str
    token: str
    button: tuple[float, float]


@dataclass(frozen=True)
class Visit:
    """What a page of another site did.

    Attributes:
        sent: requests to the server, and websockets.
        heard: messages that came back over a websocket, which any page may read.
        frames: addresses of what its frames show.
    """

    sent: int
    heard: int
    frames: list[str]


@dataclass(frozen=True)
class Answer:
    """What the server says to a request made outside the browser."""

    status: int
    cookies: str
    body: str


class Victim:
    """Somebody signed in, the browser they use, and the server that serves them.

    Attributes:
        base: the server, such as 'http://127.0.0.1:3000'.
        links: the login link's token of each approver.
        ledger: what the server writes to.
        hostile: pages of other sites by path, served by the server at `hostile_port`.
        last: the record that they decided about last.
    """

    def __init__(self, place: Installation, base: str, context: Any, hostile_port: int) -> None:
        self.base = base
        self.links: dict[str, str] = {}
        self.ledger = Ledger.open(place.settings.ledger_address)
        self.hostile: dict[str, str] = {}
        self.hostile_port = hostile_port
        self.context = context
        self._home = place.settings.dagster_home.resolve()
        self._policy = load_approvals(place.settings.definitions)
        self.last: Target | None = None
        self._tab = context.new_page()
        self._number = 0
        self._sessions: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        """Their session's cookie."""
        return self._held()[1]

    @property
    def cookie_name(self) -> str:
        """The name of the sessions of this server."""
        return self._held()[0]

    def _held(self) -> tuple[str, str]:
        cookies = ((one["name"], one["value"]) for one in self.context.cookies())
        return next((one for one in cookies if one[0].startswith(COOKIE)), ("", ""))

    def sign_in(self) -> None:
        """Open the link and enter."""
        self._tab.goto(f"{self.base}{PREFIX}/login?token={self.links[APPROVER]}")
        self._tab.get_by_role("button", name="Enter").click()
        self._tab.wait_for_url(f"{self.base}{PREFIX}/")

    def session_of(self, approver: str) -> str:
        """The session of another approver, who enters through their own link at the first call."""
        if approver not in self._sessions:
            entered = self.send("POST", f"{PREFIX}/login", {"token": self.links[approver]})
            self._sessions[approver] = entered.cookies.partition("=")[2].partition(";")[0]
        return self._sessions[approver]

    def looks(self) -> Target:
        """A new record before their eyes."""
        self._number += 1
        made = self._propose(n=1)
        path = f"{PREFIX}/{made.optimization_id}"
        self._tab.goto(self.base + path)
        button = self._tab.get_by_role("button", name="Approve")
        box = button.bounding_box()
        token = self._tab.locator('input[name="form"]').first.input_value()
        return Target(made.optimization_id, path, token, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))

    def renews(self, target: Target) -> None:
        """Newer evidence for a record that they look at."""
        self._propose(n=2)

    def _propose(self, n: int) -> Proposal:
        made = proposal(target=f"onboarding/setup/step {self._number}", evidence={"n": n})
        self.ledger.propose([made], now=datetime.now(UTC), approval_policy=self._policy)
        return made

    def has_lost(self, target: Target) -> bool:
        """Whether the server has let the record go, as it does once after its start: no night proposes it."""
        return self.ledger.record(target.record_id).status is Status.STALE

    def decides(self, target: Target) -> bool:
        """Whether their own click is taken, and taken as theirs; a page that went stale is looked at again."""
        if self.ledger.record(target.record_id).revision > 1:
            self._tab.reload()
        button = self._tab.get_by_role("button", name="Approve")
        if not button.count():
            return False
        with self._tab.expect_response(lambda answer: answer.request.method == "POST"):
            button.click()
        self.last, record = target, self.ledger.record(target.record_id)
        return (record.status, record.decided_by) == (Status.APPROVED, APPROVER)

    def marks(self) -> tuple[object, ...]:
        """All that only they may change: decisions, who they are, and what Dagster was told to do."""
        decisions = sum(event.event_type not in NO_DECISIONS for event in self.ledger.events())
        with open_instance(self._home) as instance:
            reported = len(instance.fetch_materializations(dg.AssetKey("forged"), limit=1).records)
        return decisions, self.cookie, len(self.runs("forged")), reported

    def runs(self, tag: str) -> list[dg.DagsterRun]:
        """Runs that carry the tag."""
        with open_instance(self._home) as instance:
            return list(instance.get_runs(dg.RunsFilter(tags={tag: "yes"})))

    def send(
        self, method: str, path: str, fields: Mapping[str, str] | None = None, body: str = "", **headers: str
    ) -> Answer:
        """A request from outside the browser with these fields or body; underscores in headers' names become dashes."""
        if fields is not None:
            body, headers = urlencode(fields), {"Content_Type": "application/x-www-form-urlencoded", **headers}
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=START_SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, named)
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace")
            return Answer(answer.status, answer.headers.get("set-cookie") or "", said)
        finally:
            connection.close()

    def visits(self, site: str, page: str, click: tuple[float, float] | None = None) -> Visit:
        """Open a page of another site, and click on it if told."""
        sent: list[Any] = []
        answered: list[Any] = []
        heard: list[Any] = []
        listeners = {
            "request": lambda one: sent.append(one) if one.url.startswith(self.base) else None,
            "requestfinished": lambda one: answered.append(one) if one.url.startswith(self.base) else None,
            "requestfailed": lambda one: answered.append(one) if one.url.startswith(self.base) else None,
        }
        self.hostile["/page"] = page
        for name, listener in listeners.items():
            self.context.on(name, listener)
        shown = self.context.new_page()
        shown.on("websocket", lambda socket: sent.append(socket))
        _on_websocket(shown, lambda _: answered.append("closed"), heard.append)
        shown.goto(f"http://{site}:{self.hostile_port}/3.0/page", wait_until="commit")
        _wait(lambda: bool(answered or heard), lambda: shown.wait_for_timeout(50), ANSWER_SECONDS)
        shown.wait_for_timeout(SETTLE_MILLISECONDS)
        if click is not None:
            shown.mouse.click(*click)
            shown.wait_for_timeout(SETTLE_MILLISECONDS)
        frames = [frame.url for frame in shown.frames[1:]]
        for name, listener in listeners.items():
            self.context.remove_listener(name, listener)
        for other in self.context.pages:
            if other is not self._tab:
                other.close()
        return Visit(len(sent), len(heard), frames)

    def runs_script(self, script: str, is_done: Callable[[], bool]) -> int:
        """Run a script in a page of the server's own until done; messages that came back over its websockets."""
        heard: list[Any] = []
        page = self.context.new_page()
        _on_websocket(page, lambda _: None, heard.append)
        page.goto(f"{self.base}/runs", wait_until="commit")
        page.evaluate(f"() => {{ {script} }}")
        _wait(lambda: bool(heard) or is_done(), lambda: page.wait_for_timeout(50), ANSWER_SECONDS)
        page.close()
        return len(heard)


@contextmanager
def signed_in(place: Installation) -> Iterator[Victim]:
    """The server of an installation, and an approver who has entered through their link."""
    from playwright.sync_api import sync_playwright

    pages: dict[str, str] = {}

    def show(handler: Any, path: str, query: Mapping[str, str]) -> None:
        send(handler, 200, pages.get(path, "").encode(), Content_Type="text/html")

    # Whatever name an attacker gives it, it is this machine: browsers let such pages reach loopback unasked.
    switches = ["--host-resolver-rules=MAP *.example 127.0.0.1", "--no-proxy-server"]
    with (
        driptune_up(place.environment, place.folder) as server,
        serve(show) as hostile,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=switches)
        victim = Victim(place, server.address, browser.new_context(viewport=VIEWPORT), urlsplit(hostile).port or 0)
        victim.hostile = pages
        victim.links = {approver: link.partition("token=")[2] for approver, link in server.links.items()}
        try:
            victim.sign_in()
            yield victim
        finally:
            victim.ledger.close()
            browser.close()


def _on_websocket(page: Any, closed: Callable[[Any], None], received: Callable[[Any], None]) -> None:
    def listen(socket: Any) -> None:
        # The driver cannot wrap methods of built-in types.
        socket.on("close", lambda one: closed(one))
        socket.on("framereceived", lambda one: received(one))

    page.on("websocket", listen)


def _wait(is_so: Callable[[], bool], pause: Callable[[], None], seconds: float) -> None:
    """Wait until it is so, but no longer than that."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        pause()
