from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.common.time import EPOCH, day_number, start_of_day_us
from pipeline.lake.keys import SubscriberKeys, member_id
from pipeline.lake.store import Lake, QuarantinedRow
from pipeline.schemas import lake as tables

FIRST = date(2026, 3, 1)
SECOND = FIRST + timedelta(days=1)
NOON = 43_200_000_000
DAY = 86_400_000_000


def microseconds(day: date, after_midnight: int = NOON) -> int:
    return start_of_day_us(day) + after_midnight


def sends(*rows: tuple[str, int, date, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "campaign_id": campaign,
                "subscriber_key": subscriber,
                "sent_us": microseconds(day),
                "sent_at_source": "campaign",
                "status": status,
            }
            for campaign, subscriber, day, status in rows
        ]
    )


def test_rows_land_in_the_partition_of_their_own_day(tmp_path):
    lake = Lake(tmp_path)
    assert lake.append(tables.Sends, sends(("a", 1, FIRST, "sent"), ("a", 2, SECOND, "sent")), as_of=SECOND) == 2
    assert [file.parent.name for file in lake.files(tables.Sends)] == [f"day={FIRST}", f"day={SECOND}"]
    assert lake.scan(tables.Sends).collect()["as_of_day"].to_list() == [day_number(SECOND)] * 2
    assert {file.stat().st_mode & 0o777 for file in lake.files(tables.Sends)} == {0o600}


def test_a_second_append_of_the_same_rows_writes_nothing(tmp_path):
    lake = Lake(tmp_path)
    frame = sends(("a", 1, FIRST, "sent"), ("a", 1, FIRST, "sent"), ("b", 1, FIRST, "hard"))
    assert lake.append(tables.Sends, frame, as_of=FIRST) == 2
    before = lake.files(tables.Sends)
    assert lake.append(tables.Sends, frame.reverse(), as_of=FIRST) == 0
    assert lake.append(tables.Sends, frame, as_of=SECOND) == 0
    assert lake.files(tables.Sends) == before


def test_the_later_night_wins_and_a_night_run_again_does_not_undo_it(tmp_path):
    lake = Lake(tmp_path)
    sent, bounced = sends(("a", 1, FIRST, "sent")), sends(("a", 1, FIRST, "soft"))
    nights = [(sent, FIRST), (bounced, SECOND), (sent, SECOND + timedelta(days=1))]
    assert [lake.append(tables.Sends, frame, as_of) for frame, as_of in nights] == [1, 1, 1]
    assert [lake.append(tables.Sends, frame, as_of) for frame, as_of in nights] == [0, 0, 0]
    assert lake.scan(tables.Sends).collect().height == 3
    assert lake.latest(tables.Sends).collect()["status"].to_list() == ["sent"]


def test_nulls_are_equal_to_nulls(tmp_path):
    lake = Lake(tmp_path)
    frame = pl.DataFrame({"audience_id": ["a"], "name": ["News"], "created_us": pl.Series([None], dtype=pl.Int64)})
    assert [lake.append(tables.Audiences, frame, FIRST) for _ in range(2)] == [1, 0]


def test_a_row_that_moves_to_another_day_replaces_its_earlier_version(tmp_path):
    lake = Lake(tmp_path)
    lake.append(tables.Sends, sends(("a", 1, FIRST, "sent")), FIRST)
    assert lake.append(tables.Sends, sends(("a", 1, SECOND, "sent")), SECOND) == 1
    assert lake.latest(tables.Sends).collect()["sent_us"].to_list() == [microseconds(SECOND)]


def test_an_instant_before_1970_falls_on_its_own_day(tmp_path):
    lake = Lake(tmp_path)
    day = EPOCH - timedelta(days=1)
    lake.append(tables.Sends, sends(("a", 1, day, "sent")), FIRST)
    assert [file.parent.name for file in lake.files(tables.Sends)] == ["day=1969-12-31"]


def test_the_greatest_by_content_wins_whatever_the_order(tmp_path):
    rows = sends(("a", 1, FIRST, "hard"), ("a", 1, FIRST, "sent"))
    for name, frame in (("forward", rows), ("reversed", rows.reverse())):
        lake = Lake(tmp_path / name)
        lake.append(tables.Sends, frame, FIRST)
        assert lake.latest(tables.Sends).collect()["status"].to_list() == ["sent"]


def test_an_empty_table_has_its_columns(tmp_path):
    assert Lake(tmp_path).scan(tables.Sends).collect().columns == [*sends(("a", 1, FIRST, "sent")).columns, "as_of_day"]
    assert Lake(tmp_path).addresses().is_empty()


