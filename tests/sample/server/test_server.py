"""The stand-in server answers as Mailchimp does: paging, windows, archives, bots, limits, problems, and its clock."""

import http.client
from collections.abc import Iterator
from datetime import date, timedelta
from urllib.parse import urlsplit

import polars as pl
import pytest
import requests

from pipeline.common.time import end_of_day_us
from pipeline.lake.keys import SAMPLE_SECRET, SubscriberKeys
from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.world import AUDIENCE_ID, CAMPAIGNS, CART, PLANTED, REMINDER, WELCOME
from pipeline.sample.server.process import serve
from pipeline.sample.server.view import look
from pipeline.sample.truth import truth
from pipeline.settings import SAMPLE_TONIGHT, Refusal

MEMBERS = f"/lists/{AUDIENCE_ID}/members"
NEWSLETTER = CAMPAIGNS[7].workflow_id
TOO_MANY = 14
JOURNEY_PATH = "/customer-journeys/journeys"
KINDS = ("delay", "action-send_email")


class Api:
    """A session with the server's base URL and a good key."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.auth = ("anyone", "sample-us1")

    def response(self, path: str, **params: str | int) -> requests.Response:
        return self.session.get(self.url + path, params=params)

    def get(self, path: str, **params: str | int) -> dict:
        response = self.response(path, **params)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def api(account: SampleAccount) -> Iterator[Api]:
    with serve(account, SAMPLE_TONIGHT) as url:
        yield Api(url)


def test_pages_are_ten_long_by_default_and_cover_everything_once(api: Api) -> None:
    first = api.get(MEMBERS)
    assert len(first["members"]) == 10
    ids = []
    for offset in range(0, first["total_items"], 1000):
        page = api.get(MEMBERS, count=1001, offset=offset, fields="members.id")["members"]
        assert len(page) <= 1000
        ids += [member["id"] for member in page]
    assert len(set(ids)) == len(ids) == first["total_items"]


def test_archived_members_are_found_only_when_asked_for(api: Api, account: SampleAccount) -> None:
    archived = api.get(MEMBERS, status="archived", count=1000)["members"]
    ordinary = api.get(MEMBERS, count=1000, fields="members.status")["members"]
    assert len(archived) == PLANTED.archived_members
    assert {member["status"] for member in ordinary} == {"subscribed", "unsubscribed", "cleaned"}
    since = sorted(member["last_changed"] for member in archived)[-3]
    assert len(api.get(MEMBERS, status="archived", since_last_changed=since)["members"]) == 2
    assert len(api.get(MEMBERS, status="archived", before_last_changed=since)["members"]) == 10


def test_windows_exclude_since_and_include_before(api: Api) -> None:
    sent = api.get("/campaigns", count=100)["campaigns"]
    moments = sorted(one["send_time"] for one in sent if one["type"] == "regular" and one["send_time"])
    inside = api.get("/reports", since_send_time=moments[2], before_send_time=moments[4])["reports"]
    assert sorted(one["send_time"] for one in inside) == moments[3:5]


def test_missing_dates_are_empty_strings(api: Api) -> None:
    members = api.get(MEMBERS, count=1000, fields="members.timestamp_signup,members.timestamp_opt")["members"]
    assert "" in {member["timestamp_signup"] for member in members}
    assert "" not in {member["timestamp_opt"] for member in members}


def test_since_narrows_events_but_never_recipients(api: Api) -> None:
    path = f"/reports/{NEWSLETTER}/email-activity"
    everything = api.get(path, count=1000)["emails"]
    moments = sorted(event["timestamp"] for one in everything for event in one["activity"])
    later = api.get(path, count=1000, since=moments[-2])["emails"]
    assert len(later) == len(everything)
    assert [event["timestamp"] for one in later for event in one["activity"]] == moments[-1:]


def test_filter_bots_hides_proxies_and_known_scanners(api: Api) -> None:
    path = f"/reports/{NEWSLETTER}/open-details"
    all_opens, human_opens = (api.get(path, count=1000, filter_bots=flag) for flag in ("false", "true"))
    everyone, people = all_opens["members"], human_opens["members"]
    assert any(one["is_proxy_open"] for member in everyone for one in member["opens"])
    assert not any(one["is_proxy_open"] for member in people for one in member["opens"])
    assert human_opens["total_items"] < all_opens["total_items"]


def test_report_rates_follow_their_definition(api: Api) -> None:
    report = api.get(f"/reports/{NEWSLETTER}")
    delivered = report["emails_sent"] - sum(report["bounces"].values())
    assert report["clicks"]["click_rate"] == report["clicks"]["unique_subscriber_clicks"] / delivered
    assert report["clicks"]["unique_clicks"] >= report["clicks"]["unique_subscriber_clicks"]


def test_units_equal_the_report_but_for_deleted_members(api: Api, account: SampleAccount) -> None:
    surplus = {row["campaign_id"]: row["sent"] for row in truth(account, SAMPLE_TONIGHT)["report_surplus"]}
    for report in api.get("/reports", count=100)["reports"]:
        readable = api.get(f"/reports/{report['id']}/sent-to", count=1)["total_items"]
        assert report["emails_sent"] - readable == surplus.get(report["id"], 0)


def test_the_feed_knows_when_automations_sent(api: Api, account: SampleAccount) -> None:
    view = look(account, SAMPLE_TONIGHT)
    message = view.messages.filter(view.messages["workflow_id"] == WELCOME.workflow_id).row(0, named=True)
    member = account.people.member_id[message["subscriber"]]
    feed = api.get(f"{MEMBERS}/{member}/activity-feed", count=1000, activity_filters="sent")["activity"]
    assert {item["activity_type"] for item in feed} == {"sent"}
    assert message["campaign_id"] in {item["campaign_id"] for item in feed}


def test_the_queues_of_journeys_count_the_waiting_and_the_stalled(api: Api, account: SampleAccount) -> None:
    """Who waits as planned is counted at a delay, and who does not get on at the e-mail itself."""
    known = truth(account, SAMPLE_TONIGHT)
    mine = [row for row in known["waiting"] + known["stuck"] if row["workflow_id"] == CART.workflow_id]
    (cart,) = [one for one in api.get(JOURNEY_PATH)["journeys"] if one["journey_name"] == CART.name]
    steps = api.get(f"{JOURNEY_PATH}/{cart['id']}/steps")["steps"]
    queues = {kind: sum(one["stats"]["queue_count"] for one in steps if one["step_type"] == kind) for kind in KINDS}
    view = look(account, SAMPLE_TONIGHT)
    keys = SubscriberKeys(SAMPLE_SECRET)
    mailable = {
        keys.of_member_id(str(account.people.member_id[one]))
        for one in view.members.tolist()
        if view.status[one] == "subscribed"
    }
    assert sum(queues.values()) == sum(row["subscriber_key"] in mailable for row in mine)
    assert queues["action-send_email"] == PLANTED.stuck["queue stall"]


def test_the_old_automation_is_archived_and_tells_who_was_taken_out(api: Api) -> None:
    (old,) = api.get("/automations")["automations"]
    assert (old["id"], old["status"]) == (REMINDER.workflow_id, "archived")
    emails = api.get(f"/automations/{old['id']}/emails")["emails"]
    assert [one["emails_sent"] for one in emails] == [160, 160 - PLANTED.removed]
    assert api.get(f"/automations/{old['id']}/removed-subscribers")["total_items"] == PLANTED.removed


def test_unknown_values_of_a_filter_find_nothing_and_fail_nothing(api: Api) -> None:
    assert api.get("/campaigns", type="automation") == {"campaigns": [], "total_items": 0}


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/reports/0000000000", {}, 404),
        (f"/reports/{WELCOME.workflow_id}", {}, 404),
        ("/nothing", {}, 404),
        ("/lists", {"count": "ten"}, 400),
        ("/lists", {"fields": "lists.id", "exclude_fields": "lists.name"}, 400),
        (MEMBERS, {"since_last_changed": "2026-06-01T00:00:00.5Z"}, 500),
    ],
)
def test_problems_are_told_as_problem_documents(api: Api, path: str, params: dict, status: int) -> None:
    response = api.response(path, **params)
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json()) == {"type", "title", "status", "detail", "instance"}


def test_keys_are_checked(api: Api) -> None:
    assert requests.get(f"{api.url}/ping").status_code == 401
    assert requests.get(f"{api.url}/ping", auth=("anyone", "wrong")).status_code == 401
    assert requests.get(f"{api.url}/ping", headers={"authorization": "Bearer token"}).status_code == 200


def test_more_than_ten_connections_are_throttled(api: Api) -> None:
    address = urlsplit(api.url).netloc
    connections = [http.client.HTTPConnection(address) for _ in range(TOO_MANY)]
    try:
        for connection in connections:
            connection.connect()
        connections[-1].request("GET", "/3.0/ping", headers={"authorization": "Bearer token"})
        assert connections[-1].getresponse().status == 429
    finally:
        for connection in connections:
            connection.close()


def test_faults_come_as_often_as_asked(account: SampleAccount) -> None:
    with serve(account, SAMPLE_TONIGHT, fail_every=3) as url:
        api = Api(url)
        assert [api.response("/ping").status_code for _ in range(6)] == [200, 200, 429] * 2


def test_the_clock_hides_what_has_not_happened(api: Api, account: SampleAccount) -> None:
    day = SAMPLE_TONIGHT - timedelta(days=40)
    with serve(account, day) as url:
        earlier = Api(url)
        reports = earlier.get("/reports", count=100)["reports"]
        drafts = [one for one in earlier.get("/campaigns", count=100)["campaigns"] if one["status"] == "save"]
    assert all(date.fromisoformat(one["opens"]["last_open"][:10]) <= day for one in reports)
    assert all(one["send_time"] == "" for one in drafts)
    assert len(reports) < len(api.get("/reports", count=100)["reports"])


def test_journeys_tell_their_steps_and_who_waits_where(api: Api, account: SampleAccount) -> None:
    """Of the onboarding: started, in progress and completed are the world's, and all who wait are in a queue."""
    known = {one["journey_name"]: one for one in api.get(JOURNEY_PATH, count=100)["journeys"]}
    assert set(known) == {"Welcome series", "Abandoned cart", "Onboarding", "Win-back"}
    onboarding = known["Onboarding"]
    stays = look(account, SAMPLE_TONIGHT).account.journeys.filter(
        (pl.col("workflow_id") == "onboarding") & (pl.col("entered_us") < end_of_day_us(SAMPLE_TONIGHT))
    )
    assert onboarding["stats"]["started"] == stays.height
    steps = api.get(f"{JOURNEY_PATH}/{onboarding['id']}/steps")["steps"]
    kinds = [step["step_type"] for step in steps]
    assert kinds[:3] == ["trigger-signup", "trigger-api", "action-send_email"]
    assert kinds.count("condition-if_else") == 1
    for step in steps:
        assert api.get(f"{JOURNEY_PATH}/{onboarding['id']}/steps/{step['id']}") == step
    emails = [step["action_details"]["email"] for step in steps if "action_details" in step]
    sent = {one["id"]: api.get(f"/reports/{one['id']}")["emails_sent"] for one in emails}
    assert {one["id"]: one["emails_sent"] for one in emails} == sent


@pytest.mark.parametrize(
    ("refusal", "status"),
    [("forbidden", 403), ("missing", 404), ("other shape", 200), ("single details", 200), ("no offset", 200)],
)
def test_reads_of_journeys_can_be_refused(account: SampleAccount, refusal: Refusal, status: int) -> None:
    with serve(account, SAMPLE_TONIGHT, refusal=refusal) as url:
        asked = Api(url)
        listed = asked.response(JOURNEY_PATH, count=2, offset=2)
        assert listed.status_code == status
        if refusal in ("single details", "no offset"):
            ids = [one["id"] for one in listed.json()["journeys"]]
            assert ids == ([503, 504] if refusal == "single details" else [501, 502])
            steps = asked.get(f"{JOURNEY_PATH}/501/steps")["steps"]
            assert any("action_details" in step for step in steps) is (refusal == "no offset")
            single = asked.get(f"{JOURNEY_PATH}/501/steps/{steps[1]['id']}")
            assert single["action_details"]["email"]["id"] == WELCOME.steps[0].step_id
        elif status == 200:
            assert "journeys" not in listed.json()
