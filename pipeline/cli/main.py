"""The `driptune` command: it parses arguments and talks to people. The work is done elsewhere.

Exit codes: 0 for success, 1 for a failure that the message explains, 2 for wrong usage.
"""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.cli.apply import apply_command, rollback
from pipeline.cli.conflicts import conflicts
from pipeline.cli.decide import decide_commands
from pipeline.cli.export import export
from pipeline.cli.output import Known, console, tell
from pipeline.cli.release import release_command
from pipeline.cli.serve import serve_commands
from pipeline.cli.state import state_commands
from pipeline.cli.subscribers import decide, explain, replay
from pipeline.common.errors import DriptuneError, disk_trouble
from pipeline.common.words import PROGRESS, counted
from pipeline.operations.nights import check_nights
from pipeline.settings import Settings

DAY = click.DateTime(["%Y-%m-%d"])


class Commands(Known):
    """Turns expected errors into a message and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command. An expected error is printed without a traceback."""
        try:
            return super().invoke(context)
        except ValidationError as error:
            for problem in error.errors():
                name = ".".join(map(str, problem["loc"])) or "mail_*"
                click.echo(f"Setting {name}: {problem['msg']}", err=True)
        except DriptuneError as error:
            click.echo(str(error), err=True)
        except Exception as error:
            words = disk_trouble(error)
            if words is None:
                raise
            click.echo(words, err=True)
        sys.exit(1)


@click.group(cls=Commands)
@click.version_option(package_name="driptune")
def main() -> None:
    """Tune drip campaigns: honest metrics every morning, and changes that only people approve."""


@main.command()
def demo() -> None:
    """Run the whole nightly on the sample account. Your own account is left alone."""
    given = Settings()
    settings = given if given.is_sample else Settings.sample()
    _run(settings, settings.resolve_as_of())
    _print_next_looks(settings)
    if not given.is_sample:
        console.print(
            "\nThe settings here name an account of your own, and every command but the demo means that account. "
            "Run the two commands above where neither .env nor the environment names an account, with "
            f"DRIPTUNE_DATA_DIR={settings.data_dir.resolve()}",
            markup=False,
        )


@main.command()
@click.option("--as-of", type=DAY, help="The night to run. The default is the last complete UTC day.")
def nightly(as_of: datetime | None) -> None:
    """Read what is new, analyse it, check it and publish.

    Only what the new data touches is recomputed.
    """
    settings = Settings()
    _run(settings, as_of.date() if as_of else settings.resolve_as_of())


@main.command()
@click.option("--from", "first", type=DAY, required=True, help="The first day to recompute.")
@click.option("--to", "last", type=DAY, required=True, help="The last day to recompute. It is the night of the run.")
def backfill(first: datetime, last: datetime) -> None:
    """Recompute the facts of a range of days in one run.

    What is published is as of the last day.
    """
    if first > last:
        raise click.UsageError("--from must not be after --to.")
    _run(Settings(), last.date(), first.date())


@main.command()
def restore() -> None:
    """Put a sound snapshot in place of a damaged publication.

    It is that of the last night if only other published files are damaged, else the newest earlier one that is sound.
    """
    from pipeline.operations import soundness

    night = soundness.restore(Settings())
    if night is None:
        raise DriptuneError("No snapshot is kept that is sound. Run driptune nightly to publish anew.")
    console.print(f"Restored the publication of {night}: its snapshot, its Parquet files and its manifest.")


@main.command()
def repair() -> None:
    """Give up what is damaged, and read it again where it is held.

    What is damaged in lake and working file goes, and the nightly reads again what Mailchimp and the event files still
    hold. Look for a backup first: what they no longer hold is lost.
    """
    from pipeline.operations.soundness import published_night, repair

    settings = Settings()
    told = repair(settings)
    for line in told or ["Nothing is damaged in lake, working file and ledger. Run driptune nightly."]:
        tell(line)
    if told:
        _run(settings, published_night(settings))


@main.command()
@click.argument("address")
def forget(address: str) -> None:
    """Remove a person from everything that driptune keeps.

    ADDRESS is the person's e-mail address. Old snapshots are removed, too, and everything is published anew.
    """
    from pipeline.operations.forgetting import forget_person

    settings = Settings()
    removed, as_of = forget_person(settings, address)
    console.print(f"Removed {counted(removed, 'row', 'rows')} from the lake. Everything is now rebuilt without them.")
    _run(settings, as_of)
    console.print("Delete the person in Mailchimp and in your event files too. driptune does not write there.")


@main.group(cls=Known)
def flows() -> None:
    """Work with the flow map."""


@flows.command("init")
def flows_init() -> None:
    """Write a first flows.yaml for you to edit.

    It describes the account's classic automations.
    """
    from pipeline.config.flow_map import free_place

    settings = Settings()
    path = free_place(settings.definitions)
    from pipeline.operations.first_flow_map import write_first_flow_map

    write_first_flow_map(settings, path)
    console.print(f"Wrote {path}. Read its comments, name your flows, then run driptune nightly.")


OTHER_COMMANDS = (conflicts, apply_command, release_command, rollback, decide, explain, replay, export)
for command in (*state_commands, *serve_commands, *decide_commands, *OTHER_COMMANDS):
    main.add_command(command)


def _print_next_looks(settings: Settings) -> None:
    command = _command()
    looks = {
        f"{settings.reports_dir}/index.html": "the morning: a page per workflow; open it in a browser",
        f"{settings.published_dir}/email_warehouse.duckdb": "every table, for DuckDB or a BI tool",
        f"{settings.published_dir}/parquet/": "the same as Parquet",
        f"{command} pending": f"what waits for a decision; `{command} show ID` gives the evidence",
        f"{command} up": "the Dagster UI: graph, tables, checks, schedule",
    }
    width = max(map(len, looks))
    console.print("\nWhere to look next")
    for where, what in looks.items():
        console.print(f"  {where:<{width}}  {what}", markup=False)


def _command() -> str:
    """How this installation's command is called from here: by its name if the shell finds it, else by its path."""
    executable = Path(sys.executable).with_name("driptune")
    if shutil.which("driptune") == str(executable):
        return "driptune"
    here = Path.cwd()
    return str(executable.relative_to(here) if executable.is_relative_to(here) else executable)


def _run(settings: Settings, as_of: date, first: date | None = None) -> None:
    check_nights(first or as_of, as_of, datetime.now(UTC))
    from pipeline.cli.nightly import run_night
    from pipeline.operations.after_publication import digest_lines, follow_publication
    from pipeline.optimizations.ledger import open_ledger

    with _progress() as progress:
        run_night(settings, as_of, progress, first)
    with open_ledger(settings) as ledger:
        follow_publication(settings, ledger, now=datetime.now(UTC))
        lines = digest_lines(settings, ledger)
    for line in lines:
        tell(line)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """A bar on a terminal, plain lines elsewhere; a step that takes long tells how far it is."""
    if not console.is_terminal:
        with _listening(tell):
            yield lambda step, steps: tell(f"done: {step}")
        return
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=None)
        with _listening(tell):
            yield lambda step, steps: bar.update(task, advance=1, total=steps, description=step)


@contextmanager
def _listening(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell every line of progress while the block runs."""
    handler = logging.Handler()
    handler.emit = lambda record: tell(f"  {record.getMessage()}")  # type: ignore[method-assign]
    PROGRESS.addHandler(handler)
    try:
        yield
    finally:
        PROGRESS.removeHandler(handler)
