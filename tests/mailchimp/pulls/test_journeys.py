"""The probe of journeys: every shape that was seen is read, and whatever fails costs itself and one line."""

from datetime import timedelta
from typing import Any

import pytest

from pipeline.mailchimp import client, paging
from pipeline.mailchimp import pulls as pull
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from tests.mailchimp.fake_account import NIGHT, member, rows, served, subscriber
from tests.mailchimp.journey_account import (
    PLACE,
    Details,
    JourneyAccount,
    delay,
    email,
    odd,
    tag_trigger,
    trigger,
)

TOMORROW = NIGHT + timedelta(days=1)
WELCOME = (trigger(11), delay(12, 24), email(13, "mail1", sent=2), delay(14, 48), email(15, "mail2", sent=1))


def account_of(details: Details = "listed", **shape: bool) -> JourneyAccount:
    made = JourneyAccount(details, **shape)
    made.members = [member(1), member(2)]
    made.add_journey(7, *WELCOME)
    made.send_email("mail1", {1: "2026-06-20T10:00:00+00:00", 2: "2026-06-21T11:00:00+00:00"})
    made.send_email("mail2", {1: "2026-06-22T10:00:00+00:00"})
    return made


def listed(night: Any) -> list[tuple[str, str | None]]:
    """State and detail of the list of journeys."""
    found = [one for one in rows(night, tables.Sources) if one["kind"] == "journey list"]
    return [(one["state"], one["detail"]) for one in found]


def steps_of(night: Any) -> dict[str, dict[str, Any]]:
    return {row["step_id"]: row for row in rows(night, JourneySteps)}


@pytest.mark.parametrize("details", ["listed", "single", "number"])
@pytest.mark.parametrize("offset_works", [True, False])
@pytest.mark.parametrize("has_total", [True, False])
def test_every_shape_that_was_seen_gives_the_same_journey(tmp_path, details, offset_works, has_total):
    account = account_of(details, offset_works=offset_works, has_total=has_total)
    with served(account, tmp_path) as night:
        night.run()
    (journey,) = rows(night, Journeys)
    assert (journey["journey_id"], journey["name"], journey["step_ids"]) == (
        "7",
        "Journey 7",
        '["11", "12", "13", "14", "15"]',
    )
    assert (journey["started"], journey["in_progress"], journey["completed"]) == (10, 4, 6)
    found = steps_of(night)
    assert {step: row["step_kind"] for step, row in found.items()} == {
        "11": "trigger", "12": "delay", "13": "email", "14": "delay", "15": "email",
    }  # fmt: skip
    assert {step: row["campaign_id"] for step, row in found.items() if row["campaign_id"]} == {
        "13": "mail1",
        "15": "mail2",
    }
    assert (found["12"]["delay_hours"], found["14"]["delay_hours"]) == (24, 48)
    assert listed(night) == [("read", "")]
    budget = 2 + 1 + (0 if details == "listed" else 2)
    assert len(account.asked_journeys()) <= budget


@pytest.mark.parametrize("details", ["listed", "single", "number"])
def test_their_mail_is_found_by_its_reports_and_timed_by_the_feeds(tmp_path, details):
    with served(account_of(details), tmp_path) as night:
        night.run()
    sent = {(row["campaign_id"], row["subscriber_key"]): row["sent_at_source"] for row in rows(night, tables.Sends)}
    assert sent == {
        ("mail1", subscriber(1)): "feed",
        ("mail1", subscriber(2)): "feed",
        ("mail2", subscriber(1)): "feed",
    }


