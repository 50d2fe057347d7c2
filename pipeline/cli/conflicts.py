"""`driptune conflicts`: what a workflow would have run into."""

import click

from pipeline.settings import Settings


@click.command()
@click.argument("workflow")
def conflicts(workflow: str) -> None:
    """Show what WORKFLOW would have collided with lately.

    WORKFLOW is an id of flows.yaml, or a YAML file with one flow. It is tried on the past 30 days.
    """
    from pipeline.operations.proposed_workflow import check_workflow

    for line in check_workflow(Settings(), workflow):
        click.echo(line)
