"""A small account with something of every kind for each of three nights: its API, its flow map and its event files."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline.mailchimp import client, paging
from tests.mailchimp.fake_account import (
    NIGHT,
    FakeAccount,
    automation_email,
    click,
    member,
    member_id,
    opened,
    order,
)
from tests.mailchimp.journey_account import JourneyAccount, email, trigger

PEOPLE, NEWCOMERS = 16, 3
NIGHTS = tuple(NIGHT + timedelta(days=later) for later in range(3))
SENDS = {"news": 20, "first": 24, "second": 26, "mail1": 25, "mail2": 28, "hello": 27, "late": 30, "later": 31}
"""Days of June on which the campaigns, the e-mails of the flow, of the automation and of the journey were sent."""
FLOWS = """
flows:
  - id: onboarding
    name: Onboarding
    goal: purchase
    steps:
      - {id: first, campaign: "first"}
      - {id: second, campaign: "second", delay: 1 day}
"""


def account() -> FakeAccount:
    """Two audiences, campaigns, a classic automation, a journey, a store, and activity on every day."""
    made = JourneyAccount()
    made.members = [member(number, contact_id=f"c{number}", **_changed(number)) for number in range(PEOPLE + NEWCOMERS)]
    made.archived = [member(40, status="archived", contact_id="c40")]
    made.add_audience("second", member(41, contact_id="c41"))
    made.add_automation(
        "flow",
        automation_email("mail1", 1, amount=1, type="day", action="signup"),
        automation_email("mail2", 2, amount=2, type="day", action="signup"),
    )
    everybody = list(range(PEOPLE))
    for name in SENDS:
        if name != "hello":
            made.add_campaign(name, everybody, _at(name), kind="automation" if name.startswith("mail") else "regular")
    made.add_journey(7, trigger(70), email(71, "hello", sent=PEOPLE))
    made.send_email("hello", {number: _at("hello", number) for number in everybody})
    for number in everybody:
        sent = [(name, _at(name, number)) for name in ("first", "second", "mail1", "mail2", "hello")]
        made.set_feed(number, *sent)
    for name in SENDS:
        _act(made, name)
    waiting = [{"id": member_id(number), "next_send": "2026-07-02T00:00:00+00:00"} for number in everybody[:3]]
    made.found["/automations/flow/emails/mail2/queue"] = {"queue": waiting, "total_items": len(waiting)}
    made.add_store("shop", *(order(f"o{number}", _at("news", number), **_of(number)) for number in range(6)))
    return made


def write_definitions(folder: Path) -> None:
    """The flow map."""
    folder.mkdir(parents=True)
    (folder / "flows.yaml").write_text(FLOWS)


def write_events(folder: Path, night: date) -> Path:
    """The event file of a night: entries, purchases, refunds and visits of that day and of some days before."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(PEOPLE):
        day = night - timedelta(days=number % 4)
        rows += [
            _event(night, number, "entry", day, workflow_id="onboarding"),
            _event(
                night, number, "step_entered", day, workflow_id="onboarding", step_id=("first", "second")[number % 2]
            ),
            _event(night, number, "visit", day, properties={"page": "é"}),
        ]
        if number % 3 == 0:
            rows.append(_event(night, number, "purchase", day, order_id=f"e{night:%d}{number}", revenue="12.50"))
    path = folder / f"{night.isoformat()}.ndjson"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def hurry() -> None:
    """Waits that cost no time in this process, for servers that fail, and pages that are short enough to be many."""
    client.FIRST_WAIT_SECONDS, paging.PAGE_SIZE = 0.02, 7
    dg.RetryPolicy.calculate_delay = lambda self, attempt_num: 0.0  # type: ignore[method-assign]


def _event(night: date, number: int, kind: str, day: date, **more: Any) -> dict[str, Any]:
    at = datetime(day.year, day.month, day.day, 9 + number % 5, number)
    event_id = f"{night:%m%d}-{kind}-{number}"
    who = f"person-{number}@example.com"
    return {"event_id": event_id, "occurred_at": f"{at.isoformat()}Z", "event_type": kind, "subscriber": who, **more}


def _changed(number: int) -> dict[str, Any]:
    """The newcomers signed up on the nights and the day before, and two people changed on the second night."""
    later = number - PEOPLE
    stamp = f"{(datetime(2026, 6, 1, 8, number) + timedelta(days=27 + later if later >= 0 else 0)).isoformat()}+00:00"
    last = "2026-06-30T10:00:00+00:00" if number in (5, 6) else stamp
    status = "unsubscribed" if number == 5 else "subscribed"
    return {"timestamp_signup": stamp, "timestamp_opt": stamp, "last_changed": last, "status": status}


def _of(number: int) -> dict[str, Any]:
    return {"customer": {"email_address": f"person-{number}@example.com"}, "order_total": 10.0 + number}


def _at(name: str, number: int = 0, hours: int = 0) -> str:
    at = datetime(2026, 6, 1, 8, number) + timedelta(days=SENDS[name] - 1, hours=hours)
    return f"{at.isoformat()}+00:00"


def _act(made: FakeAccount, name: str) -> None:
    """Opens and clicks on the day of sending and up to four days later, one unsubscribe and one complaint."""
    for number in range(0, PEOPLE, 2):
        made.add_activity(name, number, opened(_at(name, number, 2)))
        made.add_activity(name, number, click(_at(name, number, 3 + 24 * (number % 5))))
    place = f"/reports/{name}"
    made.found |= {
        f"{place}/open-details": (
            "members",
            [{"email_id": member_id(0), "opens": [{"timestamp": _at(name, 0, 2), "is_proxy_open": True}]}],
        ),
        f"{place}/click-details": ("urls_clicked", [{"id": "link", "url": "u", "total_clicks": 1, "unique_clicks": 1}]),
        f"{place}/unsubscribed": (
            "unsubscribes",
            [{"email_id": member_id(5), "timestamp": _at(name, 5, 4), "reason": "r"}],
        ),
    }