@pytest.mark.parametrize(
    "instead",
    [
        403,
        404,
        405,
        500,
        odd({"journeys": {}}),
        odd({"flows": []}),
        odd([]),
        odd({"journeys": [{"name": "no id"}, None, 5]}),
        odd({"journeys": [], "total_items": 0}),
        odd({"journeys": [], "total_items": "none"}),
        b"<html>",
    ],
)
def test_a_list_that_does_not_answer_keeps_the_last_one_and_costs_one_line(tmp_path, monkeypatch, instead):
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.2)
    account = account_of()
    with served(account, tmp_path) as night:
        night.run()
        before = (rows(night, Journeys), rows(night, JourneySteps))
        account.instead[PLACE] = instead
        summary = night.pull(pull.pull_journeys, TOMORROW)
    assert len(summary.failures) == 1
    assert (rows(night, Journeys), rows(night, JourneySteps)) == before
    ((state, detail),) = listed(night)
    assert (state, bool(detail)) == ("failed", True)


def test_an_account_without_journeys_is_no_failure(tmp_path):
    with served(JourneyAccount(), tmp_path) as night:
        assert night.pull(pull.pull_journeys).failures == []
    assert listed(night) == [("read", "")]


@pytest.mark.parametrize("instead", [403, 404, 405, 500, odd({"steps": None}), odd({}), odd({"steps": [{"a": 1}]})])
def test_a_journey_that_fails_costs_itself(tmp_path, monkeypatch, instead):
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.2)
    account = account_of()
    account.add_journey(8, trigger(21), email(22, "mail3"))
    account.instead[f"{PLACE}/7/steps"] = instead
    with served(account, tmp_path) as night:
        night.run()
        assert {row["journey_id"]: row["step_ids"] for row in rows(night, Journeys)} == {
            "7": "[]",
            "8": '["21", "22"]',
        }
        states = {row["source_id"]: row["state"] for row in rows(night, tables.Sources) if row["kind"] == "journey"}
        assert states == {"7": "failed", "8": "read"}
        del account.instead[f"{PLACE}/7/steps"]
        night.run(TOMORROW)
    assert {row["journey_id"] for row in rows(night, JourneySteps)} == {"7", "8"}


def test_a_journey_whose_steps_are_empty_all_at_once_keeps_those_it_had(tmp_path):
    account = account_of()
    with served(account, tmp_path) as night:
        night.run()
        before = (rows(night, Journeys), rows(night, JourneySteps))
        account.instead[f"{PLACE}/7/steps"] = odd({"steps": []})
        (failure,) = night.pull(pull.pull_journeys, TOMORROW).failures
    assert "5 were read before" in str(failure)
    assert (rows(night, Journeys), rows(night, JourneySteps)) == before


def test_a_step_of_nonsense_is_set_aside_and_the_others_are_read(tmp_path):
    account = account_of()
    account.steps["7"] += [None, "step", {"step_type": "delay"}]
    with served(account, tmp_path) as night:
        night.run()
    assert set(steps_of(night)) == {"11", "12", "13", "14", "15"}
    assert {row["field"] for row in rows(night, tables.Quarantine)} == {"id"}


def test_what_is_missing_or_of_another_type_counts_as_not_told(tmp_path):
    account = JourneyAccount()
    account.add_journey(
        "9",
        tag_trigger("31", None),
        tag_trigger("32", "vip"),
        delay(33, 0, delay_time="7200", stats=None),
        delay(34, 0, delay_time="2 days", stats="many"),
        {"id": 35, "step_type": "action-send_email", "action_details": None},
        {"id": 36, "step_type": "condition-if_else", "status": None},
        {"id": 37, "step_type": None},
        {"id": 38, "step_type": "action-add_remove_tag", "action_settings": []},
        stats=None,
        first_started_at="",
        can_contacts_reenter="yes",
        journey_wide_exit_condition={"conditions": []},
    )
    with served(account, tmp_path) as night:
        night.run()
    (journey,) = rows(night, Journeys)
    told = ("started", "first_started_us", "can_reenter", "has_exit_condition")
    assert [journey[name] for name in told] == [None, None, None, False]
    found = steps_of(night)
    assert [found[step]["has_lost_tag"] for step in ("31", "32")] == [True, False]
    assert found["32"]["started_by"] == "vip"
    assert [found[step]["delay_hours"] for step in ("33", "34")] == [2, 48]
    assert [found[step]["step_kind"] for step in ("35", "36", "37", "38")] == ["email", "branch", "branch", "action"]
    assert found["35"]["campaign_id"] is None
    assert rows(night, tables.Quarantine) == []


