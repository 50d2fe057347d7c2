"""Applications that are served beside the Dagster UI, each below a first part of the path; the pages are one."""

from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.reports.pages import PAGES_PATH


class Beside:
    """ASGI middleware that hands a request to the application named by the first part of its path, or passes it on."""

    def __init__(self, app: ASGIApp, beside: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._beside = beside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the application beside, or pass it on."""
        first = "/" + scope.get("path", "").lstrip("/").partition("/")[0]
        app = self._beside.get(first, self._app) if scope["type"] == "http" else self._app
        await app(scope, receive, send)


def pages(folder: Path) -> Starlette:
    """The morning's pages below /reports."""
    # Before the first publication the folder does not exist.
    folder.mkdir(parents=True, exist_ok=True)
    return Starlette(routes=[Mount(PAGES_PATH, StaticFiles(directory=folder, html=True))])
