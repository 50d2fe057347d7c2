"""Nulls never decide a type: every pull with every field missing, every list empty, and one row. Over HTTP."""

import copy
import random
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.mailchimp import columns, rows
from pipeline.mailchimp.fields import Field, Parsed
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, conform, polars_schema, tables_of
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
    opened,
    order,
    served,
)
from tests.mailchimp.fake_account import (
    rows as rows_of,
)

SENT_AT = "2026-06-20T10:00:00+00:00"
NOTHINGS = [None, "", [], {}]
MISSING = object()
PULLED = [model for model in tables_of("lake") if "as_of_day" in polars_schema(model)]
# One request after the other, so that chance meets them in the same order.
ALONE: dict[str, Any] = {"max_connections": 1, "retry_budget_seconds": 2.0}
FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


def account(people: int = 1) -> FakeAccount:
    """One row, or two, of everything."""
    made = FakeAccount()
    everybody = list(range(people))
    made.members = [member(number, contact_id=f"c{number}") for number in everybody]
    made.archived = [member(10, status="archived", contact_id="c10")]
    made.add_audience("second", member(11, contact_id="c11"))
    made.add_campaign("news", everybody, SENT_AT)
    made.add_automation("flow", automation_email("mail1", 1, amount=1, type="day", action="signup"))
    made.add_campaign("mail1", everybody, SENT_AT)
    for campaign in ("news", "mail1"):
        for number in everybody:
            made.add_activity(campaign, number, opened(SENT_AT), click(SENT_AT))
        place, who = f"/reports/{campaign}", [{"email_id": member_id(number)} for number in everybody]
        opens = [{**one, "opens": [{"timestamp": SENT_AT, "is_proxy_open": True}]} for one in who]
        made.found |= {
            f"{place}/open-details": ("members", opens),
            f"{place}/click-details": (
                "urls_clicked",
                [{"id": f"link{number}", "url": "u", "total_clicks": 1, "unique_clicks": 1} for number in everybody],
            ),
            f"{place}/unsubscribed": ("unsubscribes", [{**one, "timestamp": SENT_AT, "reason": "r"} for one in who]),
            f"{place}/abuse-reports": ("abuse_reports", [{**one, "date": SENT_AT} for one in who]),
        }
    for number in everybody:
        made.set_feed(number, ("mail1", SENT_AT))
    waiting = [{"id": member_id(number), "next_send": "2026-07-02T00:00:00+00:00"} for number in everybody]
    made.found["/automations/flow/emails/mail1/queue"] = {"queue": waiting, "total_items": people}
    made.found["/automations/flow/removed-subscribers"] = {
        "subscribers": [{"id": member_id(number)} for number in everybody],
        "total_items": people,
    }
    made.add_store("shop", *(order(f"o{number}", SENT_AT) for number in everybody))
    return made


def paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything stands that is below the items of a page."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*before, name)
        yield from paths(inner, (*before, name))


def replace(page: dict[str, Any], path: tuple[Any, ...], nothing: Any) -> None:
    inner: Any = page
    for name in path[:-1]:
        try:
            inner = inner[name]
        except (KeyError, IndexError, TypeError):
            return
    if nothing is MISSING and isinstance(inner, dict):
        inner.pop(path[-1], None)
    elif isinstance(inner, dict if isinstance(path[-1], str) else list):
        inner[path[-1]] = None if nothing is MISSING else copy.deepcopy(nothing)


def assert_every_table_reads_as_declared(night: Night) -> None:
    for model in PULLED:
        frame = night.lake.latest(model).collect()
        assert dict(frame.schema) == polars_schema(model), model
        conform(frame, model)


@FEW
@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.4]), st.sampled_from([1, 2]))
def test_whatever_is_missing_the_night_is_read(seed: int, share: float, nights: int) -> None:
    """Any fields of any answers are null, empty or left out, on a first night or on a second one."""
    made, chance = account(people=2), random.Random(seed)

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path:  # the account's id names the lake
            for one in list(paths(page)):
                if len(one) > 2 and chance.random() < share:
                    replace(page, one, chance.choice([*NOTHINGS, MISSING]))

    with tempfile.TemporaryDirectory() as folder, served(made, Path(folder), **ALONE) as night:
        if nights == 2:
            night.run()
        made.tamper = tamper
        night.run(NIGHT + timedelta(days=1))
        assert_every_table_reads_as_declared(night)


