"""What is deleted, cut, emptied, swapped or changed is found; what a crash leaves is not taken for damage."""

import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.common.time import start_of_day_us
from pipeline.lake.inventory import DamagedInventoryError
from pipeline.lake.keys import SubscriberKeys, member_id
from pipeline.lake.store import Lake
from pipeline.schemas import lake as tables

FIRST = date(2026, 3, 1)
NIGHTS = 4
KEYS = SubscriberKeys(b"secret")
ADDRESSES = ("ann@example.com", "bob@example.com")


def sends(*people: int, day: date = FIRST) -> pl.DataFrame:
    rows = [{"campaign_id": "a", "subscriber_key": one, "sent_us": start_of_day_us(day)} for one in people]
    return pl.DataFrame(rows).with_columns(sent_at_source=pl.lit("campaign"), status=pl.lit("sent"))


def people(*addresses: str) -> pl.DataFrame:
    keys = [KEYS.of_address(address) for address in addresses]
    ids = [member_id(address) for address in addresses]
    return pl.DataFrame({"subscriber_key": keys, "member_id": ids, "email_address": list(addresses)})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(tmp_path / "lake")
    for night in range(NIGHTS):
        day = FIRST + timedelta(days=night)
        made.append(tables.Sends, sends(night, night + 10, day=day), day)
    made.remember_addresses(people(*ADDRESSES))
    made.forget(KEYS.of_address("somebody@example.com"))
    return made


def delete(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)


def files(lake: Lake) -> list[Path]:
    return [*lake.files(tables.Sends), *lake.root.glob("addresses/*"), *lake.root.glob("state/*")]


@pytest.mark.parametrize("damage", [delete, cut, empty, flip])
def test_whatever_happens_to_a_file_is_found_and_named(lake: Lake, damage: Callable[[Path], None]) -> None:
    assert len(files(lake)) == NIGHTS + 3
    assert lake.inventory.damage(every_byte=True) == []
    for file in files(lake):
        whole = file.read_bytes()
        damage(file)
        [found] = lake.inventory.damage(every_byte=True)
        assert found.file == file
        assert str(found).startswith(file.relative_to(lake.root.parent).as_posix())
        file.write_bytes(whole)
        assert lake.inventory.damage(every_byte=True) == []


@pytest.mark.parametrize("damage", [delete, cut, empty])
def test_a_night_finds_by_names_and_sizes_all_but_changed_bytes(lake: Lake, damage: Callable[[Path], None]) -> None:
    for file in lake.files(tables.Sends):
        whole = file.read_bytes()
        damage(file)
        assert [one.file for one in lake.inventory.damage(every_byte=False)] == [file]
        file.write_bytes(whole)


def test_what_is_rewritten_in_place_is_read_every_night(lake: Lake) -> None:
    for file in [*lake.root.glob("addresses/*"), *lake.root.glob("state/*")]:
        flip(file)
        assert [one.file for one in lake.inventory.damage(every_byte=False)] == [file]
        flip(file)


def test_two_files_that_were_swapped_are_both_found(lake: Lake) -> None:
    first, second, *_ = lake.files(tables.Sends)
    bodies = first.read_bytes(), second.read_bytes()
    second.write_bytes(bodies[0])
    first.write_bytes(bodies[1])
    assert [one.file for one in lake.inventory.damage(every_byte=True)] == [first, second]


def test_a_file_that_moved_to_another_day_is_missed_where_it_was(lake: Lake) -> None:
    first, second, *_ = lake.files(tables.Sends)
    first.rename(second.parent / first.name)
    assert [str(one) for one in lake.inventory.damage(every_byte=True)] == [
        f"{first.relative_to(lake.root.parent)} is missing"
    ]


def test_a_deleted_inventory_is_missed_whole_or_in_part_and_listed_anew(lake: Lake) -> None:
    for file in sorted(lake.inventory.folder.iterdir()):
        whole = file.read_bytes()
        file.unlink()
        found = lake.inventory.damage(every_byte=False)
        assert [one.file for one in found] == [file]
        lake.inventory.give_up(found[0])
        lake.inventory.take_stock()
        assert lake.inventory.damage(every_byte=True) == []
        assert json.loads(file.read_bytes()) == json.loads(whole)
    for file in lake.inventory.folder.iterdir():
        file.unlink()
    assert len(lake.inventory.damage(every_byte=False)) == 3


