"""The inbox as a web application. It shows the ledger's records and hands decisions to `review`; no GET decides."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from pipeline.charts.drawing import drawn
from pipeline.charts.figures import realised_chart
from pipeline.charts.vega import Figure
from pipeline.common import words
from pipeline.common.errors import LedgerError, SourceError
from pipeline.common.means import in_words
from pipeline.optimizations import review
from pipeline.optimizations.account.refusals import can_go_back
from pipeline.optimizations.approval_policy import ApprovalPolicy
from pipeline.optimizations.changes import ChangePlan
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.realised import answer_in_words, in_a_word
from pipeline.optimizations.record import IN_EFFECT, Record, most_urgent_first, severity
from pipeline.optimizations.review import Seen
from pipeline.optimizations.states import Event
from pipeline.reports.pages import INBOX_PATH, PAGES_PATH
from pipeline.reports.pages.site import STYLE
from pipeline.reports.pages.site import TEMPLATES as PAGE_TEMPLATES
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import MetricRole
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.serving.inbox.links import READER, Links
from pipeline.serving.inbox.next_steps import Timetable, next_step
from pipeline.serving.inbox.sessions import SESSION_SECONDS, Sessions

PREFIX = INBOX_PATH
TEMPLATES = Path(__file__).parent / "templates"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NOT_SHOWN = {
    "instructions",
    "field",
    "value",
    "values",
    "holdout_value",
    "source",
    "column",
    "where",
    "holdout_source",
    "holdout_where",
    "roll_back",
}
"""Parts of a change that the page tells in words of its own."""


MOVING = (Status.APPROVED, Status.APPLYING, Status.ROLLING_BACK)
"""States in which driptune, or a person by hand, has yet to do what was decided."""
LOOKING = "You may look. To decide, become an approver in approvals.yaml, and enter by the link of `driptune login`."


class Inbox:
    """The pages of the inbox, and the decisions that may be sent to them.

    Args:
        ledger: holds the records.
        policy: called at each request, so that a change of approvals.yaml holds at once.
        sessions: knows who asks.
        links: let people in.
        realised: called at each request for the published rows of `realised_lift`.
        dry_run: tells what applying a record would write now.
        take_back: called with what an approver saw, their name and their reason, when an applied change is to go back.
        timetable: when driptune acts by itself.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: Callable[[], ApprovalPolicy],
        sessions: Sessions,
        links: Links,
        realised: Callable[[], pl.DataFrame],
        dry_run: Callable[[str], ChangePlan],
        take_back: Callable[[Seen, str, str], Record],
        timetable: Timetable,
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._sessions = sessions
        self._links = links
        self._realised = realised
        self._dry_run = dry_run
        self._take_back = take_back
        self._timetable = timetable
        loader = jinja2.FileSystemLoader([TEMPLATES, PAGE_TEMPLATES])
        self._templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
        helpers: dict[str, Any] = {
            "share": words.share,
            "lift": words.lift,
            "worth": words.worth,
            "answer": answer_in_words,
            "severity": severity,
        }
        helpers |= {"looking": LOOKING, "counted": words.counted, "prefix": PREFIX, "pages": PAGES_PATH}
        self._templates.globals.update(helpers)

    def app(self) -> Starlette:
        """The application, to be mounted at the root of a server."""
        routes = [
            Route("/", self._waiting),
            Route("/style.css", self._style),
            Route("/login", self._ask, methods=["GET"]),
            Route("/login", self._enter, methods=["POST"]),
            Route("/{optimization_id:str}", self._show, methods=["GET"]),
            Route("/{optimization_id:str}", self._decide, methods=["POST"]),
        ]
        return Starlette(routes=[Mount(PREFIX, routes=routes)])

    async def _style(self, request: Request) -> Response:
        return FileResponse(PAGE_TEMPLATES / STYLE, headers={"X-Content-Type-Options": "nosniff"})

    async def _ask(self, request: Request) -> Response:
        """A scanner may open a link in a mail, so the link alone lets nobody in."""
        return self._page("login.html.j2", 200, token=request.query_params.get("token", ""))

    async def _enter(self, request: Request) -> Response:
        form = await request.form()
        actor = await run_in_threadpool(self._links.redeem, str(form.get("token", "")))
        if actor is None:
            problem = "This link was used before, or is too old. `driptune login` prints a new one."
            return self._page("login.html.j2", 403, token="", problem=problem)
        cookie = self._sessions.cookie(actor)
        response = RedirectResponse(f"{PREFIX}/", status_code=303, headers=HEADERS)
        name, lasts = self._sessions.cookie_name, SESSION_SECONDS
        response.set_cookie(name, cookie, max_age=lasts, path=PREFIX, httponly=True, samesite="strict")
        return response

    async def _waiting(self, request: Request) -> Response:
        actor, _ = self._who(request)
        if actor is None:
            return self._stranger()
        records = await run_in_threadpool(self._ledger.records)
        waiting = most_urgent_first(one for one in records if one.status is Status.PENDING)
        moving = [one for one in records if one.status in MOVING]
        decided = [one for one in reversed(records) if one.status not in (Status.PENDING, *MOVING)]
        return self._page(
            "list.html.j2",
            200,
            actor=actor,
            waiting=waiting,
            moving=[(one, self._next_step(one)) for one in moving],
            decided=decided,
            brought=_brought(await run_in_threadpool(self._realised)),
        )

    async def _show(
        self, request: Request, status: int = 200, problem: str = "", would_write: Sequence[str] = ()
    ) -> Response:
        actor, session = self._who(request)
        if actor is None:
            return self._stranger()
        try:
            record = await run_in_threadpool(self._ledger.record, request.path_params["optimization_id"])
        except LedgerError as error:
            return self._page("list.html.j2", 404, actor=actor, waiting=[], problem=str(error))
        events = await run_in_threadpool(self._ledger.history, record.optimization_id)
        waiting = await run_in_threadpool(self._ledger.records, Status.PENDING)
        nights = (await run_in_threadpool(self._realised)).filter(optimization_id=record.optimization_id)
        evidence = record.proposal.evidence
        chart = Figure(evidence["chart"], str(evidence.get("summary", ""))) if evidence.get("chart") else None
        return self._page(
            "record.html.j2",
            status,
            actor=actor,
            record=record,
            events=_without_repeats(events),
            figure=await run_in_threadpool(drawn, chart) if chart else None,
            changes=_changes(record),
            brought=_brought(nights).get(record.optimization_id),
            nights=await run_in_threadpool(_drawn, nights),
            form=self._sessions.form_token(session, Seen.of(record)),
            problem=problem,
            would_write=would_write,
            next_step=self._next_step(record),
            undoes=review.undoes(record, actor),
            can_go_back=record.status in IN_EFFECT and can_go_back(record),
            waiting=waiting,
            following=_following(record, waiting),
        )

    def _next_step(self, record: Record) -> str:
        return next_step(record, self._policy(), self._timetable, datetime.now(UTC))

    async def _preview(self, request: Request, optimization_id: str) -> Response:
        try:
            found = await run_in_threadpool(self._dry_run, optimization_id)
        except (LedgerError, SourceError) as error:
            return await self._show(request, 409, problem=str(error))
        return await self._show(request, would_write=found.lines())

    async def _decide(self, request: Request) -> Response:
        actor, session = self._who(request)
        if actor is None:
            return self._stranger()
        if actor == READER:
            return await self._show(request, 403, problem=LOOKING)
        form = await request.form()
        seen = self._sessions.seen(session, str(form.get("form", "")))
        if seen is None or seen.optimization_id != request.path_params["optimization_id"]:
            problem = "This form is not yours, or is too old. Look at the record again and decide."
            return await self._show(request, 403, problem=problem)
        decision = str(form.get("decision", ""))
        if decision == "preview":
            return await self._preview(request, seen.optimization_id)
        decisions: dict[str, Callable[..., Record]] = {
            "approve": review.approve,
            "reject": partial(review.reject, reason=str(form.get("reason", ""))),
            "done": review.mark_done,
            "undo": review.undo,
        }
        if decision == "take_back":
            return await self._change(request, partial(self._take_back, seen, actor, str(form.get("reason", ""))))
        if decision not in decisions:
            return await self._show(request, 400, problem="Nothing was decided. Choose approve or reject.")
        decide = partial(decisions[decision], self._ledger, self._policy(), seen, actor=actor, now=datetime.now(UTC))
        return await self._change(request, decide)

    async def _change(self, request: Request, decide: Callable[[], Record]) -> Response:
        """Take a decision, and show the record as it stands then."""
        try:
            record = await run_in_threadpool(decide)
        except (LedgerError, SourceError) as error:
            return await self._show(request, 409, problem=str(error))
        return RedirectResponse(f"{PREFIX}/{record.optimization_id}", status_code=303, headers=HEADERS)

    def _who(self, request: Request) -> tuple[str | None, str]:
        """The approver who asks, or a reader, and the session that their forms are bound to."""
        policy = self._policy()
        if policy.trusted_proxy_header:
            actor = request.headers.get(policy.trusted_proxy_header)
            session = f"proxy {actor}"
        else:
            session = self._sessions.held(request.headers.getlist("cookie"))
            actor = self._sessions.actor(session)
            if actor == READER:
                return READER, session
        return (actor, session) if actor and policy.approver(actor) else (None, "")

    def _stranger(self) -> Response:
        problem = "Open the link that `driptune up` or `driptune login` printed for you."
        return self._page("login.html.j2", 401, token="", problem=problem)

    def _page(self, template: str, status: int, **values: Any) -> Response:
        html = self._templates.get_template(template).render(**values)
        return HTMLResponse(html, status_code=status, headers=HEADERS)


