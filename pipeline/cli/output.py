"""How commands talk: lines for people, JSON for programs, and the exit code that findings give."""

import json
import sys
from typing import Any

import click
from rich.console import Console

from pipeline.common.errors import DriptuneError
from pipeline.common.names import with_nearest
from pipeline.settings import Settings

console = Console(highlight=False, soft_wrap=True)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
NOTHING_PUBLISHED = "Nothing is published yet. Run driptune nightly first."


class Known(click.Group):
    """A group that lists its commands to whoever names one that it does not have."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named.

        Raises:
            click.UsageError: if there is none of that name.
        """
        known = self.list_commands(context)
        if arguments[0] not in known and not context.resilient_parsing:
            named = f"{with_nearest(arguments[0], known)} is no command. Known are: {', '.join(known)}."
            raise click.UsageError(named, context)
        return super().resolve_command(context, arguments)


def tell(line: str) -> None:
    """Print a line as it is, whatever brackets it holds."""
    console.print(line, markup=False)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def need_publication(settings: Settings) -> None:
    """Refuse before anything is imported that takes long.

    Raises:
        DriptuneError: if nothing is published.
    """
    if not settings.manifest_file.exists():
        raise DriptuneError(NOTHING_PUBLISHED)


def report(findings: list[tuple[bool, str]], as_json: bool = False) -> None:
    """Print findings, and end the command with code 1 if one of them is bad."""
    is_good = all(good for good, _ in findings)
    if as_json:
        print_json(
            {"is_good": is_good, "findings": [{"is_good": good, "finding": finding} for good, finding in findings]}
        )
    else:
        for good, finding in findings:
            console.print(("[green]ok   [/green]" if good else "[red]wrong[/red]") + " ", end="")
            tell(finding)
    if not is_good:
        sys.exit(1)
