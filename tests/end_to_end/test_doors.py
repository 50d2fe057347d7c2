"""What the commands answer about single people of the sample night, and what leaves with their addresses."""

import csv
import stat
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.export import EXPORTS
from pipeline.cli.main import main
from pipeline.common.errors import SourceError
from pipeline.lake.store import Lake
from pipeline.operations.one_subscriber import LastNight, check_decisions
from pipeline.operations.replaying import replay_night
from pipeline.optimizations.ledger import open_ledger
from pipeline.schemas import lake
from pipeline.settings import SAMPLE_TONIGHT, Settings

ASKED = 20


@pytest.fixture
def driptune(settings: Settings, night: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on the sample night."""
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(settings.data_dir))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return run


@pytest.fixture
def person(settings: Settings, night: None) -> dict[str, Any]:
    """A member for whom the night decided, with address and member id."""
    decided = LastNight(settings).decided()
    addresses = Lake(settings.lake_dir).addresses().filter(pl.col("subscriber_key").is_in(decided))
    return addresses.sort("subscriber_key").row(0, named=True)


def test_real_time_and_nightly_answers_are_equal_at_every_decision_point(settings: Settings, night: None) -> None:
    found = list(check_decisions(settings, ASKED))
    assert all(is_equal for is_equal, _ in found)
    assert [line for _, line in found] == [
        f"{point}: {ASKED} of {ASKED} answers equal those of the night"
        for point in ("cart-hero", "onboarding-route", "win-back-segment")
    ]


def test_an_answer_that_differs_is_told(settings: Settings, night: None, tmp_path: Path) -> None:
    """The definitions changed since the night: another arm prevails, and the command says what the night said."""
    for file in settings.definitions.glob("*.yaml"):
        text = file.read_text(encoding="utf-8").replace(
            "{id: upgrade, rule: paying, priority: 5}", "{id: upgrade, priority: 99}"
        )
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    changed = settings.model_copy(update={"definitions": tmp_path})
    [cart, *others] = check_decisions(changed, ASKED)
    assert not cart[0]
    assert cart[1].startswith("cart-hero: ")
    assert all(is_equal for is_equal, _ in others)


def test_a_person_is_known_by_address_member_id_and_key(driptune: Any, person: dict[str, Any]) -> None:
    names = [person["email_address"].upper(), person["member_id"], str(person["subscriber_key"])]
    answers = {driptune("decide", name, "onboarding-route").output for name in names}
    assert len(answers) == 1
    [answer] = answers
    assert answer.startswith("onboarding-route: ")
    assert "chance" in answer


@pytest.mark.parametrize("written", ["nobody@example.com", "0" * 32, "12", "9" * 30, "-1", "²", "nobody"])
def test_who_is_unknown_is_told_what_to_write(driptune: Any, written: str) -> None:
    refused = driptune("decide", "--", written, "onboarding-route")
    assert refused.exit_code == 1
    assert "Write an e-mail address, a Mailchimp member id" in refused.output


def test_unknown_names_are_told_with_the_known_ones(driptune: Any, person: dict[str, Any]) -> None:
    key = str(person["subscriber_key"])
    for arguments, told in (
        (("decide", key, "cart-her"), "nearest: 'cart-hero'"),
        (("explain", key, "paing"), "nearest: 'paying'"),
        (("replay", "cart-her", "2026-06-29"), "nearest: 'cart-hero'"),
        (("replay", "cart-hero", "2026-01-01"), f"The nearest nights are {SAMPLE_TONIGHT}"),
        (("export", "stuk", "--with-addresses"), "nearest: 'stuck'"),
    ):
        refused = driptune(*arguments)
        assert (refused.exit_code, told in refused.output) == (1, True), refused.output


def test_a_rule_is_explained_condition_by_condition(driptune: Any, person: dict[str, Any], settings: Settings) -> None:
    told = LastNight(settings)
    for rule in told.definitions.rules:
        found = told.explain(told.find(str(person["subscriber_key"])), rule.rule_id)
        lines = driptune("explain", person["member_id"], rule.rule_id).output.splitlines()
        assert lines[0].startswith(f"{rule.rule_id}: {'holds' if found.is_match else 'does not hold'}")
        assert len(lines) == 1 + found.conditions.height
        if found.conditions.height == 1:
            assert found.conditions["matches"].to_list() == [found.is_match]


def test_the_conflicts_of_one_person_are_told(driptune: Any, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    conflict = tables["workflow_conflicts"].row(0, named=True)
    subscriber, yielding = str(conflict["subscriber_key"]), conflict["workflow_id"]
    prevailing = conflict["prevailing_workflow_id"]
    inside = driptune("conflicts", yielding, "--subscriber", subscriber).output
    assert f"is in {yielding} already" in inside
    # A workflow of the same category that has not started yet yields as well.
    category = tables["workflows"].row(by_predicate=pl.col("workflow_id") == yielding, named=True)["category"]
    proposed = tmp_path / "review.yaml"
    proposed.write_text(f"flows:\n  - id: review\n    category: {category}\n    steps:\n      - {{id: ask}}\n")
    told = driptune("conflicts", str(proposed), "--subscriber", subscriber).output
    assert f"review yields to {prevailing}" in told
    assert prevailing in told.splitlines()[0]


def test_every_logged_decision_comes_out_again(driptune: Any, settings: Settings, night: None) -> None:
    logged = Lake(settings.lake_dir).latest(lake.Decisions).collect()
    assert set(logged["decision_point_id"]) == {"onboarding-route", "win-back-segment", "cart-hero"}
    for (point,), rows in logged.group_by("decision_point_id"):
        found = replay_night(settings, str(point), SAMPLE_TONIGHT)
        assert (found.decisions, found.differing.height) == (rows.height, 0)
    told = driptune("replay", "cart-hero", f"{SAMPLE_TONIGHT}")
    assert told.output.endswith("All come out as they were logged.\n")
    with pytest.raises(SourceError, match="nothing was ever logged"):
        replay_night(settings, "elsewhere", date(2026, 6, 29))


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_private_and_the_ledger_names_who_asked(
    driptune: Any, settings: Settings, tables: dict[str, pl.DataFrame], name: str
) -> None:
    assert driptune("export", name).exit_code == 2
    written = driptune("export", name, "--with-addresses", "--as", "mara")
    assert written.exit_code == 0, written.output
    path = settings.exports_dir / f"{name}-{SAMPLE_TONIGHT}.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    addresses = dict(Lake(settings.lake_dir).addresses().select("subscriber_key", "email_address").iter_rows())
    assert len(rows) == sum(key in addresses for key in tables[EXPORTS[name]]["subscriber_key"])
    assert all(row["email_address"] == addresses[int(row["subscriber_key"])] for row in rows)
    with open_ledger(settings) as ledger:
        event = ledger.events()[-1]
        assert ledger.verify() == []
    assert (event.event_type, event.actor) == ("exported", "mara")
    assert f"{len(rows):,} rows with addresses" in event.payload["reason"]
