"""`driptune release`: people are let into flows at the moment that was decided for them."""

import click

from pipeline.cli.output import tell
from pipeline.settings import Settings


@click.command("release")
@click.option("--dry-run", is_flag=True, help="Say who would be let in within 24 hours, by hour, and let nobody in.")
@click.option("--stop", "is_stop", is_flag=True, help="Let nobody in until --go.")
@click.option("--go", "is_go", is_flag=True, help="Let people in again after --stop.")
def release_command(dry_run: bool, is_stop: bool, is_go: bool) -> None:
    """Let everybody in who is due now, under the releases in effect.

    `driptune up` does this every ten minutes. Nobody is let in twice.
    """
    if dry_run + is_stop + is_go > 1:
        raise click.UsageError("--dry-run, --stop and --go exclude each other.")
    settings = Settings()
    from pipeline.operations import releasing
    from pipeline.optimizations.ledger import open_ledger

    if is_stop:
        releasing.stop(settings)
        tell("Releases are stopped. Nobody is let in until driptune release --go.")
    elif is_go:
        releasing.go(settings)
        tell("Releases go on with the next look.")
    else:
        with open_ledger(settings) as ledger:
            act = releasing.expected_releases if dry_run else releasing.release_due
            act(settings, ledger, tell)
