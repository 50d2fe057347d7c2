"""Starts what `driptune up` serves: the daemon in a child process, and the guarded UI in this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context

from pipeline.config.approvals import load_approvals
from pipeline.operations.applying import dry_run
from pipeline.optimizations.ledger import open_ledger
from pipeline.orchestration.instance import open_instance
from pipeline.published.reader import published_table
from pipeline.reports.pages import PAGES_PATH
from pipeline.schemas.loop import RealisedLift
from pipeline.serving.beside import Beside, pages
from pipeline.serving.guard import Guard
from pipeline.serving.inbox.app import PREFIX, Inbox
from pipeline.serving.inbox.sessions import Sessions
from pipeline.settings import WORKSPACE_FILE, Settings


def serve(settings: Settings, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve UI, inbox and pages until interrupted; the daemon ends with them.

    `tell` is called with each line for the person at the terminal: the links by which approvers enter the inbox.
    """
    instance = open_instance(settings.dagster_home)
    target = WorkspaceFileTarget([str(WORKSPACE_FILE)])
    with (
        _daemon(settings.dagster_home),
        WorkspaceProcessContext(instance, workspace_load_target=target) as workspace,
        open_ledger(settings) as ledger,
    ):
        app = create_app_from_workspace_process_context(workspace)
        sessions = Sessions()
        inbox = Inbox(
            ledger,
            lambda: load_approvals(settings.definitions),
            sessions,
            lambda: published_table(settings.published_dir, RealisedLift),
            lambda optimization_id: dry_run(settings, ledger, optimization_id),
        )
        for approver in load_approvals(settings.definitions).approvers:
            token = sessions.link_token(approver.name)
            tell(f"Inbox for {approver.name}, once: {address_here(host, port)}{PREFIX}/login?token={token}")
        beside = {PREFIX: inbox.app(), PAGES_PATH: pages(settings.reports_dir)}
        hosts = frozenset({f"{host}:{port}", f"localhost:{port}", f"127.0.0.1:{port}"})
        uvicorn.run(Guard(Beside(app, beside), hosts), host=host, port=port, log_level="warning")


def address_here(host: str, port: int) -> str:
    """Where a browser on this host reaches what is served; 0.0.0.0 stands for every address, and is none itself."""
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"


@contextmanager
def _daemon(home: Path) -> Iterator[None]:
    """Dagster's daemon until the block ends, also when a service manager ends the block."""
    # At its end uvicorn raises the signal again, which by default would end this process before it ends the daemon.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    executable = str(Path(sys.executable).with_name("dagster-daemon"))
    command = [executable, "run", "--workspace", str(WORKSPACE_FILE), "--log-level", "warning"]
    daemon = subprocess.Popen(command, env={**os.environ, "DAGSTER_HOME": str(home.resolve())})
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait()
