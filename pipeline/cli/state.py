"""`driptune digest | pages | verify | doctor | simulate`: what the last night found, and whether all is well."""

import click

from pipeline.cli.output import AS_JSON, Known, need_publication, print_json, report, tell
from pipeline.settings import Settings


@click.command()
@AS_JSON
def digest(as_json: bool) -> None:
    """Print the digest of the last night in about ten lines."""
    settings = Settings()
    need_publication(settings)
    from pipeline.operations.after_publication import digest_lines
    from pipeline.optimizations.ledger import open_ledger

    with open_ledger(settings) as ledger:
        lines = digest_lines(settings, ledger)
    if as_json:
        print_json([line.strip() for line in lines])
        return
    for line in lines:
        tell(line)


@click.command()
def pages() -> None:
    """Write the pages anew.

    They then show what was decided since the last night.
    """
    settings = Settings()
    need_publication(settings)
    from pipeline.operations.after_publication import write_all_pages
    from pipeline.optimizations.ledger import open_ledger

    with open_ledger(settings) as ledger:
        written = write_all_pages(settings, ledger)
    tell(f"Wrote {len(written)} pages; open {settings.reports_dir}/index.html.")


@click.command()
@AS_JSON
def verify(as_json: bool) -> None:
    """Check lake, publication and ledger for damage.

    The key and the working file are checked, too. The published counts are compared with Mailchimp's.
    """
    settings = Settings()
    from pipeline.operations.health import verification

    report(verification(settings), as_json)


@click.command()
@AS_JSON
def doctor(as_json: bool) -> None:
    """Check versions, disk, definitions and access to Mailchimp."""
    settings = Settings()
    from pipeline.operations.health import diagnosis

    report(diagnosis(settings, lambda line: click.echo(line, err=True)), as_json)


@click.group(cls=Known)
def simulate() -> None:
    """Try the methods on your own data."""


@simulate.command("anomalies")
def simulate_anomalies() -> None:
    """Try the anomaly detector on your history.

    It tells how many alerts would have been false, and how soon planted incidents would have been found.
    """
    settings = Settings()
    need_publication(settings)
    from pipeline.published.reader import read_publication
    from pipeline.reports.anomaly_trial import trial_lines

    for line in trial_lines(read_publication(settings.published_dir), settings.holidays):
        tell(line)


@simulate.command("decisions")
@click.option(
    "--subscribers",
    type=click.IntRange(min=1),
    default=1_000,
    show_default=True,
    help="The number of people at each decision point.",
)
def simulate_decisions(subscribers: int) -> None:
    """Compare answers for single people with the night.

    `driptune decide` is asked for many people at each decision point, and must say what the night said.
    """
    settings = Settings()
    need_publication(settings)
    from pipeline.operations.one_subscriber import check_decisions

    report(list(check_decisions(settings, subscribers)))


state_commands = (digest, pages, verify, doctor, simulate)
