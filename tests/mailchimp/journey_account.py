"""Journeys of a made-up account as shared/mailchimp/journeys.md describes them, in each shape that was seen.

Written from that page alone. The product's own stand-in is another one.
"""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from tests.mailchimp.fake_account import AUDIENCE, FakeAccount, report
from tests.mailchimp.loopback import Found, refuse, send

Details = Literal["listed", "single", "number"]
PLACE = "/customer-journeys/journeys"
HOUR = 3600


def trigger(step_id: Any, step_type: str = "trigger-signup", **more: Any) -> dict[str, Any]:
    return {"id": step_id, "step_type": step_type, "status": "active", "display_text": "Starts", **more}


def tag_trigger(step_id: Any, tag: str | None) -> dict[str, Any]:
    """A trigger on a tag; a tag that was deleted has no name."""
    details = {"tag": {"tag_name": tag}} if tag else {"tag": {"tag_name": ""}}
    return trigger(step_id, "trigger-tag_added", trigger_settings={"tag_id": 77}, trigger_details=details)


def delay(step_id: Any, hours: float, **more: Any) -> dict[str, Any]:
    stats = {"queue_count": 0, "completed": 0}
    return {"id": step_id, "step_type": "delay", "status": "active", "delay_time": hours * HOUR, "stats": stats, **more}


def email(step_id: Any, campaign: str, *, sent: int = 0, **more: Any) -> dict[str, Any]:
    """An e-mail whose number in the app is the sum of the letters of its campaign."""
    number = sum(map(ord, campaign))
    return {
        "id": step_id,
        "step_type": "action-send_email",
        "status": "active",
        "display_text": campaign,
        "stats": {"queue_count": 0, "completed": sent},
        "action_settings": {"campaign_id": number},
        "action_details": {
            "email": {
                "id": campaign,
                "web_id": number,
                "status": "sending",
                "emails_sent": sent,
                "send_time": "2026-01-05T10:00:00+00:00",
                "settings": {"subject_line": f"Subject of {campaign}", "title": f"Title of {campaign}"},
                "report_summary": {},
            }
        },
        **more,
    }


class JourneyAccount(FakeAccount):
    """An account with journeys; `details` and `offset_works` choose between the shapes that were seen."""

    def __init__(self, details: Details = "listed", *, offset_works: bool = True, has_total: bool = True) -> None:
        super().__init__()
        self.details, self.offset_works, self.has_total = details, offset_works, has_total
        self.steps_have_total, self.most_steps = False, 1000
        self.journeys: list[Any] = []
        self.feed: dict[int, list[tuple[str, str]]] = {}
        self.steps: dict[str, list[Any]] = {}
        # Answers in place of the usual ones: a status, or a body of any shape.
        self.instead: dict[str, int | bytes] = {}

    def add_journey(self, journey_id: Any, *steps: dict[str, Any], **changes: Any) -> None:
        self.journeys.append(
            {
                "id": journey_id,
                "journey_name": f"Journey {journey_id}",
                "status": "sending",
                "list_id": AUDIENCE,
                "list_name": "All",
                "stats": {"started": 10, "in_progress": 4, "completed": 6},
                "first_started_at": "2026-01-02T00:00:00+00:00",
                "last_started_at": "2026-06-28T00:00:00+00:00",
                "can_contacts_reenter": False,
                "journey_wide_exit_condition": {"conditions": [{"type": "purchase"}]},
                **changes,
            }
        )
        self.steps[str(journey_id)] = list(steps)

    def send_email(self, campaign: str, sent: dict[int, str]) -> None:
        """Mail of a journey by member's number and time: it has a report of its own, and no listing shows it."""
        self.add_campaign(campaign, list(sent), min(sent.values()), kind="automation-email")
        found = self.found["/reports"]
        assert isinstance(found, tuple)
        found[1][:] = [one for one in found[1] if one["id"] != campaign]
        self._items("/campaigns")[-1]["web_id"] = sum(map(ord, campaign))
        self.found[f"/reports/{campaign}"] = report(campaign, len(sent), min(sent.values()))
        for number, time in sent.items():
            self.feed.setdefault(number, []).append((campaign, time))
            self.set_feed(number, *self.feed[number])

    def answer(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        instead = self.instead.get(path)
        if instead is None:
            super().answer(handler, path, query)
            return
        self.requests.append((path, query))
        if isinstance(instead, int):
            refuse(handler, instead, "Problem")
        else:
            send(handler, 200, instead)

    def find(self, path: str, query: dict[str, str]) -> Found:
        if not path.startswith(PLACE):
            return super().find(path, query)
        journey, _, step = path.removeprefix(PLACE).strip("/").partition("/steps")
        if not journey:
            start = int(query.get("offset", 0)) if self.offset_works else 0
            page = self.journeys[start : start + int(query.get("count", 10))]
            return {"journeys": page, **({"total_items": len(self.journeys)} if self.has_total else {})}
        if path.endswith("/steps"):
            return self._page_of_steps(journey, query) if journey in self.steps else None
        found = self.steps.get(journey, []) if step else self.journeys
        if step and self.details == "number":
            found = [self._listed_step(one) for one in found]
        wanted = step.strip("/") or journey
        return next((one for one in found if isinstance(one, dict) and str(one.get("id")) == wanted), None)

    def _page_of_steps(self, journey: str, query: dict[str, str]) -> Found:
        """Ten steps where no number is asked for, or fewer."""
        start, steps = int(query.get("offset", 0)) if self.offset_works else 0, self.steps[journey]
        page = steps[start : start + min(int(query.get("count", 10)), self.most_steps)]
        told = {"total_items": len(steps)} if self.steps_have_total else {}
        return {"steps": [self._listed_step(one) for one in page], **told}

    def _listed_step(self, step: Any) -> Any:
        if self.details == "listed" or not isinstance(step, dict):
            return step
        return {name: value for name, value in step.items() if name != "action_details"}

    def asked_journeys(self) -> list[str]:
        """Paths of the requests that the probe made."""
        return [path for path, _ in self.requests if path.startswith(PLACE)]


def odd(value: Any) -> bytes:
    """A body of another shape."""
    return json.dumps(value).encode()