def test_a_night_on_which_nothing_differs_makes_no_version(tmp_path):
    account = account_of()
    with served(account, tmp_path) as night:
        night.run()
        assert night.pull(pull.pull_journeys, TOMORROW).rows == {"journeys": 0, "journey_steps": 0}
        account.steps["7"][1] = delay(12, 72)
        assert night.pull(pull.pull_journeys, TOMORROW).rows == {"journeys": 0, "journey_steps": 1}
    history = night.lake.scan(JourneySteps).collect().filter(step_id="12").sort("as_of_day")
    assert history["delay_hours"].to_list() == [24, 72]


def test_many_journeys_are_read_page_by_page(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 100)
    account = JourneyAccount()
    for number in range(1, 211):
        account.journeys.append({"id": number, "journey_name": "", "status": "sending"})
        account.steps[str(number)] = [trigger(1)]
    with served(account, tmp_path) as night:
        night.pull(pull.pull_journeys)
    assert len(rows(night, Journeys)) == 210
    assert len(account.asked_journeys()) <= 3 + 210


def test_a_journey_that_is_listed_no_more_keeps_its_history(tmp_path):
    account = account_of()
    account.add_journey(8, trigger(21), email(22, "mail3"))
    with served(account, tmp_path) as night:
        night.run()
        account.journeys = [one for one in account.journeys if one["id"] != 7]
        night.run(TOMORROW)
    states = {row["source_id"]: row["state"] for row in rows(night, tables.Sources) if row["kind"] == "journey"}
    assert states == {"7": "unlisted", "8": "read"}
    assert {row["journey_id"] for row in rows(night, Journeys)} == {"7", "8"}


def long_account(**shape: bool) -> JourneyAccount:
    """A journey of 24 steps, whose e-mails are the last two."""
    account = JourneyAccount(**shape)
    account.members = [member(1)]
    delays = (delay(number, 1) for number in range(2, 23))
    account.add_journey(7, trigger(1), *delays, email(23, "mail1", sent=1), email(24, "mail2", sent=1))
    account.send_email("mail1", {1: "2026-06-20T10:00:00+00:00"})
    account.send_email("mail2", {1: "2026-06-20T10:00:00+00:00"})
    return account


@pytest.mark.parametrize("steps_have_total", [True, False])
@pytest.mark.parametrize("most_steps", [10, 20, 1000])
def test_a_long_journey_is_read_to_its_last_step(tmp_path, steps_have_total, most_steps):
    account = long_account()
    account.steps_have_total, account.most_steps = steps_have_total, most_steps
    with served(account, tmp_path) as night:
        night.pull(pull.pull_journeys)
    assert list(steps_of(night)) == [str(number) for number in range(1, 25)]


def test_a_journey_with_fewer_steps_than_announced_keeps_those_of_the_night_before(tmp_path):
    account = long_account(offset_works=False)
    account.steps_have_total = True
    with served(account, tmp_path) as night:
        night.pull(pull.pull_journeys)
        account.most_steps = 10
        (failure,) = night.pull(pull.pull_journeys, TOMORROW).failures
    assert "24 rows were announced and only 10 came" in str(failure)
    assert rows(night, Journeys)[0]["step_ids"].count(",") == 23


def test_journeys_that_are_announced_and_do_not_come_are_said_and_none_counts_as_gone(tmp_path):
    account = account_of(offset_works=False)
    account.add_journey(8, trigger(21), email(22, "mail3"))
    with served(account, tmp_path) as night:
        night.pull(pull.pull_journeys)
        account.instead[PLACE] = odd({"journeys": account.journeys[:1], "total_items": 2})
        (failure,) = night.pull(pull.pull_journeys, TOMORROW).failures
    assert "2 rows were announced and only 1 came" in str(failure)
    states = {row["source_id"]: row["state"] for row in rows(night, tables.Sources)}
    assert states == {"7": "read", "8": "read", "journeys": "failed"}
