"""`driptune conflicts`: what a workflow would have run into."""

import click

from pipeline.cli.output import need_publication
from pipeline.settings import Settings


@click.command()
@click.argument("workflow")
@click.option("--subscriber", help="Ask for one person only: an address, a member id or a subscriber_key.")
def conflicts(workflow: str, subscriber: str | None) -> None:
    """Show what WORKFLOW would have collided with lately.

    WORKFLOW is an id of flows.yaml, or a YAML file with one flow. It is tried on the past 30 days. With --subscriber
    the command tells what would collide if that person entered it tonight.
    """
    settings = Settings()
    need_publication(settings)
    from pipeline.config.flow_map import find_flow

    flow = find_flow(settings.definitions, workflow)
    from pipeline.operations.one_subscriber import LastNight
    from pipeline.operations.proposed_workflow import check_for_subscriber, check_workflow

    if subscriber is None:
        lines = check_workflow(settings, flow)
    else:
        lines = check_for_subscriber(settings, flow, LastNight(settings).find(subscriber).subscriber_key)
    for line in lines:
        click.echo(line)
