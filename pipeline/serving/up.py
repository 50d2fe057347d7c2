"""Starts what `driptune up` serves: the daemon as a child process and the guarded UI in this one."""

import os
import subprocess
import sys
from pathlib import Path

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context

from pipeline.instance import open_instance
from pipeline.serving.guard import Guard
from pipeline.serving.reports import Reports
from pipeline.settings import PROJECT_ROOT, Settings

WORKSPACE_FILE = PROJECT_ROOT / "workspace.yaml"


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve the UI on loopback until interrupted; the daemon ends with it."""
    instance = open_instance(settings.dagster_home)
    daemon = _start_daemon(settings.dagster_home)
    try:
        with WorkspaceProcessContext(
            instance, workspace_load_target=WorkspaceFileTarget([str(WORKSPACE_FILE)])
        ) as workspace:
            app = create_app_from_workspace_process_context(workspace)
            guarded = Guard(
                Reports(app, settings.reports_dir),
                frozenset({f"{host}:{port}", f"localhost:{port}", f"127.0.0.1:{port}"}),
            )
            uvicorn.run(guarded, host=host, port=port, log_level="warning")
    finally:
        daemon.terminate()
        daemon.wait()


def _start_daemon(home: Path) -> subprocess.Popen[bytes]:
    executable = str(Path(sys.executable).with_name("dagster-daemon"))
    command = [executable, "run", "--workspace", str(WORKSPACE_FILE), "--log-level", "warning"]
    return subprocess.Popen(command, env={**os.environ, "DAGSTER_HOME": str(home.resolve())})
