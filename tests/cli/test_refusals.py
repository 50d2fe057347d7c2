"""Refusals come before anything is imported that takes long, and say what is known instead."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.optimizations import review
from pipeline.optimizations.ledger import Ledger, open_ledger
from pipeline.optimizations.review import Seen
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.settings import SAMPLE_DEFINITIONS, Settings
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.worlds.writing import approved, hours, rollback_of

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("DRIPTUNE_", "MAILCHIMP_"))}
SLOW = {"alembic", "dagster", "duckdb", "pandas", "pandera", "polars", "pyarrow", "scipy", "sklearn", "uvicorn"}
"""Packages each of which takes a quarter of a second of CPU or more to import."""
PROGRAM = f"""
import json, os, sys
from pipeline.cli.main import main

def run(arguments, environment, *files):
    for stream, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ.update(environment)
    sys.argv[1:] = arguments
    try:
        main()
    finally:
        print("imported:", *sorted({SLOW} & set(sys.modules)), file=sys.stderr)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.exit(run(*json.loads(line)))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""The command of a user, started once: it runs what each line tells in a fork, and says the exit code."""


@dataclass(frozen=True)
class Started:
    """The program, and the folder that it runs in."""

    process: subprocess.Popen[str]
    folder: Path

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command, and say at the end which slow packages it imported."""
        files = [self.folder / "stdout", self.folder / "stderr"]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([arguments, settings, *map(str, files)]), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(file.read_text() for file in files))


@pytest.fixture(scope="module")
def started(folder: Path) -> Iterator[Started]:
    defaults = {"DRIPTUNE_DATA_DIR": str(folder), "DRIPTUNE_DEFINITIONS": str(folder / "definitions")}
    command = [sys.executable, "-c", PROGRAM]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**ENVIRONMENT, **defaults}, cwd=folder, text=True, **pipes) as process:
        yield Started(process, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose ledger is up to date, and where nothing is published."""
    folder = tmp_path_factory.mktemp("refusals")
    Ledger.open(f"sqlite:///{folder}/ledger/ledger.sqlite").close()
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pending"], 0, "Nothing waits for a decision."),
        (["pending", "--json"], 0, "[]"),
        (["pendign"], 2, "'pendign' (nearest: 'pending') is no command. Known are: apply, approve,"),
        (["simulate", "all"], 2, "'all' is no command. Known are: anomalies, decisions."),
        (["show", "nobody"], 1, "There is no record 'nobody'. Those that wait are: none."),
        (["approve", "nobody"], 1, "There is no record 'nobody'."),
        (["approve", "nobody", "--revision", "0"], 2, "0 is not in the range"),
        (["approve", "nobody", "--evidence", ""], 2, "--evidence is empty"),
        (["simulate", "decisions", "--subscribers", "0"], 2, "0 is not in the range"),
        (["apply", "nobody"], 1, "There is no record 'nobody'."),
        (["rollback", "nobody", "--reason", "x", "--as", "mara"], 1, "'mara' is not among the approvers"),
        (["digest"], 1, "Nothing is published yet."),
        (["pages"], 1, "Nothing is published yet."),
        (["conflicts", "welcome"], 1, "Nothing is published yet."),
        (["explain", "ann@example.com", "rule"], 1, "Nothing is published yet."),
        (["export", "arms", "--with-addresses"], 1, "Nothing is published yet."),
        (["export", "arms"], 2, "confirm it with --with-addresses"),
        (["release", "--stop", "--go"], 2, "exclude each other"),
        (["nightly", "--as-of", "2999-01-01"], 1, "2999-01-01 is not over yet."),
        (["nightly", "--as-of", "yesterday"], 2, "does not match the format"),
    ],
)
def test_a_refusal_imports_nothing_that_takes_long(
    started: Started, arguments: list[str], code: int, words: str
) -> None:
    result = started.run(*arguments)
    assert result.returncode == code, result.stderr
    assert words in result.stdout + result.stderr
    assert result.stderr.endswith("imported:\n"), result.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """The settings of a data folder with a publication and a ledger, and the ids of the ledger's records."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("published"), definitions=SAMPLE_DEFINITIONS)
    settings.manifest_file.parent.mkdir()
    settings.manifest_file.touch()
    with open_ledger(settings) as ledger:
        by_hand = approved(ledger, proposal())
        review.mark_done(ledger, POLICY, Seen.of(by_hand), actor="mara", now=NOW)
        made = {
            "pending": hours(),
            "approved_by_hand": proposal(target="welcome/start/hello"),
            "release": proposal(kind=Kind.RELEASE, apply_kind=ApplyKind.RELEASE),
            "way_back": rollback_of(by_hand),
        }
        ledger.propose(made.values(), now=NOW, approval_policy=POLICY)
        approved(ledger, made["approved_by_hand"])
    told = {"DRIPTUNE_DATA_DIR": str(settings.data_dir), "DRIPTUNE_DEFINITIONS": str(SAMPLE_DEFINITIONS)}
    names = {name: one.optimization_id for name, one in made.items()}
    return told, {"done_by_hand": by_hand.optimization_id, **names}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("apply {pending}", "is pending; only what is approved is applied."),
        ("apply {approved_by_hand}", "is made by hand."),
        ("apply {approved_by_hand} --dry-run", "is made by hand."),
        ("apply {release} --dry-run", "`driptune release --dry-run` shows when."),
        ("rollback {pending} --as mara --reason x", "is pending; only what was applied is rolled back."),
        ("rollback {done_by_hand} --as mara --reason x", "is made by hand."),
        ("rollback {way_back} --as mara --reason x", "is a rollback itself."),
        ("decide ann@example.com cart-her", "'cart-her' (nearest: 'cart-hero') is not in decision_points.yaml or"),
        ("explain ann@example.com paing", "'paing' (nearest: 'paying') is not in rules.yaml. Known are: engaged,"),
        ("conflicts wellcome", "is no workflow of flows.yaml. Known are: "),
        ("export stuk --with-addresses", "'stuk' (nearest: 'stuck') is no export. Known are: send_times,"),
        ("flows init", "exists already."),
    ],
)
def test_a_refusal_beside_a_publication_imports_nothing_that_takes_long(
    started: Started, published: tuple[dict[str, str], dict[str, str]], command: str, words: str
) -> None:
    settings, records = published
    result = started.run(*command.format(**records).split(), **settings)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.endswith("imported:\n"), result.stderr


