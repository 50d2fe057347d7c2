"""The command as a person meets it: bad input gives one clear message, exit code 1, and an untouched publication."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import chdir
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from tests.mailchimp.loopback import send, serve
from tests.mailchimp.recorded_server import KEY, RECORDINGS, RecordedAccount, serve_recordings

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("DRIPTUNE_", "MAILCHIMP_"))}
needs_recordings = pytest.mark.skipif(
    not RECORDINGS.exists(), reason="the recorded responses are not beside the project"
)
NIGHT = "2026-07-20"


def settings_of(folder: Path) -> dict[str, str]:
    """Everything that the command writes lies below the folder."""
    folder.mkdir(exist_ok=True)
    return {"DRIPTUNE_DATA_DIR": str(folder / "data"), "DRIPTUNE_DEFINITIONS": str(folder / "definitions")}


def driptune(folder: Path, *arguments: str, **settings: str) -> Result:
    """Run the command in this process. An error that it does not expect is raised here."""
    removed = dict.fromkeys(os.environ.keys() - ENVIRONMENT.keys())
    environment = {**removed, **settings_of(folder), **settings}
    with chdir(folder):
        return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)


def process(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", *arguments],
        env={**ENVIRONMENT, **settings_of(folder), **settings},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def account(url: str, key: str = KEY) -> dict[str, str]:
    return {"DRIPTUNE_MAILCHIMP_URL": url, "MAILCHIMP_API_KEY": key, "DRIPTUNE_CALL_DEADLINE_SECONDS": "5"}


def refuse(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
    """Answer as Mailchimp does to a key it does not know."""
    problem = {"type": "about:blank", "title": "API Key Invalid", "status": 401, "detail": "", "instance": ""}
    send(handler, 401, json.dumps(problem).encode(), Content_Type="application/problem+json")


def content(folder: Path) -> dict[Path, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a publication of the recorded account."""
    folder = tmp_path_factory.mktemp("account")
    with serve_recordings() as url:
        result = process(folder, "nightly", "--as-of", NIGHT, **account(url))
    assert result.returncode == 0, result.stderr
    return folder


@needs_recordings
def test_a_nightly_prints_plain_lines_and_the_morning(published: Path) -> None:
    result = driptune(published, "verify")
    assert result.exit_code == 0, result.stdout
    assert "email_warehouse.duckdb is as published" in result.stdout


@needs_recordings
def test_the_detector_is_tried_on_what_history_there_is(published: Path) -> None:
    result = driptune(published, "simulate", "anomalies")
    assert result.exit_code == 0, result.stderr
    assert "per 1,000" in result.stdout.splitlines()[-1]


def test_without_a_publication_there_is_nothing_to_simulate(tmp_path: Path) -> None:
    result = driptune(tmp_path, "simulate", "anomalies")
    assert result.exit_code == 1
    assert "driptune nightly first" in result.stderr


@needs_recordings
def test_published_numbers_equal_the_recorded_ones(published: Path) -> None:
    metrics = pl.read_parquet(published / "data" / "published" / "parquet" / "step_metrics.parquet")
    reports = RecordedAccount().reports
    assert reports
    for report in reports:
        row = metrics.row(by_predicate=(pl.col("step_id") == report["id"]) & (pl.col("window") == "all"), named=True)
        bounces = report["bounces"]
        delivered = report["emails_sent"] - sum(bounces.values())
        clickers = report["clicks"]["unique_subscriber_clicks"]
        assert row["sent"] == report["emails_sent"]
        assert row["hard_bounces"] == bounces["hard_bounces"] + bounces["syntax_errors"]
        assert row["delivered"] == delivered
        assert row["unique_clicks"] == clickers
        assert row["click_rate"] == (pytest.approx(clickers / delivered) if delivered else None)


