"""Machine engagement: each rule of the glossary, and what stays human."""

import polars as pl
import pytest

from pipeline.analysis.send_time.filter import flag_machine_engagement

SECOND = 1_000_000
SCHEMA = {
    "message_key": pl.Int64,
    "subscriber_key": pl.Int64,
    "event_type": pl.String,
    "occurred_us": pl.Int64,
    "sent_us": pl.Int64,
    "is_proxy_open": pl.Boolean,
    "ip_key": pl.String,
    "url": pl.String,
}


def events(*rows: dict[str, object]) -> pl.DataFrame:
    """Rows with `after` in seconds since the send; the rest has defaults of a human click."""
    full = [
        {
            "message_key": row.get("message", 1),
            "subscriber_key": row.get("subscriber", row.get("message", 1)),
            "event_type": row.get("kind", "click"),
            "occurred_us": int(row["after"] * SECOND),
            "sent_us": 0,
            "is_proxy_open": row.get("proxy"),
            "ip_key": row.get("ip"),
            "url": row.get("url"),
        }
        for row in rows
    ]
    return pl.DataFrame(full, schema=SCHEMA)


def reasons(*rows: dict[str, object]) -> list[str | None]:
    return flag_machine_engagement(events(*rows))["machine_reason"].to_list()


def test_a_marked_proxy_open_is_a_machine_and_an_unmarked_one_is_unknown():
    flagged = flag_machine_engagement(
        events(
            {"kind": "open", "after": 600, "proxy": True},
            {"kind": "open", "after": 600, "proxy": False},
            {"kind": "open", "after": 600, "proxy": None},
        )
    )
    assert flagged["is_machine"].to_list() == [True, False, None]


@pytest.mark.parametrize(("after", "reason"), [(-60, "too fast"), (4.9, "too fast"), (5, None), (3_600, None)])
def test_nobody_is_faster_than_five_seconds(after, reason):
    assert reasons({"after": after, "url": "a"}) == [reason]


def test_many_links_within_ten_seconds_are_a_scanner_and_a_later_click_is_not():
    links = [{"after": 600 + number, "url": f"link-{number}"} for number in range(4)]
    assert reasons(*links, {"after": 4_000, "url": "link-1"}) == ["many links at once"] * 4 + [None]


def test_many_links_of_different_messages_or_slowly_followed_are_human():
    assert reasons(*({"message": number, "after": 600, "url": f"link-{number}"} for number in range(4))) == [None] * 4
    assert reasons(*({"after": 600 + 6 * number, "url": f"link-{number}"} for number in range(4))) == [None] * 4


def test_a_double_click_is_human_and_two_links_only_right_after_the_send():
    assert reasons(*({"after": 600 + number, "url": "a"} for number in range(3))) == [None] * 3
    assert reasons({"after": 600, "url": "a"}, {"after": 603, "url": "b"}) == [None] * 2
    assert reasons({"after": 20, "url": "a"}, {"after": 23, "url": "b"}) == ["many links at once"] * 2


@pytest.mark.parametrize(("recipients", "reason"), [(9, None), (10, "shared address")])
def test_an_address_that_clicks_for_many_is_a_scanner(recipients, reason):
    rows = [{"message": number, "after": 60 * (number + 1), "ip": "x", "url": "a"} for number in range(recipients)]
    assert reasons(*rows) == [reason] * recipients


def test_an_address_shared_over_many_days_is_human():
    rows = [{"message": number, "after": 86_400 * number + 60, "ip": "x", "url": "a"} for number in range(20)]
    assert reasons(*rows) == [None] * 20


def test_the_open_of_a_scanner_goes_with_its_clicks():
    scanner = [{"after": 20 + number, "url": f"link-{number}", "ip": "x"} for number in range(3)]
    opened = {"kind": "open", "after": 40, "ip": "x", "proxy": False}
    elsewhere = {"kind": "open", "after": 4_000, "ip": "home", "proxy": False}
    assert reasons(*scanner, opened, elsewhere)[3:] == ["same address as a scanner", None]


def test_rows_keep_their_order_and_columns_and_none_is_lost():
    rows = events(*({"message": 5 - number, "after": 1_000 - number, "url": "a"} for number in range(5)))
    flagged = flag_machine_engagement(pl.concat([rows, rows]).with_columns(note=pl.lit("kept")))
    assert flagged.height == 10
    assert flagged.select(*SCHEMA).equals(pl.concat([rows, rows]))
    assert flag_machine_engagement(rows.clear()).height == 0
