"""One person, whatever their address; and who is no longer there. Over HTTP, night after night."""

from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.events.reading import ingest_events
from pipeline.lake.keys import member_id as member_id_of
from pipeline.lake.store import Lake
from pipeline.mailchimp import pulls as pull
from pipeline.schemas import lake as tables
from tests.mailchimp.fake_account import (
    AUDIENCE,
    KEYS,
    NIGHT,
    FakeAccount,
    Night,
    automation_email,
    click,
    member,
    member_id,
    order,
    rows,
    served,
    sms_only,
    subscriber,
)

TOMORROW = NIGHT + timedelta(days=1)
LATER = "2026-06-30T08:00:00+00:00"


@pytest.fixture
def account() -> FakeAccount:
    made = FakeAccount()
    made.members = [member(1, contact_id="ada"), member(2, contact_id="ben")]
    return made


def states(night: Night) -> dict[int, str]:
    return {row["subscriber_key"]: row["status"] for row in rows(night, tables.Members)}


def addresses(lake: Lake) -> dict[int, str]:
    return dict(lake.addresses().select("subscriber_key", "email_address").iter_rows())


def moves(account: FakeAccount, place: int, number: int, contact_id: str, time: str = LATER) -> None:
    """A member's address becomes that of another number."""
    account.members[place] = member(number, contact_id=contact_id, last_changed=time)


