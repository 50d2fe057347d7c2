"""The morning as a mail: the lines of the digest as text and as HTML, each with a link to the page that shows more."""

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, make_msgid
from html import escape

from pipeline.published.reader import Tables
from pipeline.reports.pages import INBOX_PATH, PAGES_PATH
from pipeline.reports.pages.flow import IS_CAMPAIGN
from pipeline.reports.pages.site import file_name

WORKFLOW_SECTIONS = {"drop-off": "funnel", "alarms": "findings"}
"""Lines about one workflow, and the section of its page."""
ACCOUNT_SECTIONS = {"stuck": "stuck", "changes": "decided", "tests": "workflows", "mail": "workflows"}
"""Lines about the account, and the section of its page. All others lead to the first."""
FIRST_SECTION = "morning"
DECISIONS = "decisions"
STYLE = "font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#ffffff"
SUBJECT_STYLE = "padding:4px 16px 4px 0;vertical-align:top;white-space:nowrap;color:#595959"


def digest_mail(
    lines: Sequence[str], tables: Tables, *, address: str, sender: str, recipients: str, now: datetime
) -> EmailMessage:
    """A mail with the digest.

    Args:
        lines: the digest, its heading first.
        tables: the published tables.
        address: where browsers reach `driptune up`.
        sender: the address of the sender.
        recipients: addresses, separated by commas.
        now: the time.

    Raises:
        ValueError: if an address holds a line break. Nobody can smuggle a header in.
    """
    heading, *told = [line.strip() for line in lines]
    rows = [(*_parted(line), address.rstrip("/") + _place(line, tables)) for line in told]
    message = EmailMessage()
    message["Subject"] = f"driptune: the morning after {tables['manifest'].item(0, 'as_of')}"
    message["From"] = sender
    message["To"] = recipients
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=getaddresses([sender])[0][1].rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_as_text(heading, rows))
    message.add_alternative(_as_html(heading, rows), subtype="html")
    return message


def _parted(line: str) -> tuple[str, str]:
    """The subject of a line, and what is said of it."""
    subject, _, said = line.partition("  ")
    return subject, said.strip()


def _place(line: str, tables: Tables) -> str:
    subject, said = _parted(line)
    if subject == DECISIONS:
        return f"{INBOX_PATH}/"
    if subject in WORKFLOW_SECTIONS:
        called = {name or workflow: workflow for workflow, name in _workflows(tables)}
        # Of two names that a line holds, such as 'Cart' and 'Cart for guests', the longer one is meant.
        named = sorted((name for name in called if name in said), key=len)
        if named:
            return f"{PAGES_PATH}/{file_name(called[named[-1]])}#{WORKFLOW_SECTIONS[subject]}"
    return f"{PAGES_PATH}/index.html#{ACCOUNT_SECTIONS.get(subject, FIRST_SECTION)}"


def _workflows(tables: Tables) -> list[tuple[str, str | None]]:
    """The ids and names of the workflows that have pages."""
    return tables["workflows"].filter(~IS_CAMPAIGN).select("workflow_id", "name").rows()


def _as_text(heading: str, rows: Sequence[tuple[str, str, str]]) -> str:
    lines = [f"{subject}: {said}\n  {link}" for subject, said, link in rows]
    return "\n".join([heading, "", *lines, ""])


def _as_html(heading: str, rows: Sequence[tuple[str, str, str]]) -> str:
    cells = "\n".join(
        f'<tr><th scope="row" align="left" style="{SUBJECT_STYLE}">{escape(subject)}</th>'
        f'<td style="padding:4px 0"><a href="{escape(link)}" style="color:#0b57a4">{escape(said)}</a></td></tr>'
        for subject, said, link in rows
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(heading)}</title></head>\n'
        f'<body style="{STYLE}"><h1 style="font-size:18px">{escape(heading)}</h1>\n'
        f'<table cellspacing="0" style="border-collapse:collapse">\n{cells}\n</table></body></html>\n'
    )
