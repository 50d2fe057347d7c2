"""What `--help` says of the commands."""

import click
import pytest
from click.testing import CliRunner

from pipeline.cli.main import flows, main
from pipeline.cli.state import simulate


@pytest.mark.parametrize("group", [main, flows, simulate])
def test_every_command_is_told_in_a_whole_sentence(group: click.Group) -> None:
    _, _, listed = CliRunner().invoke(group, ["--help"]).output.partition("Commands:\n")
    lines = listed.splitlines()
    assert len(lines) == len(group.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), listed


def test_the_usage_of_replay_names_what_its_text_names() -> None:
    told = CliRunner().invoke(main, ["replay", "--help"]).output
    assert told.startswith("Usage: main replay [OPTIONS] POINT DATE\n")
    assert "DATE is the night." in told
    assert "Missing argument 'DATE'" in CliRunner().invoke(main, ["replay", "cart-hero"]).output
