"""Writing to the stand-in server over HTTP, every request held against the contract, and seen by the next server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.common.errors import ContractBrokenError, PagingError
from pipeline.mailchimp import paging
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.account.apply import apply
from pipeline.optimizations.account.writing import NotConfirmedError
from pipeline.optimizations.changes import Change, Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import canonical
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.world import REMINDER
from pipeline.sample.server.process import serve
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.mailchimp.contract import CONTRACT, ContractAdapter
from tests.mailchimp.fake_account import AUDIENCE, member, member_id, sms_only, subscriber
from tests.mailchimp.loopback import send
from tests.mailchimp.loopback import serve as serve_answers
from tests.mailchimp.writable_account import AUTOMATION, EMAIL, WORKFLOW, Break, Choose, WritableAccount, reached
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.writing import approved, tables_tonight, winner

PEOPLE = range(500, 530)
PEOPLE_OF_FAKE = 7


@pytest.fixture(scope="module")
def sample(few_people: None) -> SampleAccount:
    return generate()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample") / "writes.ndjson"


def account_at(url: str, sample: SampleAccount) -> MailchimpAccount:
    adapter = ContractAdapter() if CONTRACT.exists() else None
    client = MailchimpClient(url, "sample-us1", settings=Settings(_env_file=None), adapter=adapter)
    keys, members = list(PEOPLE), [str(sample.people.member_id[one]) for one in PEOPLE]
    return MailchimpAccount(client, pl.DataFrame({"subscriber_key": keys, "member_id": members}))


@pytest.fixture(scope="module")
def account(sample: SampleAccount, log: Path) -> Iterator[MailchimpAccount]:
    with serve(sample, SAMPLE_TONIGHT, log=log) as url:
        yield account_at(url, sample)


def test_a_field_is_made_and_written_and_the_next_server_knows(
    account: MailchimpAccount, sample: SampleAccount, log: Path
) -> None:
    before = account.members("SENDHOUR")
    assert before["current"].null_count() == before.height > 10
    account.ensure_field("SENDHOUR")
    account.ensure_field("SENDHOUR")
    changes = [Change(str(key), "SENDHOUR", "", str(key % 24)) for key in before["subscriber_key"]]
    assert set(account.write_members(changes)) == {Outcome.WRITTEN}
    wanted = {key: str(key % 24) for key in before["subscriber_key"]}
    assert dict(account.members("SENDHOUR").iter_rows()) == wanted
    with serve(sample, SAMPLE_TONIGHT, log=log) as url:
        assert dict(account_at(url, sample).members("SENDHOUR").iter_rows()) == wanted


def test_an_email_is_started_paused_and_delayed(account: MailchimpAccount) -> None:
    workflow, email = REMINDER.workflow_id, REMINDER.steps[0].step_id
    for before, after in (("paused", "sending"), ("sending", "paused"), ("paused", "sending")):
        assert account.write_email(workflow, Change(email, "status", before, after)) == Outcome.WRITTEN
        assert account.email(workflow, email)["status"] == after
    delay = {"action": "ecomm_abandoned_cart", "amount": 6, "direction": "after", "type": "hour"}
    stands = {name: account.email(workflow, email)["delay"].get(name) for name in delay}
    change = Change(email, "delay", canonical(stands), canonical(delay))
    assert account.write_email(workflow, change) == Outcome.WRITTEN
    assert account.email(workflow, email)["delay"]["amount"] == 6
    # It is another one by now.
    assert account.write_email(workflow, change) == Outcome.TAKEN
    assert account.write_email(workflow, Change(email, "status", "paused", "sending")) == Outcome.TAKEN


def test_somebody_who_is_gone_is_refused_alone(account: MailchimpAccount) -> None:
    held = dict(account.members("SENDHOUR").iter_rows())
    key = next(iter(held))
    gone = Change("999999", "SENDHOUR", "", "7")
    outcomes = account.write_members([Change(str(key), "SENDHOUR", held[key] or "", "8"), gone])
    assert outcomes == [Outcome.WRITTEN, Outcome.GONE]


@pytest.fixture
def made_up() -> Iterator[tuple[WritableAccount, MailchimpAccount]]:
    """A small account whose answers can be broken, its pages three members long, and how driptune reaches it."""
    made = WritableAccount(PEOPLE_OF_FAKE)
    with pytest.MonkeyPatch.context() as patch, serve_answers(made.answer) as url:
        patch.setattr(paging, "PAGE_SIZE", 3)
        yield made, reached(url, PEOPLE_OF_FAKE)


def test_a_tag_takes_the_place_of_the_former_one_and_leaves_the_others(
    made_up: tuple[WritableAccount, MailchimpAccount],
) -> None:
    made, account = made_up
    made.tag(0, "route: nudge", "beta")
    made.tag(1, "route: nudge", "route: power")
    held = dict(account.members("tag route").iter_rows())
    assert [held[subscriber(number)] for number in range(3)] == ["nudge", "nudge | power", None]
    account.ensure_field("tag route")
    keys = [str(subscriber(number)) for number in range(3)]
    changes = [Change(key, "tag route", held[int(key)] or "", "power") for key in keys]
    assert account.write_members(changes) == [Outcome.WRITTEN] * 3
    assert [made.tags(number) for number in range(3)] == [{"beta", "route: power"}, {"route: power"}, {"route: power"}]
    # What only carries a value starts no flow.
    assert made.synchronised == {True}
    back = [Change(key, "tag route", "power", held[int(key)] or "") for key in keys]
    assert account.write_members(back) == [Outcome.WRITTEN] * 3
    assert [made.tags(number) for number in range(2)] == [{"beta", "route: nudge"}, {"route: nudge", "route: power"}]
    assert made.tags(2) == set()


def test_a_tag_that_somebody_else_has_changed_is_left(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    account.members("tag route")
    made.tag(0, "route: mine")
    assert account.write_members([Change(str(subscriber(0)), "tag route", "", "power")]) == [Outcome.TAKEN]
    assert made.tags(0) == {"route: mine"}


def test_a_value_that_is_too_long_is_refused_alone(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    account.members("ARM")
    long, short = "ä" * 128, "B"
    changes = [Change(str(subscriber(number)), "ARM", "", value) for number, value in enumerate((long, short))]
    outcomes = account.write_members(changes)
    assert outcomes == ["refused: the value has 256 bytes, and a merge field takes 255", Outcome.WRITTEN]
    assert made.values("ARM") == {1: short}


def test_where_no_further_field_can_be_made_each_member_is_refused_with_the_reason(
    made_up: tuple[WritableAccount, MailchimpAccount],
) -> None:
    made, account = made_up

    def full(method: str, path: str, query: dict[str, str]) -> Break | None:
        is_field = method == "POST" and path.endswith("/merge-fields")
        return (lambda handler, page: send(handler, 400, b'{"title": "Too many fields"}')) if is_field else None

    made.choose, made.is_deaf = full, True
    account.members("ARM")
    account.ensure_field("ARM")
    [outcome] = account.write_members([Change(str(subscriber(0)), "ARM", "", "B")])
    assert outcome.startswith("refused: no merge field ARM can be made")


def test_a_field_whose_first_answer_was_lost_is_there_although_the_second_request_is_refused(
    made_up: tuple[WritableAccount, MailchimpAccount],
) -> None:
    made, account = made_up
    lost = iter([True])

    def lose(method: str, path: str, query: dict[str, str]) -> Break | None:
        is_lost = method == "POST" and next(lost, False)
        return (lambda handler, page: send(handler, 503, b"")) if is_lost else None

    made.choose = lose
    account.members("ARM")
    account.ensure_field("ARM")
    assert [path.endswith("/merge-fields") for path in made.writes] == [True, True]
    assert account.write_members([Change(str(subscriber(0)), "ARM", "", "B")]) == [Outcome.WRITTEN]


def test_nobody_is_written_to_who_cannot_be_mailed(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    states = ("subscribed", "transactional", "pending", "unsubscribed", "cleaned", "archived")
    for one, status in zip(made.members, states, strict=False):
        one["status"] = status
    assert set(account.members("ARM")["subscriber_key"]) == {subscriber(0), subscriber(1), subscriber(6)}


@pytest.mark.parametrize("untold", [{"id": None}, {"status": None}, {"id": "", "status": ""}])
def test_who_is_known_by_a_phone_number_alone_keeps_nobody_else_from_their_value(
    made_up: tuple[WritableAccount, MailchimpAccount], untold: dict[str, Any]
) -> None:
    made, account = made_up
    made.members.insert(1, sms_only("phone") | untold)
    assert account.members("ARM").height == PEOPLE_OF_FAKE


def test_who_is_in_several_audiences_is_written_to_in_that_of_the_flow(
    made_up: tuple[WritableAccount, MailchimpAccount],
) -> None:
    """The flow reads the field there, and the ids of audiences are in no order that says so."""
    made, account = made_up
    made.add_audience("another", made.members[0] | {"merge_fields": {"ARM": "A"}}, member(99))
    assert account.members("ARM", WORKFLOW)["current"].null_count() == PEOPLE_OF_FAKE
    assert account.write_members([Change(str(subscriber(0)), "ARM", "", "B")]) == [Outcome.WRITTEN]
    assert made.values("ARM") == {0: "B"}


def test_only_who_still_holds_what_was_read_is_written(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    account.members("ARM")
    made.set(1, "ARM", "mine")
    changes = [Change(str(subscriber(number)), "ARM", "", "B") for number in range(3)]
    assert account.write_members(changes) == [Outcome.WRITTEN, Outcome.TAKEN, Outcome.WRITTEN]
    assert made.values("ARM") == {0: "B", 1: "mine", 2: "B"}


def test_who_has_left_since_they_were_read_is_not_written(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    account.members("ARM")
    made.members[0]["status"] = "unsubscribed"
    del made.members[1]
    changes = [Change(str(subscriber(number)), "ARM", "", "B") for number in range(2)]
    assert account.write_members(changes) == [Outcome.GONE, Outcome.GONE]
    assert made.writes == []


def changed(change: Callable[[dict[str, Any]], Any]) -> Break:
    return lambda handler, page: send(handler, 200, json.dumps(change(page) or page).encode())


def of_page(offset: int, fault: Break) -> Choose:
    """Breaks the page of members that starts there."""
    return lambda method, path, query: (
        fault if path.endswith("/members") and query.get("offset") == str(offset) else None
    )


SHORT_OF_MEMBERS = {
    "an empty first page": of_page(0, changed(lambda page: page.update(members=[], total_items=0))),
    "an empty first page that announces more": of_page(0, changed(lambda page: page.update(members=[]))),
    "a short page": of_page(3, changed(lambda page: page.update(members=page["members"][:1], total_items=4))),
    "a null item": of_page(3, changed(lambda page: page["members"].__setitem__(0, None))),
    "items that are texts": of_page(0, changed(lambda page: page.update(members=["a", "b", "c"]))),
    "ids that are null": of_page(0, changed(lambda page: [one.update(id=None) for one in page["members"]] and None)),
    "ids of others": of_page(0, changed(lambda page: [one.update(id="0" * 32) for one in page["members"]] and None)),
    "a status that is null": of_page(
        0, changed(lambda page: [one.update(status=None) for one in page["members"]] and None)
    ),
    "merge fields that are a text": of_page(
        0, changed(lambda page: [one.update(merge_fields="B") for one in page["members"]] and None)
    ),
}


@pytest.mark.parametrize("fault", SHORT_OF_MEMBERS.values(), ids=SHORT_OF_MEMBERS.keys())
def test_a_listing_that_lacks_members_is_a_typed_error(
    made_up: tuple[WritableAccount, MailchimpAccount], fault: Choose
) -> None:
    made, account = made_up
    made.choose = fault
    with pytest.raises((PagingError, ContractBrokenError)) as raised:
        account.members("ARM")
    assert str(raised.value).startswith("/lists/{list_id}/members")


@pytest.mark.parametrize("nothing", [[], "", None, {}])
def test_merge_fields_without_content_come_in_every_shape(
    made_up: tuple[WritableAccount, MailchimpAccount], nothing: Any
) -> None:
    made, account = made_up
    made.members[0]["merge_fields"] = nothing
    assert account.members("ARM")["current"].null_count() == PEOPLE_OF_FAKE


def test_numbers_are_read_as_the_texts_that_were_written(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    for number, value in enumerate((9, 9.0, 9.5, "09")):
        made.members[number]["merge_fields"] = {"ARM": value}
    assert account.members("ARM").sort("current", nulls_last=True)["current"].drop_nulls().to_list() == [
        "09", "9", "9", "9.5",
    ]  # fmt: skip


def test_another_member_in_the_answer_stops_the_write(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    account.members("ARM")
    made.choose = lambda method, path, query: changed(lambda page: page.update(id=member_id(9)))
    with pytest.raises(ContractBrokenError, match="not the member that was asked for"):
        account.write_members([Change(str(subscriber(0)), "ARM", "", "B")])
    assert made.writes == []


def unheard(wanted: str) -> Choose:
    """Answers requests of a method with 204, as if nothing had been asked."""
    return lambda method, path, query: (lambda handler, page: send(handler, 204, b"")) if method == wanted else None


@pytest.mark.parametrize("is_deaf", [True, False])
def test_an_answer_without_a_body_is_a_success_only_if_the_value_stands(
    made_up: tuple[WritableAccount, MailchimpAccount], tmp_path: Path, is_deaf: bool
) -> None:
    made, account = made_up
    made.found[f"/lists/{AUDIENCE}/merge-fields"] = ("merge_fields", [{"tag": "ARM"}])
    made.choose, made.is_deaf = unheard("PATCH"), is_deaf
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    approved(ledger, winner())
    terms = {"approval_policy": POLICY, "standing": [winner()], "first_day": NOW.date(), "now": NOW}
    if is_deaf:
        with pytest.raises(NotConfirmedError, match="accepted 7 writes that are not there when read back"):
            apply(ledger, winner().optimization_id, account, tables_tonight(), **terms)
        assert ledger.record(winner().optimization_id).status is Status.APPLYING
    else:
        assert apply(ledger, winner().optimization_id, account, tables_tonight(), **terms).details["writes"] == {
            "written": 7
        }
    ledger.close()


def test_a_merge_field_that_was_not_made_is_told(made_up: tuple[WritableAccount, MailchimpAccount]) -> None:
    made, account = made_up
    made.choose = lambda method, path, query: (
        (lambda handler, page: send(handler, 204, b"")) if method == "POST" else None
    )
    with pytest.raises(ContractBrokenError, match="did not make the merge field ARM"):
        account.ensure_field("ARM")


@pytest.mark.parametrize("place", ["title", "detail", "instance"])
def test_what_a_refusal_echoes_is_scrubbed_before_it_is_kept(
    made_up: tuple[WritableAccount, MailchimpAccount], place: str
) -> None:
    made, account = made_up
    account.members("ARM")
    echo = f"jane.doe@example.com {member_id(0)}"
    problem = {"type": "about:blank", "title": "Bad", "status": 400, "detail": "", "instance": "", place: echo}

    def refuse(method: str, path: str, query: dict[str, str]) -> Break | None:
        return (lambda handler, page: send(handler, 400, json.dumps(problem).encode())) if method == "PATCH" else None

    made.choose = refuse
    [outcome] = account.write_members([Change(str(subscriber(0)), "ARM", "", "B")])
    assert outcome.startswith("refused: Mailchimp answered 400")
    assert "jane" not in outcome
    assert member_id(0) not in outcome


@pytest.mark.parametrize("changes", [{"id": "other"}, {"status": None}, {"delay": "1 day"}])
def test_an_email_of_another_shape_is_a_typed_error(
    made_up: tuple[WritableAccount, MailchimpAccount], changes: dict[str, Any]
) -> None:
    made, account = made_up
    made.found[AUTOMATION] |= changes  # type: ignore[operator]
    with pytest.raises(ContractBrokenError, match="emails"):
        account.email(WORKFLOW, EMAIL)
