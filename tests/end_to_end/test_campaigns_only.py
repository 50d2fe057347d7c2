"""A whole night of an account that sends campaigns and has no flow: its pages speak of campaigns alone."""

import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.cli.nightly import run_night
from pipeline.operations.after_publication import follow_publication
from pipeline.optimizations.ledger import open_ledger
from pipeline.published.reader import read_publication
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, NIGHT, FakeAccount, member
from tests.mailchimp.loopback import serve
from tests.reports.pages.numbers import unfounded

PEOPLE, CAMPAIGNS, CLICKED = 80, 6, 12


def account() -> FakeAccount:
    """One campaign a week, to everybody; some people open and click each."""
    made = FakeAccount()
    made.members = [member(number) for number in range(PEOPLE)]
    for week in range(CAMPAIGNS):
        sent = datetime(NIGHT.year, NIGHT.month, NIGHT.day, 9, tzinfo=UTC) - timedelta(weeks=CAMPAIGNS - week, days=2)
        name = f"newsletter-{week + 1}"
        made.add_campaign(name, list(range(PEOPLE)), sent.isoformat())
        for number in range(CLICKED):
            at = sent + timedelta(hours=2 + number)
            events = [{"action": "open", "timestamp": at.isoformat(), "ip": "192.0.2.1"}]
            link = {"action": "click", "url": "https://example.com/shop", "ip": "192.0.2.1"}
            events.append({**link, "timestamp": (at + timedelta(minutes=3)).isoformat()})
            made.add_activity(name, number, *events)
    return made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of an account whose first night is over, its pages written."""
    folder: Path = tmp_path_factory.mktemp("campaigns")
    with serve(account().answer) as url:
        given = {"data_dir": folder, "mailchimp_url": url, "MAILCHIMP_API_KEY": API_KEY}
        made = Settings(**given, _env_file=None)  # type: ignore[arg-type]
        run_night(made, NIGHT, lambda step, steps: None)
        with open_ledger(made) as ledger:
            follow_publication(made, ledger, now=datetime(2026, 6, 30, 4, tzinfo=UTC))
    return made


def text_of(settings: Settings, page: str) -> str:
    return html.unescape((settings.reports_dir / page).read_text(encoding="utf-8"))


def test_every_campaign_is_shown_with_numbers_of_the_marts(settings: Settings) -> None:
    page = text_of(settings, "campaigns.html")
    assert all(f"newsletter-{week + 1}" in page for week in range(CAMPAIGNS))
    assert f"{CAMPAIGNS} campaigns: {PEOPLE * CAMPAIGNS:,} messages delivered" in page
    tables = dict(read_publication(settings.published_dir))
    for name in ("campaigns.html", "index.html"):
        assert unfounded((settings.reports_dir / name).read_text(encoding="utf-8"), tables, None) == []


def test_nothing_is_said_of_flows_that_there_are_not(settings: Settings) -> None:
    page = text_of(settings, "index.html")
    anchors = re.findall(r'<section id="([^"]*)"', page)
    assert "workflows" not in anchors
    assert "campaigns" in anchors
    assert "Converted" not in page
    assert not list(settings.reports_dir.glob("workflow-*.html"))