@pytest.mark.parametrize("damage", [cut, empty, flip])
def test_a_damaged_inventory_is_found_and_nothing_is_written_by_it(lake: Lake, damage: Callable[[Path], None]) -> None:
    [listed] = lake.inventory.folder.glob("sends.json")
    damage(listed)
    assert [one.file for one in lake.inventory.damage(every_byte=False)] == [listed]
    with pytest.raises(DamagedInventoryError, match=r"lake_inventory/sends\.json is damaged\. Run driptune repair"):
        lake.append(tables.Sends, sends(99), FIRST)


def test_two_lists_of_the_inventory_cannot_be_swapped(lake: Lake) -> None:
    first, second = lake.inventory.folder / "sends.json", lake.inventory.folder / "addresses.json"
    bodies = first.read_bytes(), second.read_bytes()
    first.write_bytes(bodies[1])
    second.write_bytes(bodies[0])
    assert {one.file for one in lake.inventory.damage(every_byte=False)} >= {first, second}


def test_a_lake_of_an_older_release_is_listed_by_the_first_look(lake: Lake) -> None:
    for file in [*lake.inventory.folder.iterdir(), lake.root / "state" / "inventory.json"]:
        file.unlink()
    assert lake.inventory.damage(every_byte=False) == []
    lake.inventory.take_stock()
    gone, *_ = lake.files(tables.Sends)
    gone.unlink()
    assert [one.file for one in lake.inventory.damage(every_byte=False)] == [gone]


def test_a_file_that_is_not_listed_must_hold_what_its_name_says(lake: Lake) -> None:
    listed, (damaged, *_) = lake.inventory.folder / "sends.json", lake.files(tables.Sends)
    listed.unlink()
    flip(damaged)
    assert [one.file for one in lake.inventory.damage(every_byte=False)] == [listed, damaged]


def test_every_file_is_read_twice_at_most_however_many_are_damaged(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = lake.files(tables.Sends)
    for file in damaged:
        flip(file)
    reads: Counter[Path] = Counter()
    read = Path.read_bytes

    def counted(file: Path) -> bytes:
        reads[file] += 1
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert [one.file for one in lake.inventory.damage(every_byte=True)] == damaged
    assert {reads[file] for file in damaged} == {2}


STEPS = ("pipeline.common.files.os.replace", "pathlib.Path.unlink")


@pytest.mark.parametrize("point", STEPS)
@pytest.mark.parametrize("passing", range(1, 8))
def test_a_crash_at_any_step_is_never_taken_for_damage(
    lake: Lake, point: str, passing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a rewriting and of a forgetting, before each rename and each removal."""
    monkeypatch.setattr(point, _crashing(point, passing))
    with pytest.raises(KeyboardInterrupt):
        _work_for_ever(lake)
    monkeypatch.undo()
    assert lake.inventory.damage(every_byte=True) == []
    lake.inventory.take_stock()
    assert lake.inventory.damage(every_byte=True) == []


@pytest.mark.parametrize("passing", range(1, 9))
def test_a_crash_while_the_inventory_begins_is_not_taken_for_damage(
    tmp_path: Path, passing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Lake(tmp_path / "new")
    monkeypatch.setattr(STEPS[0], _crashing(STEPS[0], passing))
    with pytest.raises(KeyboardInterrupt):
        _work_for_ever(new)
    monkeypatch.undo()
    assert new.inventory.damage(every_byte=True) == []


def _work_for_ever(lake: Lake) -> None:
    for number in range(10, 10 + NIGHTS):
        lake.append(tables.Sends, sends(number + 100), FIRST)
        lake.remember_addresses(people(f"new{number}@example.com"))
        lake.discard(tables.Sends, sends(number, day=FIRST + timedelta(days=number - 10)))
        lake.forget(KEYS.of_address(f"new{number}@example.com"))
        lake.forget(number - 10)


def _crashing(point: str, passing: int) -> Callable[..., object]:
    real = os.replace if point.endswith("replace") else Path.unlink
    passed = 0

    def crash(*arguments: object, **named: object) -> object:
        nonlocal passed
        passed += 1
        if passed == passing:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    return crash