@pytest.mark.parametrize("nothing", [*NOTHINGS, MISSING], ids=["null", "text", "list", "object", "missing"])
@pytest.mark.parametrize("people", [1, 2])
def test_every_optional_field_is_missing_at_once(people: int, nothing: Any, tmp_path: Path) -> None:
    """Only what a row has no meaning without is left."""
    needed = {
        one.path.split(".")[0]
        for table in vars(columns).values()
        if isinstance(table, dict)
        for one in table.values()
        if isinstance(one, Field) and one.required
    } | {"activity", "opens", "account_id", "email_id", "send_time"}
    made = account(people)

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        for one in list(paths(page)):
            is_optional = isinstance(one[-1], str) and one[-1] not in needed | {"total_items"}
            if is_optional and len(one) > 2:
                # An e-mail address makes no object, and an empty object is no address.
                is_text = nothing == {} and one[-1] not in ("merge_fields", "location", "bounces", "opens", "clicks")
                replace(page, one, MISSING if is_text else nothing)

    made.tamper = tamper
    with served(made, tmp_path, retry_budget_seconds=2.0) as night:
        night.run()
        night.run(NIGHT + timedelta(days=1))
        assert_every_table_reads_as_declared(night)
        held = {model: len(rows_of(night, model)) for model in (tables.Members, tables.Orders, tables.Sends)}
        assert held == {tables.Members: people + 2, tables.Orders: people, tables.Sends: 2 * people}


@pytest.mark.parametrize("people", [0, 1])
def test_every_list_is_empty_or_has_one_row(people: int, tmp_path: Path) -> None:
    made = account(people)
    made.archived, made.other_members["second"] = [], []
    with served(made, tmp_path, retry_budget_seconds=2.0) as night:
        night.run()
        night.run(NIGHT + timedelta(days=1))
        assert_every_table_reads_as_declared(night)
        assert len(rows_of(night, tables.Members)) == people


def test_an_audience_without_a_single_signup_time_beside_one_that_has_them(tmp_path: Path) -> None:
    made = FakeAccount()
    made.add_audience("second", member(2, timestamp_signup="", timestamp_opt=""))
    with served(made, tmp_path, retry_budget_seconds=2.0) as night:
        night.run()
    assert len(rows_of(night, tables.Members)) == 2


def test_an_automations_email_whose_recipients_were_all_deleted(tmp_path: Path) -> None:
    """Its report still counts them, and the listing of recipients is empty, night after night."""
    made = account()
    for name in ("sent-to", "email-activity", "open-details"):
        key, _ = made.found[f"/reports/mail1/{name}"]
        made.found[f"/reports/mail1/{name}"] = (key, [])
    with served(made, tmp_path, retry_budget_seconds=2.0) as night:
        night.run()
        night.run(NIGHT + timedelta(days=1))
    assert {row["campaign_id"] for row in rows_of(night, tables.Sends)} == {"news"}
    assert AUDIENCE in {row["audience_id"] for row in rows_of(night, tables.Members)}


@pytest.mark.parametrize("model", [tables.Members, tables.Orders, tables.Sends, tables.EmailActivity, tables.Reports])
def test_a_frame_of_nulls_alone_has_its_types(model: type[Table]) -> None:
    """The one function that makes frames takes no type from what stands in them."""
    named = {**columns.HELPERS, **polars_schema(model)}
    for held in ([], [None]):
        frame = rows._frame(Parsed({name: list(held) for name in named}), model)
        assert dict(frame.schema) == {
            name: pl.DataType.from_python(str) if False else dtype for name, dtype in named.items()
        }
    assert KEYS.of_member_id(frame["member_id"]).dtype == pl.Int64
