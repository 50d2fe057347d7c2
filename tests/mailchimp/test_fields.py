"""Reading single fields: whatever JSON comes, a row is read right or set aside with a reason."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common.errors import ContractBrokenError, scrub
from pipeline.mailchimp import columns, rows
from pipeline.mailchimp import fields as read
from pipeline.mailchimp.fields import SHAPE_CHANGED_ROWS, BrokenError, Field, read_items
from pipeline.mailchimp.transport import strict_json
from pipeline.schemas.base import conform
from pipeline.schemas.lake import EmailActivity, Reports
from tests.mailchimp.fake_account import KEYS, member_id, report

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FEW = settings(max_examples=50, deadline=None)
ZONES = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))


@FEW
@given(st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 1, 1), timezones=ZONES))
def test_an_instant_is_the_same_in_every_zone(moment):
    assert read.instant(moment.isoformat()) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@FEW
@given(st.decimals(-(10**9), 10**9, places=2))
def test_cents_lose_nothing(amount):
    assert read.cents(float(amount)) == amount * 100


@FEW
@given(JSON)
def test_strict_json_reads_what_json_writes(value):
    assert strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 2}', b"[NaN]", b"[-Infinity]", b"", b"\xff", b"[" * 100_000, b"{]"])
def test_what_is_no_strict_json_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the JSON library's
        strict_json(text)


@FEW
@given(st.dictionaries(st.sampled_from(["action", "timestamp", "url", "type", "ip"]), JSON))
def test_any_event_fits_its_table_or_is_set_aside(event):
    found = rows.activity_rows("/x", [{"email_id": member_id(1), "activity": [event]}], KEYS, "c")
    assert found.frame.height + len(found.quarantined) == 1
    conform(found.frame.with_columns(is_bot=pl.lit(False), as_of_day=pl.lit(1, dtype=pl.Int64)), EmailActivity)


@FEW
@given(st.dictionaries(st.sampled_from(list(report("c", 1, ""))), JSON))
def test_any_report_fits_its_table_or_is_set_aside(changes):
    item = {**report("c", 1, ""), **changes}
    found = rows.table_rows(Reports, "/reports", columns.REPORTS, [item])
    assert found.frame.height + len(found.quarantined) == 1
    conform(found.frame.with_columns(as_of_day=pl.lit(1, dtype=pl.Int64)), Reports)


@FEW
@given(JSON.filter(lambda value: not isinstance(value, dict)))
def test_what_is_no_object_is_set_aside(item):
    assert len(read_items("t", "/x", {"id": Field("id", read.text)}, [item]).quarantined) == 1


@FEW
@given(st.lists(st.booleans(), max_size=60))
def test_a_few_broken_rows_are_set_aside_and_many_are_an_error(is_good):
    """The bound is the one the module declares: so many rows and that share of all."""
    items = [{"id": "x"} if good else {} for good in is_good]
    broken = is_good.count(False)
    fields = {"id": Field("id", read.text)}
    if broken >= SHAPE_CHANGED_ROWS and broken > read.SHAPE_CHANGED_SHARE * len(items):
        with pytest.raises(ContractBrokenError):
            read_items("t", "/x", fields, items)
    else:
        parsed = read_items("t", "/x", fields, items)
        assert [is_good[index] for index in parsed.kept] == [True] * (len(items) - broken)
        positions = [int(row.reference.removeprefix("/x item ")) - 1 for row in parsed.quarantined]
        assert positions == [index for index, good in enumerate(is_good) if not good]


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (read.integer, True),
        (read.integer, 1.5),
        (read.integer, float("inf")),
        (read.integer, 2**63),
        (read.amount_of_things, -1),
        (read.number, "1"),
        (read.boolean, 1),
        (read.text, 1),
        (read.instant, "2026-01-01"),
        (read.instant, "2026-01-01T00:00:00"),
        (read.instant, 1_767_225_600),
        (read.member_id, "person-1@example.com"),
        (read.address, "person-1"),
        (read.one_of("sent", "hard"), "soft"),
        (read.one_of("sent", "hard"), ["sent"]),
    ],
)
def test_values_of_the_wrong_kind_break_the_contract(reader, value):
    with pytest.raises(BrokenError) as broken:
        reader(value)
    assert str(value) not in str(broken.value)


LOCAL = st.from_regex(r"[a-z0-9._+-]{1,20}", fullmatch=True)


@FEW
@given(LOCAL, st.sampled_from(["@", "%40"]), st.sampled_from(["", "see ", "https://example.com/?u=", '{"a": "', "<"]))
def test_no_address_survives_in_text_or_messages(local, at, before):
    address = f"{local}{at}mail.example"
    for clean in (read.free_text(before + address), scrub(before + address)):
        assert address not in clean
        assert at not in clean


@FEW
@given(st.from_regex(r"[0-9a-f]{32}(-us[0-9]{1,2})?", fullmatch=True))
def test_no_key_and_no_member_id_survives_in_messages(secret):
    assert secret not in scrub(f"the answer to {secret} was late")
    assert secret not in scrub(f"GET /lists/a/members/{secret}?count=10")


def test_amounts_keep_their_decimal_writing():
    """As binary fractions 1.005 and 2.675 lie below their writing; half a cent goes to the even one."""
    assert [read.cents(value) for value in (1.005, 2.675, 0.1 + 0.2, 19.99)] == [
        int((Decimal(text) * 100).to_integral_value()) for text in ("1.00", "2.68", "0.30", "19.99")
    ]