@needs_recordings
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("wrong key", "MAILCHIMP_API_KEY"),
        ("no network", "Check the network"),
        ("unreachable folder", "does-not-exist"),
        ("broken definitions", "flows.yaml, line 3"),
    ],
)
def test_what_goes_wrong_outside_is_told_and_the_publication_stays(
    published: Path, case: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pause between the attempts of a step, which are made all the same.
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
    before = content(published / "data" / "published")
    folder = published
    with serve_recordings() as url, serve(refuse) as refusing_url:
        settings = account(url)
        if case == "wrong key":
            settings = account(refusing_url, "0123456789abcdef0123456789abcdef-us1")
        elif case == "no network":
            settings = account("http://127.0.0.1:9/3.0") | {"DRIPTUNE_RETRY_BUDGET_SECONDS": "0.1"}
        elif case == "unreachable folder":
            settings["DRIPTUNE_EVENTS"] = str(folder / "does-not-exist")
        else:
            (folder / "broken").mkdir(exist_ok=True)
            (folder / "broken" / "flows.yaml").write_text("flows:\n  - id: a\n    steps: [{id: b, delay: 2 dys}]\n")
            settings["DRIPTUNE_DEFINITIONS"] = str(folder / "broken")
        result = driptune(folder, "nightly", "--as-of", NIGHT, **settings)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert settings["MAILCHIMP_API_KEY"] not in result.stdout + result.stderr
    assert content(published / "data" / "published") == before


@needs_recordings
def test_doctor_names_the_account_and_the_first_mistake_of_any_definition(tmp_path: Path) -> None:
    definitions = tmp_path / "definitions"
    definitions.mkdir()
    with serve_recordings() as url:
        good = driptune(tmp_path, "doctor", **account(url))
        assert (good.exit_code, good.stderr) == (0, "Waiting for 127.0.0.1 to answer, at most 15 s.\n")
        assert "Mailchimp answers for the account '" in good.stdout
        (definitions / "approvals.yaml").write_text("approvers:\n  - id: mara\n    highest_risk: huge\n")
        wrong = driptune(tmp_path, "doctor", **account(url))
    assert wrong.exit_code == 1
    assert "approvals.yaml, line 3" in wrong.stdout


def test_a_setting_that_cannot_be_is_named(tmp_path: Path) -> None:
    result = process(tmp_path, "nightly", DRIPTUNE_TIMEZONE="Mars/Olympus")
    assert result.returncode == 1
    assert "timezone" in result.stderr
    assert "'Mars/Olympus' is not an IANA time zone" in result.stderr


def test_wrong_usage_is_exit_code_two(tmp_path: Path) -> None:
    assert driptune(tmp_path, "nightly", "--as-of", "yesterday").exit_code == 2
    assert driptune(tmp_path, "backfill", "--from", "2026-02-01", "--to", "2026-01-01").exit_code == 2


@needs_recordings
def test_verify_finds_a_damaged_publication(published: Path) -> None:
    parquet = published / "data" / "published" / "parquet" / "steps.parquet"
    good = parquet.read_bytes()
    parquet.chmod(0o644)
    parquet.write_bytes(good[:-20])
    result = driptune(published, "verify")
    parquet.write_bytes(good)
    parquet.chmod(0o444)
    assert result.exit_code == 1
    assert "steps.parquet differs from the manifest" in result.stdout


def test_restore_says_when_nothing_is_kept(tmp_path: Path) -> None:
    result = driptune(tmp_path, "restore")
    assert result.exit_code == 1
    assert "No snapshot is kept that is sound" in result.stderr


@needs_recordings
def test_nights_before_the_data_publish_what_there_was(tmp_path: Path) -> None:
    with serve_recordings() as url:
        days = driptune(tmp_path, "backfill", "--from", "2025-12-01", "--to", "2026-01-02", **account(url))
    assert (days.exit_code, days.stderr) == (0, "")
    assert "nothing was sent in the last 28 days" in days.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nightly", "--as-of", "2999-01-01"], "2999-01-01 is not over yet. The last complete UTC day is 20"),
        (["backfill", "--from", "2026-01-01", "--to", "9999-12-31"], "9999-12-31 is not over yet."),
        (["backfill", "--from", "1999-01-01", "--to", "2026-01-01"], "1999-01-01 lies before every account."),
        (["nightly", "--as-of", "0001-01-01"], "0001-01-01 lies before every account."),
    ],
)
def test_nights_that_cannot_be_run_are_refused_in_a_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = driptune(tmp_path, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(words)
    assert result.stderr.count("\n") == 1


def test_a_schedule_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    result = driptune(tmp_path, "nightly", DRIPTUNE_NIGHTLY_CRON="at dawn")
    assert result.exit_code == 1
    assert result.stderr == (
        "DRIPTUNE_NIGHTLY_CRON: 'at dawn' is no cron schedule. Write five fields such as '30 3 * * *'.\n"
    )
