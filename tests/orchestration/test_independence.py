"""An analysis that fails costs its own tables and proposals, the morning says so, and all else is published."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.analysis.performance import reconciliation
from pipeline.cli.nightly import run_night
from pipeline.common.errors import DriptuneError
from pipeline.operations.after_publication import follow_publication, standing_proposals
from pipeline.optimizations.ledger import open_ledger
from pipeline.published.reader import Tables, read_publication
from pipeline.reports.digest import summary
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, NIGHT, FakeAccount
from tests.mailchimp.loopback import serve
from tests.optimizations.conftest import NOW, POLICY, proposal

pytestmark = pytest.mark.usefixtures("analyses_may_fail")
LATER = NIGHT + timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with serve(FakeAccount().answer) as url:
        given = {"mailchimp_url": url, "MAILCHIMP_API_KEY": API_KEY, "definitions": tmp_path / "definitions"}
        yield Settings(data_dir=tmp_path / "data", _env_file=None, **given)


def broken(*given: object, **more: object) -> pl.DataFrame:
    raise ZeroDivisionError("someone@example.com")


def published(settings: Settings) -> Tables:
    return read_publication(settings.published_dir)


def after_the_night(settings: Settings) -> Status:
    """What becomes of a record that waits and that the night does not propose."""
    with open_ledger(settings) as ledger:
        ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
        follow_publication(settings, ledger, now=NOW)
        return ledger.record(proposal().optimization_id).status


def test_its_tables_stay_and_all_others_are_of_tonight(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run_night(settings, NIGHT, lambda step, steps: None)
    assert after_the_night(settings) is Status.STALE
    before = published(settings)["reconciliation"]
    assert published(settings)["analysis_failures"].is_empty()
    with monkeypatch.context() as patch:
        patch.setattr(reconciliation, "reconciliation", broken)
        run_night(settings, LATER, lambda step, steps: None)
    assert after_the_night(settings) is Status.PENDING
    tables = published(settings)
    assert tables["reconciliation"].equals(before)
    assert before.height > 0
    assert tables["runs"]["as_of_day"].max() == LATER
    assert tables["analysis_failures"].rows(named=True) == [
        {"as_of_day": LATER, "table_name": "reconciliation", "error": "ZeroDivisionError", "rows_of_day": NIGHT}
    ]
    [line] = [line for line in summary(tables, waiting=0) if line.startswith("  failed")]
    assert line == (
        "  failed      reconciliation (ZeroDivisionError): the rows are those of "
        f"{NIGHT}; nothing is proposed from them"
    )
    assert standing_proposals(settings)[1] == []
    told = b"".join(path.read_bytes() for path in settings.dagster_home.rglob("*") if path.is_file())
    assert b"someone@example.com" not in told


def test_a_disk_or_a_source_that_fails_still_ends_the_night(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **more: object) -> pl.DataFrame:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reconciliation, "reconciliation", full)
    with pytest.raises(DriptuneError):
        run_night(settings, NIGHT, lambda step, steps: None)
    assert not settings.published_dir.exists()
