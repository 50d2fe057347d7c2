"""When a message was sent: by campaign, feed or computation; facts of the API, one test each, over HTTP."""

from datetime import date, timedelta

from pipeline.mailchimp.fields import instant
from pipeline.mailchimp.pulls import pull_journeys
from pipeline.mailchimp.pulls.one_by_one.planned import planned_hours
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Recipients
from tests.mailchimp.fake_account import (
    AUDIENCE,
    NIGHT,
    automation_email,
    member,
    member_id,
    report,
    rows,
    served,
    subscriber,
)
from tests.mailchimp.journey_account import JourneyAccount, delay, email, trigger

FLOWS = """
flows:
  - id: onboarding
    steps:
      - {id: hello, campaign: journey1, delay: 1 day}
      - {id: tips, campaign: journey2, delay: 2 days}
"""
SENT_AT = "2026-06-20T10:00:00+00:00"
LONG_AGO = "2026-01-05T10:00:00+00:00"


def test_the_flow_map_names_the_journeys_that_the_api_hides(account, tmp_path):
    """A journey's e-mail looks like any campaign: only the flow map tells that its messages go out one by one."""
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "flows.yaml").write_text(FLOWS)
    account.add_campaign("journey1", [1], LONG_AGO)
    account.add_campaign("news", [1], LONG_AGO)
    account.set_feed(1, ("journey1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    found = {row["campaign_id"]: (row["sent_us"], row["sent_at_source"]) for row in rows(night, tables.Sends)}
    assert found == {"journey1": (instant(SENT_AT), "feed"), "news": (instant(LONG_AGO), "campaign")}


def test_a_journey_that_the_map_names_only_later_gets_its_times(account, tmp_path):
    account.add_campaign("journey1", [1], LONG_AGO)
    account.set_feed(1, ("journey1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
        assert rows(night, tables.Sends)[0]["sent_at_source"] == "campaign"
        (tmp_path / "definitions").mkdir()
        (tmp_path / "definitions" / "flows.yaml").write_text(FLOWS)
        night.run(NIGHT + timedelta(days=1))
    assert [row["sent_us"] for row in rows(night, tables.Sends)] == [instant(SENT_AT)]


def test_automation_emails_are_sent_one_by_one(account, tmp_path):
    """Their time stands in the member's feed; the report is asked for by the e-mail's id, never the workflow's."""
    account.add_automation(
        "flow", automation_email("mail1", 1, amount=1, type="day", direction="after", action="signup")
    )
    account.add_campaign("mail1", [1], LONG_AGO)
    account.set_feed(1, ("mail1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    assert [(row["sent_us"], row["sent_at_source"]) for row in rows(night, tables.Sends)] == [
        (instant(SENT_AT), "feed")
    ]
    assert not any(path.startswith("/reports/flow") for path, _ in account.requests)


def test_an_undocumented_kind_of_campaign_is_taken_as_one_by_one(account, tmp_path):
    account.add_campaign("strange", [1], LONG_AGO, kind="automation-email")
    account.set_feed(1, ("strange", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Sends)[0]["sent_us"] == instant(SENT_AT)
    assert rows(night, tables.Campaigns)[0]["campaign_type"] == "automation-email"


def test_a_campaign_that_still_grows_after_days_is_one_by_one(account, tmp_path):
    account.add_campaign("slow", [1], "2026-06-01T10:00:00+00:00")
    with served(account, tmp_path) as night:
        night.run(date(2026, 6, 20))
        account.found["/reports/slow/sent-to"][1].append(
            {"email_id": member_id(2), "list_id": AUDIENCE, "status": "sent"}
        )
        account.found["/reports"] = ("reports", [report("slow", 2, "2026-06-01T10:00:00+00:00")])
        account.set_feed(2, ("slow", "2026-06-29T10:00:00+00:00"))
        night.run()
    assert {row["subscriber_key"]: row["sent_us"] for row in rows(night, tables.Sends)} == {
        subscriber(1): instant("2026-06-01T10:00:00+00:00"),
        subscriber(2): instant("2026-06-29T10:00:00+00:00"),
    }


def test_without_a_feed_the_time_is_signup_and_the_delays(account, tmp_path):
    """A deleted member has no feed any more; the second e-mail counts its delay from the first."""
    account.members = [member(1, timestamp_signup="2026-06-01T08:00:00+00:00")]
    account.add_automation(
        "flow",
        automation_email("mail1", 1, amount=1, type="day", direction="after", action="signup"),
        automation_email("mail2", 2, amount=5, type="hour", direction="after", action="previous_campaign_sent"),
    )
    for mail in ("mail1", "mail2"):
        account.add_campaign(mail, [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
    found = {row["campaign_id"]: (row["sent_us"], row["sent_at_source"]) for row in rows(night, tables.Sends)}
    signup = instant("2026-06-01T08:00:00+00:00")
    assert found == {
        "mail1": (signup + 24 * 3_600_000_000, "computed"),
        "mail2": (signup + 29 * 3_600_000_000, "computed"),
    }


def test_the_flow_maps_delays_add_up_too(account, tmp_path):
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "flows.yaml").write_text(FLOWS)
    account.members = [member(1, timestamp_signup="2026-06-01T08:00:00+00:00")]
    account.add_campaign("journey2", [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Sends)[0]["sent_us"] == instant("2026-06-04T08:00:00+00:00")


def test_a_delay_that_was_taken_out_of_a_journey_is_waited_no_more(tmp_path):
    account = JourneyAccount()
    account.members = [member(1, timestamp_signup="2026-06-01T08:00:00+00:00")]
    account.add_journey(7, trigger(1), delay(2, 24), email(3, "mail1"), delay(4, 24), email(5, "mail2"))
    with served(account, tmp_path) as night:
        night.run()
        account.steps["7"] = [trigger(1), delay(6, 48), email(3, "mail1"), email(5, "mail2")]
        night.pull(pull_journeys, NIGHT + timedelta(days=1))
        assert planned_hours(night.lake, night.settings) == {"mail1": 48.0, "mail2": 48.0}
        account.steps["7"] = [trigger(1), email(5, "mail2")]
        night.pull(pull_journeys, NIGHT + timedelta(days=2))
        assert planned_hours(night.lake, night.settings)["mail2"] == 0.0


def test_a_computed_time_is_never_later_than_the_night_that_saw_the_message(account, tmp_path):
    account.members = [member(1, timestamp_signup="2026-06-29T20:00:00+00:00")]
    account.add_automation(
        "flow", automation_email("mail1", 1, amount=1, type="week", direction="after", action="signup")
    )
    account.add_campaign("mail1", [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
    (send,) = rows(night, tables.Sends)
    assert send["sent_at_source"] == "computed"
    assert send["sent_us"] // 86_400_000_000 == (NIGHT - date(1970, 1, 1)).days


def test_a_known_time_needs_no_second_call(account, tmp_path):
    account.add_automation(
        "flow", automation_email("mail1", 1, amount=1, type="day", direction="after", action="signup")
    )
    account.add_campaign("mail1", [1], LONG_AGO)
    account.set_feed(1, ("mail1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
        night.run()
        night.run(NIGHT + timedelta(days=1))
    assert len(account.asked("activity-feed")) == 1


def test_a_feed_that_tells_of_a_message_twice_gives_the_first_time_and_how_often(account, tmp_path):
    account.add_campaign("mail1", [1, 2], LONG_AGO, kind="automation-email")
    later = "2026-06-25T10:00:00+00:00"
    account.set_feed(1, ("mail1", later), ("mail1", SENT_AT))
    account.set_feed(2, ("mail1", later))
    with served(account, tmp_path) as night:
        night.run()
        night.run(NIGHT + timedelta(days=1))
    assert {row["sent_us"] for row in rows(night, tables.Sends)} == {instant(SENT_AT), instant(later)}
    assert sorted(row["feed_sends"] for row in rows(night, Recipients)) == [1, 2]
