"""An account whose journeys are as varied as shared/mailchimp/journeys.md lets expect, written from that page alone.

Pages hold three journeys whatever count is asked for, no total is told, fields are missing, kinds of steps are unknown,
and e-mails stand in no listing of campaigns or reports: only their own report answers.
"""

from datetime import timedelta
from typing import Any

from tests.mailchimp.fake_account import AUDIENCE, NIGHT, FakeAccount, member, report
from tests.mailchimp.loopback import Found

PER_PAGE = 3
PEOPLE = 40
WELCOMED, TOLD, LEFT, RIGHT, OLD, BARE, TEXTED = 30, 18, 9, 5, 7, 6, 4
HOUR = 3600
_PLACE = "/customer-journeys/journeys"


def at(days_ago: int, hour: int = 9) -> str:
    return f"{(NIGHT - timedelta(days=days_ago)).isoformat()}T{hour:02}:00:00+00:00"


def counted(queue: int, completed: int) -> dict[str, int]:
    return {"queue_count": queue, "completed": completed}


def mails(step_id: int, campaign: str, sent: int, queue: int = 0, **more: Any) -> dict[str, Any]:
    email = {"id": campaign, "emails_sent": sent, "settings": {"subject_line": f"About {campaign}", "title": campaign}}
    told = {"action_details": {"email": email}, "stats": counted(queue, sent), "status": "active"}
    return {"id": step_id, "step_type": "action-send_email", **told, **more}


def waits(step_id: int, hours: float, queue: int = 0, completed: int = 0) -> dict[str, Any]:
    return {"id": step_id, "step_type": "delay", "delay_time": int(hours * HOUR), "stats": counted(queue, completed)}


def passes(step_id: int, step_type: str, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "step_type": step_type, "status": "active", **more}


def ran(started: int, completed: int) -> dict[str, Any]:
    stats = {"started": started, "in_progress": started - completed, "completed": completed}
    return {"status": "sending", "list_id": AUDIENCE, "first_started_at": at(60), "stats": stats}


class VariedJourneys(FakeAccount):
    """The account: `journeys` with their `steps`, as they are listed."""

    def __init__(self) -> None:
        super().__init__()
        self.members = [member(number) for number in range(PEOPLE)]
        self.journeys: list[dict[str, Any]] = []
        self.steps: dict[str, list[dict[str, Any]] | None] = {}
        self._feeds: dict[int, list[tuple[str, str]]] = {}

    def journey(self, journey_id: int, told: dict[str, Any], *steps: dict[str, Any]) -> None:
        """A journey that says nothing of itself but its number and what is told."""
        self.journeys.append({"id": journey_id, **told})
        self.steps[str(journey_id)] = list(steps)

    def mailed(self, campaign: str, sent: dict[int, str]) -> None:
        """Mail by member's number and time. Nothing but its own report knows it."""
        self.add_campaign(campaign, list(sent), min(sent.values()))
        for listing in ("/campaigns", "/reports"):
            self._items(listing).pop()
        self.found[f"/reports/{campaign}"] = report(campaign, len(sent), min(sent.values()))
        for number, time in sent.items():
            self._feeds.setdefault(number, []).append((campaign, time))
            self.set_feed(number, *self._feeds[number])

    def find(self, path: str, query: dict[str, str]) -> Found:
        if not path.startswith(_PLACE):
            return super().find(path, query)
        names = path.removeprefix(_PLACE).strip("/").split("/")
        if names == [""]:
            start = int(query.get("offset", 0))
            return {"journeys": self.journeys[start : start + PER_PAGE]}
        steps = self.steps.get(names[0])
        if len(names) == 1:
            return next((one for one in self.journeys if str(one["id"]) == names[0]), None)
        if len(names) == 2 or steps is None:
            return None if steps is None else {"steps": steps}
        return next((one for one in steps if str(one["id"]) == names[2]), None)


