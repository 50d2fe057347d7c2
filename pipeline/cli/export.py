"""`driptune export`: a table with addresses, for the tools of the sender."""

from datetime import UTC, datetime

import click

from pipeline.cli.decide import ACTOR
from pipeline.cli.output import need_publication
from pipeline.common.errors import SourceError
from pipeline.common.names import with_nearest
from pipeline.common.words import counted
from pipeline.settings import Settings

EXPORTS = {
    "send_times": "send_time_assignments",
    "arms": "experiment_assignments",
    "paths": "path_decisions",
    "content": "content_decisions",
    "stuck": "stuck_subscribers",
    "holdouts": "holdout_members",
}
"""What can be exported, and the published table that it is made of."""


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
    if name not in EXPORTS:
        raise SourceError("NAME", f"{with_nearest(name, EXPORTS)} is no export", f"Known are: {', '.join(EXPORTS)}.")
    settings = Settings()
    need_publication(settings)
    from pipeline.operations.exporting import export as write
    from pipeline.optimizations.ledger import open_ledger

    with open_ledger(settings) as ledger:
        written = write(settings, ledger, name, EXPORTS[name], actor=actor, now=datetime.now(UTC))
    click.echo(f"Wrote {counted(written.rows, 'row', 'rows')} to {written.path}. Only you can read the file.")
    if written.without_address:
        click.echo(f"{counted(written.without_address, 'row has', 'rows have')} no known address and are left out.")
    click.echo(f"The ledger names {actor}. Delete the file when it has served.")
