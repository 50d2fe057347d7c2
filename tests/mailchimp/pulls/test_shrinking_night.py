"""A whole night of an account that lost things and gained odd ones, against the same night of one that did not."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.cli.nightly import run_night
from pipeline.lake.store import Lake
from pipeline.operations.health import diagnosis, verification
from pipeline.published.manifest import RUN_TABLES
from pipeline.published.reader import read_publication
from pipeline.reports.digest import summary
from pipeline.settings import Settings
from tests.acceptance.torture.victims import short_night
from tests.mailchimp.fake_account import API_KEY, NIGHT, FakeAccount, click, member, member_id, opened, order, sms_only
from tests.mailchimp.loopback import serve

PEOPLE = 20
MOVED = 10
TONIGHT = NIGHT + timedelta(days=1)
LATER = f"{TONIGHT}T10:00:00+00:00"


def account() -> FakeAccount:
    made = FakeAccount()
    made.members = [member(number, contact_id=f"c{number}") for number in range(PEOPLE)]
    made.add_audience("second", member(30, contact_id="s30"), member(31, contact_id="s31"))
    for day in (10, 28):
        made.add_campaign(f"news{day}", list(range(PEOPLE)), f"2026-06-{day}T08:00:00+00:00")
        for number in range(0, PEOPLE, 3):
            made.add_activity(f"news{day}", number, opened(f"2026-06-{day}T09:00:00+00:00"))
            made.add_activity(f"news{day}", number, click(f"2026-06-{day}T09:05:00+00:00"))
    after = f"{TONIGHT + timedelta(days=1)}T01:00:00+00:00"
    made.found["/reports/news10/unsubscribed"] = ("unsubscribes", [{"email_id": member_id(1), "timestamp": after}])
    made.found["/reports"][1][0]["unsubscribed"] = 1
    made.add_store("shop", order("o1", "2026-06-28T09:30:00+00:00"), order("o2", "2026-06-12T09:30:00+00:00"))
    made.add_store("outlet", order("x1", "2026-06-27T09:30:00+00:00"))
    return made


def shrink(made: FakeAccount) -> None:
    """An audience, a campaign and a store go; ten addresses change; phone numbers and guests come."""
    for name in ("second", "news28", "outlet"):
        made.lose(name)
    for number in range(MOVED):
        made.members[number] = member(100 + number, contact_id=f"c{number}", last_changed=LATER)
    made.members += [sms_only(f"phone{number}", last_changed=LATER) for number in range(3)]
    made.found["/ecommerce/stores/shop/orders"][1].extend(
        order(f"guest{number}", LATER, customer={}) for number in range(2)
    )


def settings_of(folder: Path, url: str) -> Settings:
    return Settings(
        data_dir=folder,
        definitions=folder / "definitions",
        mailchimp_url=url,
        MAILCHIMP_API_KEY=API_KEY,
        _env_file=None,
    )  # type: ignore[call-arg]


def quietly(*told: object) -> None:
    """Progress nobody watches."""


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """The settings of an installation after the night of the shrunk account, and of one after an ordinary night."""
    folder = tmp_path_factory.mktemp("accounts")
    ordinary, shrunk = account(), account()
    with serve(ordinary.answer) as url, serve(shrunk.answer) as other:
        first = settings_of(folder / "ordinary", url)
        short_night(first, NIGHT)
        shutil.copytree(folder / "ordinary", folder / "shrunk")
        second = settings_of(folder / "shrunk", other)
        shrink(shrunk)
        run_night(first, TONIGHT, quietly)
        run_night(second, TONIGHT, quietly)
        yield second, first


def test_everything_but_what_went_away_is_as_on_an_ordinary_night(nights: tuple[Settings, Settings]) -> None:
    shrunk, ordinary = (read_publication(settings.published_dir) for settings in nights)
    tables = [name for name in ordinary if name not in RUN_TABLES | {"manifest", "reconciliation"}]
    assert len(tables) > 40
    assert [name for name in tables if not shrunk[name].equals(ordinary[name])] == []
    assert shrunk["step_metrics"].height > 0
    keys = ["campaign_id", "metric"]
    told = shrunk["reconciliation"].join(ordinary["reconciliation"], on=shrunk["reconciliation"].columns, how="anti")
    assert sorted(told.select(keys).rows()) == [
        ("aud1", "changed addresses"),
        ("aud1", "members"),
        ("aud1", "members without address"),
        ("news28", "recipients"),
        ("outlet", "orders"),
        ("second", "members"),
        ("shop", "orders"),
        ("shop", "orders of guests"),
    ]


def test_the_morning_says_it_in_four_lines(nights: tuple[Settings, Settings]) -> None:
    shrunk, ordinary = (summary(read_publication(settings.published_dir), waiting=0) for settings in nights)
    agreement = "  agreement"
    told = [line for line in shrunk[1:] if line not in ordinary and not line.startswith(agreement)]
    assert told == [
        "  gone        since 2026-06-30: audience The second, campaign news28, store The outlet; what was read of them "
        "stays",
        "  renamed     10 members changed their address; each is still one person",
        "  no address  3 members have no e-mail address; kept, and reached by no e-mail",
        "  guests      2 orders name no customer; kept, and credited to nobody",
    ]
    (counts,) = [line for line in shrunk if line.startswith(agreement)]
    assert counts.endswith("0 unexplained")


def test_nobody_is_doubled_and_doctor_tells_what_went_away(nights: tuple[Settings, Settings]) -> None:
    settings, _ = nights
    addresses = Lake(settings.lake_dir).addresses()
    assert addresses.height == PEOPLE + 2
    assert addresses.filter(pl.col("email_address").str.starts_with("person-10")).height == MOVED + 1
    told = [text for is_good, text in diagnosis(settings, quietly) if "no longer in Mailchimp" in text]
    assert told == [
        "audience The second: no longer in Mailchimp since 2026-06-30; what was read of it stays",
        "campaign news28: no longer in Mailchimp since 2026-06-30; what was read of it stays",
        "store The outlet: no longer in Mailchimp since 2026-06-30; what was read of it stays",
    ]


def test_what_came_after_tonight_is_a_named_reason_and_no_failure(nights: tuple[Settings, Settings]) -> None:
    for settings in nights:
        findings = verification(settings)
        assert [text for is_good, text in findings if not is_good] == []
        (compared,) = [text for _, text in findings if "were compared" in text]
        assert "; 0 differences are unexplained; " in compared
        assert compared.endswith("1 holds what came after tonight (unsubscribes of news10)")