def varied() -> VariedJourneys:
    """Thirteen journeys, of which six have sent mail."""
    account = VariedJourneys()
    _welcome(account)
    _fork(account)
    account.journey(103, {**ran(OLD, OLD), "status": "archived"}, passes(1, "trigger-signup"), mails(2, "old", OLD))
    account.mailed("old", dict.fromkeys(range(OLD), at(50)))
    account.journey(104, {"status": "sending", "journey_name": "Empty"})
    account.journey(
        105,
        {"status": "sending"},
        {"id": 1, "step_type": "trigger-something_new"},
        {"id": 2, "step_type": "action-send_email", "action_settings": {"campaign_id": 987_654_321}},
        {"id": 3, "step_type": "delay"},
        {"id": 4, "step_type": "action-send_email", "action_details": {"email": {"id": "bare"}}},
    )
    account.mailed("bare", dict.fromkeys(range(BARE), at(20)))
    account.journey(106, {"status": "draft", "journey_name": None}, mails(1, "drafted", 0))
    account.journey(
        107,
        ran(TEXTED, TEXTED),
        passes(1, "trigger-api"),
        passes(2, "action-send_sms", stats=counted(0, TEXTED)),
        {"id": 3, "step_type": None, "status": "active"},
        mails(4, "texted", TEXTED),
    )
    account.mailed("texted", dict.fromkeys(range(TEXTED), at(15)))
    account.journey(108, ran(3, 3), passes(1, "trigger-signup"), passes(2, "action-update_contact"))
    account.journey(109, {**ran(2, 2), "journey_name": "Welcome"}, passes(1, "trigger-signup"), mails(2, "lost", 2))
    account.journey(110, {**ran(5, 0), "status": "paused"}, passes(1, "trigger-signup"), waits(2, 24, queue=5))
    account.journey(111, {**ran(2, 2), "journey_name": "Not told"})
    account.steps["111"] = None
    account.journey(112, {**ran(0, 0), "first_started_at": ""}, passes(1, "trigger-signup"), mails(2, "unsent", 0))
    account.journey(113, ran(TOLD, TOLD), passes(1, "trigger-tag_added"), mails(2, "told", TOLD))
    account.mailed("told", dict.fromkeys(range(TOLD), at(12)))
    return account


def _welcome(account: VariedJourneys) -> None:
    """Two triggers, two delays and an action between two e-mails, and a paused step before one that nobody got."""
    waiting = WELCOMED - TOLD
    vip = {"trigger_settings": {"tag_id": 9}, "trigger_details": {"tag": {"tag_name": "vip"}}}
    account.journey(
        101,
        {**ran(WELCOMED, 0), "journey_name": "Welcome"},
        passes(1, "trigger-signup"),
        passes(2, "trigger-tag_added", **vip),
        waits(3, 6, completed=WELCOMED),
        passes(4, "action-add_remove_tag", stats=counted(0, WELCOMED)),
        mails(5, "hello", WELCOMED),
        waits(6, 24, completed=WELCOMED),
        waits(7, 12.5, queue=waiting, completed=TOLD),
        mails(8, "story", TOLD),
        mails(9, "later", 0, queue=TOLD, status="paused"),
    )
    lately = dict.fromkeys(range(TOLD, WELCOMED), at(1))
    account.mailed("hello", {**dict.fromkeys(range(TOLD), at(30)), **lately})
    account.mailed("story", dict.fromkeys(range(TOLD), at(28, 22)))


def _fork(account: VariedJourneys) -> None:
    """A branch, then one of a kind that nobody has seen, with a way around each e-mail after it."""
    everybody = LEFT + RIGHT
    account.journey(
        102,
        {**ran(everybody, everybody), "journey_name": "Fork", "journey_wide_exit_condition": {}},
        passes(1, "trigger-event", trigger_settings={"event_name": "came"}),
        mails(2, "asked", everybody),
        passes(3, "condition-if_else"),
        waits(4, 48),
        mails(5, "left", LEFT),
        passes(6, "split-by_luck"),
        mails(7, "right", RIGHT),
        passes(8, "wait-until_weekday"),
        mails(9, "both", everybody),
    )
    account.mailed("asked", dict.fromkeys(range(everybody), at(25)))
    account.mailed("left", dict.fromkeys(range(LEFT), at(23)))
    account.mailed("right", dict.fromkeys(range(LEFT, everybody), at(22)))
    account.mailed("both", dict.fromkeys(range(everybody), at(21)))