def test_a_wrong_setting_is_told_at_once(started: Started) -> None:
    result = started.run("doctor", DRIPTUNE_TIMEZONE="Mars/Olympus")
    assert "'Mars/Olympus' is not an IANA time zone" in result.stderr
    assert result.stderr.endswith("imported:\n"), result.stderr


def test_a_port_that_is_taken_is_told_at_once(started: Started) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = started.run("up", "--port", port)
    assert result.returncode == 1
    assert result.stderr == (
        f"Port {port} of 127.0.0.1 is taken by another program, perhaps by another driptune up. End that program, or "
        "choose another port with --port.\nimported:\n"
    )


def test_a_new_link_is_printed_last_and_who_is_no_approver_learns_how_to_become_one(
    started: Started, folder: Path
) -> None:
    result = started.run("login", "--as", "mara")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert str(folder / "definitions" / "approvals.yaml") in lines[0]
    assert lines[1:3] == ["approvers:", "  - id: mara"]
    assert lines[3].startswith("Inbox for looking, once: http://127.0.0.1:3000/inbox/login?token=")
    assert result.stderr == "imported:\n"


def test_the_findings_of_the_doctor_are_told_to_programs(started: Started) -> None:
    unreachable = {"DRIPTUNE_MAILCHIMP_URL": "http://127.0.0.1:9/3.0", "MAILCHIMP_API_KEY": "a" * 32 + "-us1"}
    result = started.run("doctor", "--json", DRIPTUNE_RETRY_BUDGET_SECONDS="0.1", **unreachable)
    told = json.loads(result.stdout)
    assert (result.returncode, told["is_good"]) == (1, False)
    assert [one["finding"] for one in told["findings"] if not one["is_good"]]


def test_a_shell_completes_the_names_of_commands() -> None:
    asked = {"_DRIPTUNE_COMPLETE": "bash_complete", "COMP_WORDS": "driptune pe", "COMP_CWORD": "1"}
    result = subprocess.run(
        [Path(sys.executable).with_name("driptune")], env={**ENVIRONMENT, **asked}, capture_output=True, text=True
    )
    assert result.stdout == "plain,pending\n"