def _following(record: Record, waiting: Sequence[Record]) -> Record | None:
    """The record to be decided after this one: the next in the list, from its end the first; none if no other waits."""
    others = [one for one in waiting if one.optimization_id != record.optimization_id]
    ordered = most_urgent_first([*others, record])
    place = ordered.index(record)
    return next(iter([*ordered[place + 1 :], *ordered[:place]]), None)


def _brought(realised: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Tonight's row of each change that is or was in effect."""
    return {row["optimization_id"]: row for row in in_a_word(realised).iter_rows(named=True)}


def _drawn(nights: pl.DataFrame) -> str | None:
    """What one change brought, as a drawing."""
    figure = realised_chart(nights.filter(role=MetricRole.PRIMARY))
    label = "What the change brought night by night, and what it promised"
    return drawn(replace(figure, label=label)) if figure else None


def _changes(record: Record) -> list[tuple[str, str, str]]:
    """For each part of the change that is no instruction: its name, what stands, and what is proposed."""
    before, after = record.proposal.before, record.proposal.after
    names = [name for name in {**before, **after} if name not in NOT_SHOWN]
    rows = [(name.replace("_", " "), _text(before.get(name, "")), _text(after.get(name, ""))) for name in names]
    if record.proposal.writes_field:
        rows.append((in_words(record.proposal.field), "as it stands", _field_words(after)))
    return rows


def _without_repeats(events: Sequence[Event]) -> list[tuple[Event, int]]:
    """The events with how often each came. Of a change that was kept in step several times in a row, only the last."""
    rows: list[tuple[Event, int]] = []
    for event in events:
        if rows and rows[-1][0].event_type is event.event_type is EventType.KEPT_IN_STEP:
            rows[-1] = (event, rows[-1][1] + 1)
        else:
            rows.append((event, 1))
    return rows


def _field_words(after: Mapping[str, Any]) -> str:
    """The values that a member's field is to hold."""
    if "roll_back" in after:
        return "what stood before the change"
    parts = [f"{after['value']} for everybody"] if "value" in after else []
    if "source" in after:
        parts.append(f"each member's own, from {after['source']}")
    if "holdout_source" in after:
        parts.append(f"for those kept out their own from {after['holdout_source']}")
    if "holdout_value" in after:
        parts.append(f"{after['holdout_value']} for those kept out")
    return "; ".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_text(part) for part in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
