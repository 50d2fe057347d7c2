"""`driptune demo` runs on the sample account whatever the settings name. The night itself is tried elsewhere."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main as cli
from pipeline.settings import Settings


@pytest.fixture
def nights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """The settings of every night that would have been run, in an empty folder."""
    started: list[Settings] = []
    monkeypatch.setattr(cli, "_run", lambda settings, as_of: started.append(settings))
    monkeypatch.chdir(tmp_path)
    for name in ("MAILCHIMP_API_KEY", "DRIPTUNE_MAILCHIMP_URL", "DRIPTUNE_DATA_DIR", "DRIPTUNE_DEFINITIONS"):
        monkeypatch.delenv(name, raising=False)
    return started


def test_the_demo_runs_on_the_sample_beside_the_key_of_an_account(nights: list[Settings]) -> None:
    Path(".env").write_text("MAILCHIMP_API_KEY=0123456789abcdef-us1\nDRIPTUNE_DATA_DIR=an-accounts\n")
    result = CliRunner().invoke(cli.main, ["demo"], catch_exceptions=False)
    assert result.exit_code == 0
    [settings] = nights
    assert settings.is_sample
    assert settings.data_dir == Path("data")
    assert "every command but the demo means that account" in result.output


def test_the_demo_takes_the_folder_that_the_sample_is_given(
    nights: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", "elsewhere")
    result = CliRunner().invoke(cli.main, ["demo"], catch_exceptions=False)
    assert [settings.data_dir for settings in nights] == [Path("elsewhere")]
    assert "elsewhere/reports/index.html" in result.output
    assert "an account of your own" not in result.output


def test_the_demo_names_the_command_as_the_shell_finds_it(
    nights: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "driptune").touch(mode=0o755)
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    assert "  .venv/bin/driptune pending" in CliRunner().invoke(cli.main, ["demo"]).output
    monkeypatch.setenv("PATH", str(programs))
    assert "  driptune pending" in CliRunner().invoke(cli.main, ["demo"]).output
