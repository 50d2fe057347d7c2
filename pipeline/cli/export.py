"""`driptune export`: a table with addresses, for the tools of the sender."""

from datetime import UTC, datetime

import click

from pipeline.cli.decide import ACTOR
from pipeline.cli.output import need_publication
from pipeline.common.words import counted
from pipeline.settings import Settings


@click.command()
@click.argument("name")
@click.option("--with-addresses", is_flag=True, help="Confirm that the file is to hold addresses of people.")
@ACTOR
def export(name: str, with_addresses: bool, actor: str) -> None:
    """Write a table with addresses to a private file.

    NAME is send_times, arms, paths, content, stuck or holdouts. The ledger notes who asked and when. `driptune forget`
    deletes all such files.
    """
    if not with_addresses:
        raise click.UsageError(
            "An export holds addresses: confirm it with --with-addresses. Without addresses the table stands in "
            "published/parquet."
        )
    settings = Settings()
    need_publication(settings)
    from pipeline.operations.exporting import export as write
    from pipeline.optimizations.ledger import open_ledger

    with open_ledger(settings) as ledger:
        written = write(settings, ledger, name, actor=actor, now=datetime.now(UTC))
    click.echo(f"Wrote {counted(written.rows, 'row', 'rows')} to {written.path}. Only you can read the file.")
    if written.without_address:
        click.echo(f"{counted(written.without_address, 'row has', 'rows have')} no known address and are left out.")
    click.echo(f"The ledger names {actor}. Delete the file when it has served.")
