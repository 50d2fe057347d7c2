"""Nothing that tells who somebody is gets from the event files into the lake, besides the keyed hash."""

import base64
import json
from pathlib import Path

import pytest

from pipeline.lake.store import Lake
from tests.events.stream import content, event, faults, ids, read, read_bytes

ADDRESS = "anna.canary+tag@example.com"
HIDDEN = base64.b64encode(f"u={ADDRESS}".encode()).decode()
DOMAIN = "example.com"


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_properties_keep_neither_addresses_nor_names(tmp_path):
    more = {
        "full_name": "Anna Canary",
        "page": f"https://shop.example/?mail=anna.canary%2540{DOMAIN}&size=2",
        "token": HIDDEN,
        "note": "Hello Canary",
        "billing": {"phone": "+43 660 1234567", "plan": "pro"},
        "colour": "blue",
        ADDRESS: 1,
    }
    lake = read_bytes(tmp_path, "a.ndjson", json.dumps(event(**more)).encode())
    (kept,) = content(lake)["properties"]
    assert json.loads(kept) == {
        "page": "https://shop.example/?mail=(removed)&size=2",
        "token": "(removed)",
        "billing": {"plan": "pro"},
        "colour": "blue",
        "(removed)": 1,
    }


@pytest.mark.parametrize("field", ["event_id", "workflow_id", "order_id", "plan"])
@pytest.mark.parametrize("value", [ADDRESS, f"anna%2540{DOMAIN}", HIDDEN])
def test_ids_that_hold_an_address_in_any_writing_are_set_aside(tmp_path, field, value):
    lake = read_bytes(tmp_path, "a.ndjson", json.dumps(event(**{field: value})).encode())
    assert ids(lake) == []
    assert [(one[1], one[2]) for one in faults(lake)] == [(field, "holds an e-mail address: write an id")]


def test_addresses_in_file_names_are_kept_nowhere(tmp_path):
    """Files of people, one in a folder of theirs: each is told by a name that names nobody."""
    source, lake = tmp_path / "in", Lake(tmp_path / "lake")
    for name in (f"{ADDRESS}.ndjson", f"bob%40{DOMAIN}.ndjson", f"of/{ADDRESS}/day.ndjson", "plain.ndjson"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(json.dumps(event(occurred_at="never")))
    (source / f"{ADDRESS}.parquet").write_bytes(b"no parquet")
    read(source, lake)
    told = [reference for reference, _, _ in faults(lake)]
    assert told == [
        "(removed)-1.ndjson row 1",
        "(removed)-1.parquet",
        "(removed)-2.ndjson row 1",
        "of/(removed)/day-1.ndjson row 1",
        "plain.ndjson row 1",
    ]
    kept = bytes_below(tmp_path / "lake")
    assert DOMAIN.encode() not in kept
    before = faults(lake)
    read(source, lake)
    assert faults(lake) == before