def test_whoever_changes_their_address_stays_one_person(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        moves(account, 0, 11, "ada")
        night.run(TOMORROW)
    assert states(night) == {subscriber(1): "subscribed", subscriber(2): "subscribed"}
    assert addresses(night.lake)[subscriber(1)] == "person-11@example.com"
    (held,) = [row for row in night.lake.addresses().to_dicts() if row["subscriber_key"] == subscriber(1)]
    assert held["member_id"] == member_id(11)


def test_what_names_the_new_address_is_of_the_same_person_and_so_is_what_names_the_old_one(account, tmp_path):
    account.add_automation("flow", automation_email("mail1", 1))
    with served(account, tmp_path) as night:
        night.run()
        moves(account, 0, 11, "ada")
        account.add_campaign("news", [11, 2], "2026-06-30T09:00:00+00:00")
        account.add_activity("news", 11, click("2026-06-30T10:00:00+00:00"))
        account.add_campaign("older", [1, 2], "2026-06-30T09:00:00+00:00")
        address = {"email_address": "person-11@example.com"}
        account.add_store("shop", order("o1", "2026-06-30T11:00:00+00:00", customer=address))
        queue = [{"id": member_id(11), "next_send": "2026-07-02T00:00:00+00:00"}]
        account.found["/automations/flow/emails/mail1/queue"] = {"queue": queue, "total_items": 1}
        night.run(TOMORROW)
    sent = {(row["campaign_id"], row["subscriber_key"]) for row in rows(night, tables.Sends)}
    assert sent == {(campaign, subscriber(number)) for campaign in ("news", "older") for number in (1, 2)}
    for model in (tables.EmailActivity, tables.Orders, tables.AutomationQueue):
        assert {row["subscriber_key"] for row in rows(night, model)} == {subscriber(1)}


def test_somebody_new_on_a_left_address_is_another_person(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        moves(account, 0, 11, "ada")
        account.members.append(member(1, contact_id="eve", last_changed=LATER))
        night.run(TOMORROW)
        account.add_campaign("news", [1, 11], "2026-07-01T09:00:00+00:00")
        night.run(TOMORROW + timedelta(days=1))
    found = states(night)
    (eve,) = found.keys() - {subscriber(1), subscriber(2)}
    assert addresses(night.lake)[eve] == "person-1@example.com"
    assert {row["subscriber_key"] for row in rows(night, tables.Sends)} == {subscriber(1), eve}


def test_two_who_swap_their_addresses_stay_themselves(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        moves(account, 0, 2, "ada")
        moves(account, 1, 1, "ben")
        night.run(TOMORROW)
        account.add_campaign("news", [1], "2026-07-01T09:00:00+00:00")
        night.run(TOMORROW + timedelta(days=1))
    held = addresses(night.lake)
    assert held == {subscriber(1): "person-2@example.com", subscriber(2): "person-1@example.com"}
    assert [row["subscriber_key"] for row in rows(night, tables.Sends)] == [subscriber(2)]


def test_an_address_may_change_again_and_back(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        for days, number in enumerate((11, 12, 1), start=1):
            as_of = NIGHT + timedelta(days=days)
            moves(account, 0, number, "ada", f"{as_of}T08:00:00+00:00")
            night.run(as_of)
            assert states(night) == {subscriber(1): "subscribed", subscriber(2): "subscribed"}
            assert addresses(night.lake)[subscriber(1)] == f"person-{number}@example.com"
        # An address that was left meanwhile is free for somebody else.
        account.members.append(member(11, contact_id="eve", last_changed=f"{as_of}T09:00:00+00:00"))
        night.run(as_of + timedelta(days=1))
    assert states(night).keys() == {subscriber(1), subscriber(2), subscriber(11)}


def test_somebody_who_comes_back_with_their_old_address_is_the_same_person(account, tmp_path):
    """Deleted and subscribed anew: Mailchimp makes a new contact of the same address."""
    with served(account, tmp_path) as night:
        night.run()
        del account.members[0]
        night.run(TOMORROW)
        account.members.append(member(1, contact_id="ada again", last_changed="2026-07-01T08:00:00+00:00"))
        night.run(TOMORROW + timedelta(days=1))
    assert states(night).keys() == {subscriber(1), subscriber(2)}


def test_without_contact_ids_people_are_their_addresses(tmp_path):
    account = FakeAccount()
    with served(account, tmp_path) as night:
        night.run()
        account.members = [member(11, last_changed=LATER)]
        night.run(TOMORROW)
    assert states(night).keys() == {subscriber(1), subscriber(11)}


def test_a_forgotten_person_goes_with_every_address_and_stays_forgotten(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        moves(account, 0, 11, "ada")
        account.members.append(member(1, contact_id="eve", last_changed=LATER))
        night.run(TOMORROW)
        eve = next(iter(states(night).keys() - {subscriber(1), subscriber(2)}))
        assert night.lake.forget(KEYS.of_address("person-11@example.com")) > 0
        assert states(night).keys() == {subscriber(2), eve}
        moves(account, 0, 11, "ada", "2026-07-01T08:00:00+00:00")
        night.run(TOMORROW + timedelta(days=1))
        assert states(night).keys() == {subscriber(2), eve}
        assert set(addresses(night.lake).values()) == {"person-1@example.com", "person-2@example.com"}


def test_a_member_deleted_for_good_is_found_by_the_sweep_and_their_address_dropped(account, tmp_path):
    account.members += [member(number, contact_id=f"c{number}") for number in range(3, 9)]
    with served(account, tmp_path, member_sweep_nights=3) as night:
        night.run()
        del account.members[0]
        for days in (1, 2):
            night.run(NIGHT + timedelta(days=days))
            assert states(night)[subscriber(1)] == "subscribed"
        night.run(NIGHT + timedelta(days=3))
        found = states(night)
        assert found.pop(subscriber(1)) == "deleted"
        assert set(found.values()) == {"subscribed"}
        assert "person-1@example.com" not in addresses(night.lake).values()
        assert len(addresses(night.lake)) == 7
        kept = [row for row in rows(night, tables.Members) if row["subscriber_key"] == subscriber(1)]
        assert kept[0]["signup_us"] is not None


def test_the_sweep_spares_who_is_archived_who_is_new_and_who_moved_after_the_night(account, tmp_path):
    with served(account, tmp_path, member_sweep_nights=1) as night:
        night.run()
        account.archived = [account.members.pop(1)]
        account.members.append(member(3, contact_id="new", last_changed="2026-07-05T08:00:00+00:00"))
        moves(account, 0, 11, "ada", "2026-07-05T08:00:00+00:00")
        night.run(TOMORROW)
        assert states(night) == {subscriber(1): "subscribed", subscriber(2): "subscribed"}
        assert len(addresses(night.lake)) == 2


def test_a_member_of_two_audiences_keeps_the_address_until_gone_from_both(account, tmp_path):
    account.add_audience("second", member(1, contact_id="ada too"))
    with served(account, tmp_path, member_sweep_nights=1) as night:
        night.run()
        del account.members[0]
        night.run(TOMORROW)
        by_audience = {
            (row["audience_id"], row["subscriber_key"]): row["status"] for row in rows(night, tables.Members)
        }
        assert by_audience[AUDIENCE, subscriber(1)] == "deleted"
        assert by_audience["second", subscriber(1)] == "subscribed"
        assert "person-1@example.com" in addresses(night.lake).values()
        account.lose("second")
        night.run(TOMORROW + timedelta(days=1))
        assert "person-1@example.com" not in addresses(night.lake).values()
        assert set(addresses(night.lake).values()) == {"person-2@example.com"}


def test_a_row_that_cannot_be_told_apart_makes_nobody_deleted(account, tmp_path):
    with served(account, tmp_path, member_sweep_nights=1) as night:
        night.run()
        account.members[0] = {**account.members[0], "id": "?", "contact_id": ""}
        night.run(TOMORROW)
        assert states(night) == {subscriber(1): "subscribed", subscriber(2): "subscribed"}
        del account.members[0]
        night.run(TOMORROW + timedelta(days=1))
        assert states(night)[subscriber(1)] == "deleted"


def test_the_sweep_finds_who_an_earlier_window_lost(account, tmp_path):
    """As many are deleted as were lost, so that their number alone tells nothing."""
    account.members += [member(3, contact_id="cid"), member(4, contact_id="dan")]
    with served(account, tmp_path, member_sweep_nights=1) as night:
        night.run()
        lost = night.lake.latest(tables.Members).filter(pl.col("subscriber_key") == subscriber(4)).collect()
        night.lake.discard(tables.Members, lost)
        del account.members[0]
        night.run(TOMORROW)
    assert states(night)[subscriber(4)] == "subscribed"
    assert states(night)[subscriber(1)] == "deleted"


def test_members_known_by_a_phone_number_alone_are_kept_and_have_no_address(account, tmp_path):
    account.members += [sms_only("phone one"), sms_only("phone two", status="")]
    with served(account, tmp_path) as night:
        night.run()
        night.run(TOMORROW)
    found = states(night)
    assert sorted(found.values()) == ["no address", "no address", "subscribed", "subscribed"]
    assert len(addresses(night.lake)) == 2
    assert rows(night, tables.Quarantine) == []


def test_a_phone_number_that_gets_an_address_is_still_one_person(account, tmp_path):
    account.members.append(sms_only("phone"))
    with served(account, tmp_path) as night:
        night.run()
        (before,) = states(night).keys() - {subscriber(1), subscriber(2)}
        account.members[2] = member(5, contact_id="phone", last_changed=LATER)
        night.run(TOMORROW)
        account.add_campaign("news", [5], "2026-07-01T09:00:00+00:00")
        night.run(TOMORROW + timedelta(days=1))
    assert states(night)[before] == "subscribed"
    assert addresses(night.lake)[before] == "person-5@example.com"
    assert [row["subscriber_key"] for row in rows(night, tables.Sends)] == [before]


def test_nothing_that_stands_for_a_contact_is_in_the_lake(account, tmp_path):
    moves(account, 0, 1, "ada-the-contact", "2026-06-01T08:00:00+00:00")
    with served(account, tmp_path) as night:
        night.run()
        moves(account, 0, 11, "ada-the-contact")
        night.run(TOMORROW)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.parent.name != "addresses":
            is_table = file.suffix == ".parquet"
            content = str(pl.read_parquet(file).to_dicts()) if is_table else file.read_text()
            assert "ada-the-contact" not in content
            assert member_id_of("person-11@example.com") not in content


def test_a_night_read_once_more_changes_nothing(account, tmp_path):
    with served(account, tmp_path, member_sweep_nights=1) as night:
        night.run()
        moves(account, 0, 11, "ada")
        del account.members[1]
        night.run(TOMORROW)
        before = {file: file.read_bytes() for file in night.lake.root.rglob("*.parquet")}
        (night.lake.root / "state" / "mailchimp.json").unlink()
        night.run(TOMORROW)
        assert {file: file.read_bytes() for file in night.lake.root.rglob("*.parquet")} == before


def test_an_unsent_window_of_the_past_marks_nobody(account, tmp_path):
    with served(account, tmp_path, member_sweep_nights=1) as night:
        night.run(TOMORROW)
        account.members.clear()
        assert night.pull(pull.pull_members, date(2026, 6, 20)).calls == 0
    assert set(states(night).values()) == {"subscribed"}


def test_events_that_name_either_address_are_of_one_person(account, tmp_path):
    stream = tmp_path / "stream"
    stream.mkdir()
    header = "event_id,occurred_at,event_type,subscriber\n"
    with served(account, tmp_path / "data") as night:
        night.run()
        moves(account, 0, 11, "ada")
        night.run(TOMORROW)
        lines = [f"e{number},{LATER},visit,person-{number}@example.com\n" for number in (1, 11, 2)]
        (stream / "events.csv").write_text(header + "".join(lines))
        ingest_events(str(stream), night.lake, KEYS, night.settings, TOMORROW)
    found = {row["event_id"]: row["subscriber_key"] for row in rows(night, tables.Events)}
    assert found == {"e1": subscriber(1), "e11": subscriber(1), "e2": subscriber(2)}
