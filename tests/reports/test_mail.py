"""The mail of the morning: what it says, where its links lead, and that nobody can smuggle anything in."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from pipeline.reports.digest import summary
from pipeline.reports.mail import digest_mail
from pipeline.reports.pages.site import file_name, write_pages
from tests.worlds.published import account

ADDRESS = "https://tune.example.com/"
NOW = datetime(2026, 6, 30, 4, 5, tzinfo=UTC)
TABLES = account([("welcome", "Welcome")], conflict="allow")
LINES = [
    "\nThe morning after 2026-06-29 (64 tables, version abc)",
    "  mail        23,461 sent in 28 days, 15.2% clicked by people",
    "  drop-off    biggest avoidable loss: Welcome, hello -> tips: 25.0% lost",
    "  alarms      Welcome, tips: <script>alert(1)</script> & more",
    "  stuck       35 people: 7 paused step",
    "  decisions   16 proposals wait: driptune pending",
]


def mail(lines: list[str] = LINES, **changes: Any) -> EmailMessage:
    given = {"address": ADDRESS, "sender": "driptune <tune@example.com>", "recipients": "a@example.com, b@example.com"}
    return digest_mail(lines, TABLES, **{**given, "now": NOW, **changes})


def read(message: EmailMessage) -> tuple[EmailMessage, str, str]:
    """The message as a reader's program takes it apart: itself, its text and its HTML."""
    found = message_from_bytes(message.as_bytes(), policy=policy.default)
    text, html = found.get_body(("plain",)), found.get_body(("html",))
    assert text is not None
    assert html is not None
    return found, text.get_content(), html.get_content()


def test_every_line_is_in_both_parts_with_its_link() -> None:
    found, text, html = read(mail())
    assert found["Subject"] == "driptune: the morning after 2026-06-29"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Message-ID"].endswith("@example.com>")
    assert [one.addr_spec for one in found["To"].addresses] == ["a@example.com", "b@example.com"]
    page = f"https://tune.example.com/reports/{file_name('welcome')}"
    account_page = "https://tune.example.com/reports/index.html"
    links = [
        f"{account_page}#workflows", f"{page}#funnel", f"{page}#findings", f"{account_page}#stuck",
        "https://tune.example.com/inbox/",
    ]  # fmt: skip
    assert re.findall(r'href="([^"]+)"', html) == links
    assert re.findall(r"^  (\S+)$", text, re.MULTILINE) == links
    for part in (text, html):
        assert "35 people: 7 paused step" in part


def test_what_the_account_calls_things_is_no_markup() -> None:
    _, text, html = read(mail())
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
    assert "<script>alert(1)</script> & more" in text


@pytest.mark.parametrize("name", ["sender", "recipients"])
def test_no_header_is_smuggled_in(name: str) -> None:
    with pytest.raises(ValueError, match="linefeed"):
        mail(**{name: "a@example.com\r\nBcc: everybody@example.com"})


def test_a_line_break_in_a_name_stays_in_the_body() -> None:
    found, _, _ = read(mail([*LINES, "  tests       one\r\nBcc: everybody@example.com"]))
    assert "Bcc" not in found


def test_every_page_that_is_linked_is_written(tmp_path: Path) -> None:
    write_pages(TABLES, [], tmp_path / "reports", ADDRESS)
    _, _, html = read(mail(summary(TABLES, waiting=3)))
    links = re.findall(r'href="https://tune.example.com/reports/([^"#]+)', html)
    assert links
    assert all((tmp_path / "reports" / link).exists() for link in links)
