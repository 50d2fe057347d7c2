"""`driptune conflicts`."""

import click

from pipeline.settings import Settings


@click.command()
@click.argument("workflow")
def conflicts(workflow: str) -> None:
    """What WORKFLOW (an id of flows.yaml, or a YAML file with one flow) would have collided with in the past month."""
    from pipeline.operations.proposed_workflow import check_workflow

    for line in check_workflow(Settings(), workflow):
        click.echo(line)
