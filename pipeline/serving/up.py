"""Starts what `driptune up` serves: the daemon in a child process, and the guarded UI in this process."""

import getpass
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context

from pipeline.config.approvals import APPROVALS_FILE, load_approvals
from pipeline.operations.applying import dry_run, take_back
from pipeline.optimizations.ledger import open_ledger
from pipeline.orchestration.instance import open_instance
from pipeline.orchestration.schedules import next_nightly
from pipeline.orchestration.sensors import SECONDS_BETWEEN_LOOKS
from pipeline.published.reader import published_table
from pipeline.reports.pages import PAGES_PATH
from pipeline.schemas.loop import RealisedLift
from pipeline.serving.beside import Beside, pages
from pipeline.serving.guard import Guard
from pipeline.serving.inbox.app import PREFIX, Inbox
from pipeline.serving.inbox.links import Links, login_lines
from pipeline.serving.inbox.next_steps import Timetable
from pipeline.serving.inbox.sessions import Sessions
from pipeline.serving.listening import address_here
from pipeline.settings import WORKSPACE_FILE, Settings

OF_NO_CONCERN = ("No cursor for event type", "No heartbeat received in", "every_ten_minutes has no partition set")
"""What Dagster warns of in its ordinary course: its first start in a home, every minute the end of a code server that
it has replaced, and at a later start the looks at releases that were not made meanwhile. Below the links these lines
would bury what is worth reading."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service manager, and a terminal that is closed."""
SECONDS_TO_ANSWER = 10
"""How long requests that are being answered may take until the server ends all the same."""


def serve(settings: Settings, listener: socket.socket, host: str, tell: Callable[[str], None]) -> None:
    """Serve UI, inbox and pages until interrupted; the daemon ends with them.

    Args:
        settings: say where everything is.
        listener: holds the port.
        host: the host by which browsers call this machine.
        tell: is called with each line for the person at the terminal, once browsers are answered. The last lines are
            the links by which people enter the inbox.
    """
    port = listener.getsockname()[1]
    instance = open_instance(settings.dagster_home)
    target = WorkspaceFileTarget([str(WORKSPACE_FILE)])
    with (
        _daemon(settings.dagster_home),
        WorkspaceProcessContext(instance, target, code_server_log_level="warning") as workspace,
        open_ledger(settings) as ledger,
    ):
        app = create_app_from_workspace_process_context(workspace)
        links = Links(settings.logins_dir)
        inbox = Inbox(
            ledger,
            lambda: load_approvals(settings.definitions),
            Sessions(),
            links,
            lambda: published_table(settings.published_dir, RealisedLift),
            lambda optimization_id: dry_run(settings, ledger, optimization_id),
            lambda seen, actor, reason: take_back(
                settings, ledger, seen, actor=actor, reason=reason, now=datetime.now(UTC)
            ),
            Timetable(SECONDS_BETWEEN_LOOKS, lambda now: next_nightly(settings, now)),
        )
        beside = {PREFIX: inbox.app(), PAGES_PATH: pages(settings.reports_dir, settings.address)}
        hosts = frozenset({f"{host}:{port}", f"localhost:{port}", f"127.0.0.1:{port}"})
        guarded = Guard(Beside(app, beside), hosts)
        config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=SECONDS_TO_ANSWER)
        _Server(config, lambda: _welcome(settings, links, address_here(host, port), tell)).run([listener])


class _Server(uvicorn.Server):
    """A server that says when browsers are answered: what a person is to open stands last in the terminal.

    To be interrupted is its ordinary end, so nothing is told of it.
    """

    def __init__(self, config: uvicorn.Config, welcome: Callable[[], None]) -> None:
        super().__init__(config)
        self._welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _let_signals(self.handle_exit)
        self._welcome()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server. By itself uvicorn would raise the signal again afterwards, as if it had cut the command."""
        self.should_exit = True


def _welcome(settings: Settings, links: Links, address: str, tell: Callable[[str], None]) -> None:
    tell(f"The Dagster UI is on {address}, the pages are on {address}{PAGES_PATH}/. Ctrl-C ends both.")
    policy, inbox = load_approvals(settings.definitions), f"{address}{PREFIX}"
    links.clear()
    if policy.trusted_proxy_header:
        tell(f"The inbox is on {inbox}/. Who asks is told by the header {policy.trusted_proxy_header} of your proxy.")
        return
    names = [one.name for one in policy.approvers] or [getpass.getuser()]
    for line in login_lines(links, policy, names, inbox, settings.definitions / APPROVALS_FILE):
        tell(line)


@contextmanager
def _daemon(home: Path) -> Iterator[None]:
    """Dagster's daemon until the block ends, also when a signal ends the block."""
    _let_signals(lambda number, frame: sys.exit(0))
    executable = str(Path(sys.executable).with_name("dagster-daemon"))
    command = [executable, "run", "--workspace", str(WORKSPACE_FILE), "--log-level", "warning"]
    daemon = subprocess.Popen(
        command,
        env={**os.environ, "DAGSTER_HOME": str(home.resolve())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # In a session of its own Ctrl-C does not reach it, of which it would write a traceback while it starts.
        start_new_session=True,
    )
    assert daemon.stdout is not None
    threading.Thread(target=_pass_on, args=(daemon.stdout,), daemon=True).start()
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def _let_signals(end: Callable[[int, FrameType | None], None]) -> None:
    """Let the signals of an ordinary end call this. One that was to be ignored, as with nohup, is ignored on."""
    for one in ENDING:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, end)


def _pass_on(said: IO[str]) -> None:
    """Write what the daemon and its code servers say to the terminal, without what concerns nobody."""
    for line in said:
        if not any(words in line for words in OF_NO_CONCERN):
            sys.stderr.write(line)
            sys.stderr.flush()
