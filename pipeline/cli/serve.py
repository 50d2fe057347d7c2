"""`driptune up | login | mcp`: what is served to browsers and assistants, and the links into the inbox."""

from collections.abc import Callable
from typing import Any

import click

from pipeline.cli.decide import ACTOR
from pipeline.cli.output import need_publication, tell
from pipeline.common.errors import DriptuneError
from pipeline.settings import Settings


def address(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where `driptune up` listens."""
    port = click.option("--port", default=3000, show_default=True, type=click.IntRange(0, 65535), help="The port.")
    host = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
    return host(port(command))


@click.command()
@address
def up(host: str, port: int) -> None:
    """Serve the Dagster UI, the inbox and the pages.

    The schedule and the sensors run until the command ends.
    """
    settings = Settings()
    from pipeline.serving.listening import listen

    with listen(host, port) as listener:
        tell("Starting the Dagster UI, the inbox and the pages.")
        from pipeline.serving.up import serve

        serve(settings, listener, host, tell)


@click.command()
@ACTOR
@address
def login(actor: str, host: str, port: int) -> None:
    """Print a new link into the inbox.

    It is for the `driptune up` of the same settings, host and port, which may run already. Who is no approver may look.
    """
    settings = Settings()
    from pipeline.config.approvals import APPROVALS_FILE, load_approvals
    from pipeline.reports.pages import INBOX_PATH
    from pipeline.serving.inbox.links import Links, login_lines
    from pipeline.serving.listening import address_here

    policy, inbox = load_approvals(settings.definitions), address_here(host, port) + INBOX_PATH
    file = settings.definitions / APPROVALS_FILE
    for line in login_lines(Links(settings.logins_dir), policy, [actor], inbox, file):
        tell(line)


@click.command("mcp")
def mcp_command() -> None:
    """Let an assistant ask about the published tables.

    It speaks the Model Context Protocol over standard input and output. The assistant reads, and decides nothing.
    """
    settings = Settings()
    need_publication(settings)
    try:
        from pipeline.serving.assistant import build_server
    except ModuleNotFoundError as error:
        if error.name != "mcp":
            raise
        raise DriptuneError(
            "The Python package 'mcp' is not installed. Install it beside driptune: pip install 'mcp>=2,<3'"
        ) from None
    build_server(settings).run("stdio")


serve_commands = (up, login, mcp_command)
