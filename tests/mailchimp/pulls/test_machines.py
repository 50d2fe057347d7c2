"""Machines told apart from people; facts of the API, one test each, over HTTP."""

from datetime import timedelta

import pytest

from pipeline.mailchimp.fields import instant
from pipeline.mailchimp.rows import is_image_proxy
from pipeline.schemas import lake as tables
from tests.mailchimp.fake_account import NIGHT, click, member_id, opened, rows, served

SENT_AT = "2026-06-20T10:00:00+00:00"


def test_both_passes_are_read_and_their_difference_is_machine(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity("news", 1, opened("2026-06-20T10:00:03+00:00"), human=False)
    account.add_activity("news", 1, opened("2026-06-20T12:00:00+00:00"), click("2026-06-20T12:00:09+00:00"))
    with served(account, tmp_path) as night:
        night.run()
    by_bot = {row["occurred_us"]: row["is_bot"] for row in rows(night, tables.EmailActivity)}
    assert by_bot == {
        instant("2026-06-20T10:00:03+00:00"): True,
        instant("2026-06-20T12:00:00+00:00"): False,
        instant("2026-06-20T12:00:09+00:00"): False,
    }


def test_the_unfiltered_pass_comes_first(account, tmp_path):
    """In the other order an event between the two passes would be taken for a bot's."""
    account.add_campaign("news", [1], SENT_AT)
    with served(account, tmp_path) as night:
        night.run()
    assert ["filter_bots" in query for query in account.asked("email-activity")] == [False, True]


def test_what_breaks_in_the_filtered_pass_alone_is_set_aside_and_asked_for_again(account, tmp_path):
    """It is not known whose acts a broken item held, and without them they would be a bot's for good."""
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity("news", 1, opened("2026-06-20T12:00:00+00:00"))
    path = "/reports/news/email-activity"
    right, account.humans[path] = account.humans[path], [7]
    with served(account, tmp_path) as night:
        night.run()
        [broken] = rows(night, tables.Quarantine)
        account.humans[path] = right
        night.run(NIGHT + timedelta(days=1))
    assert broken["reference"].startswith(path)
    [act] = rows(night, tables.EmailActivity)
    assert act["is_bot"] is False


def test_a_bounce_is_nobodys_act(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity(
        "news", 1, {"action": "bounce", "type": "soft", "timestamp": "2026-06-20T10:00:03+00:00"}, human=False
    )
    with served(account, tmp_path) as night:
        night.run()
    (bounce,) = rows(night, tables.EmailActivity)
    assert (bounce["is_bot"], bounce["bounce_kind"], bounce["ip_key"]) == (False, "soft", None)


@pytest.mark.parametrize(
    ("sent_at", "mark"), [("2024-06-21T23:59:59+00:00", None), ("2024-06-22T00:00:00+00:00", True)]
)
def test_proxy_marks_are_unknown_for_mail_older_than_the_mark(sent_at, mark, account, tmp_path):
    account.add_campaign("news", [1], sent_at)
    opens = [{"timestamp": "2024-07-01T00:00:00+00:00", "is_proxy_open": True}]
    account.found["/reports/news/open-details"] = ("members", [{"email_id": member_id(1), "opens": opens}])
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.OpenDetails)[0]["is_proxy_open"] is mark


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("66.249.80.0", True),
        ("66.249.95.255", True),
        ("66.249.96.0", False),
        ("104.28.58.3", True),
        ("203.0.113.9", False),
        ("2a02::1", False),
        ("", False),
        ("no address", False),
    ],
)
def test_image_proxies_are_known_by_their_networks(address, expected):
    assert is_image_proxy(address) is expected


def test_only_opens_come_from_image_proxies(account, tmp_path):
    """A click from the same network is a person behind a privacy relay."""
    relay = "104.28.58.3"
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity(
        "news", 1, opened("2026-06-20T12:00:00+00:00", relay), click("2026-06-20T12:00:09+00:00", ip=relay)
    )
    with served(account, tmp_path) as night:
        night.run()
    found = {row["action"]: row["is_image_proxy"] for row in rows(night, tables.EmailActivity)}
    assert found == {"open": True, "click": False}