def test_a_crash_before_the_rename_leaves_no_file_of_the_table(tmp_path, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.common.files.os.replace", crash)
    lake = Lake(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        lake.append(tables.Sends, sends(("a", 1, FIRST, "sent")), FIRST)
    assert lake.files(tables.Sends) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_discarded_rows_leave_no_version_and_no_empty_file(tmp_path):
    lake = Lake(tmp_path)
    lake.append(tables.Sends, sends(("a", 1, FIRST, "sent"), ("a", 2, FIRST, "sent"), ("a", 3, SECOND, "sent")), SECOND)
    lake.append(tables.Sends, sends(("a", 1, FIRST, "soft")), SECOND + timedelta(days=1))
    assert lake.discard(tables.Sends, sends(("a", 1, FIRST, ""), ("a", 3, SECOND, ""))) == 3
    assert lake.scan(tables.Sends).collect()["subscriber_key"].to_list() == [2]
    assert len(lake.files(tables.Sends)) == 1


def test_quarantine_counts_each_row_once(tmp_path):
    lake = Lake(tmp_path)
    rows = [QuarantinedRow("lake.events", "a.csv row 2", "occurred_at", "is missing")]
    assert [lake.quarantine(rows, FIRST), lake.quarantine(rows, SECOND), lake.quarantine([], SECOND)] == [1, 0, 0]


def addresses(*emails: str, keys: SubscriberKeys) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subscriber_key": [keys.of_address(email) for email in emails],
            "member_id": [member_id(email) for email in emails],
            "email_address": list(emails),
        }
    )


def test_addresses_are_private_and_upserted(tmp_path):
    lake, keys = Lake(tmp_path), SubscriberKeys(b"secret")
    first = addresses("ann@example.com", "bob@example.com", keys=keys)
    assert lake.remember_addresses(first) == 2
    assert lake.remember_addresses(first) == 0
    assert lake.remember_addresses(first.head(1).with_columns(external_id=pl.lit("7"))) == 1
    assert lake.addresses().height == 2
    assert lake.addresses()["external_id"].drop_nulls().to_list() == ["7"]
    assert [file.stat().st_mode & 0o777 for file in (tmp_path / "addresses").iterdir()] == [0o600]


def test_forgetting_leaves_no_row_no_byte_and_no_remains_of_a_crash(tmp_path):
    lake, keys = Lake(tmp_path), SubscriberKeys(b"secret")
    people = addresses("ann@example.com", "bob@example.com", keys=keys)
    ann, bob = people["subscriber_key"]
    lake.remember_addresses(people)
    lake.append(tables.Sends, sends(("a", ann, FIRST, "sent"), ("a", bob, FIRST, "sent")), FIRST)
    lake.append(tables.Sends, sends(("b", ann, SECOND, "sent")), SECOND)
    (tmp_path / "sends" / ".half.parquet.tmp").write_bytes(b"ann@example.com")

    assert lake.forget(ann) == 3

    assert lake.scan(tables.Sends).collect()["subscriber_key"].to_list() == [bob]
    assert lake.addresses()["subscriber_key"].to_list() == [bob]
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert lake.inventory.damage(every_byte=True) == []
    for trace in (b"ann@example.com", member_id("ann@example.com").encode(), ann.to_bytes(8, "little")):
        assert trace not in everything
    assert lake.forget(ann) == 0


def test_who_was_forgotten_does_not_come_back(tmp_path):
    lake, keys = Lake(tmp_path), SubscriberKeys(b"secret")
    people = addresses("ann@example.com", "bob@example.com", keys=keys)
    ann, bob = people["subscriber_key"]
    lake.forget(ann)
    assert lake.append(tables.Sends, sends(("a", ann, FIRST, "sent"), ("a", bob, FIRST, "sent")), FIRST) == 1
    assert lake.remember_addresses(people) == 1
    assert lake.addresses()["subscriber_key"].to_list() == [bob]
    assert str(ann) not in (tmp_path / "state" / "forgotten.json").read_text()


def test_keys_are_stable_positive_and_those_of_the_member_id():
    keys = SubscriberKeys(b"secret")
    series = pl.Series(["Ann@Example.com ", "ann@example.com", None])
    found = keys.of_address(series)
    assert found.to_list() == [keys.of_member_id(member_id("ann@example.com"))] * 2 + [None]
    assert keys.of_member_id(member_id("ann@example.com").upper()) == found[0]
    assert 0 <= found[0] < 2**63
    assert SubscriberKeys(b"other").of_address("ann@example.com") != found[0]
    assert keys.of_ip("ann@example.com") != found[0]
