"""What is served beside the Dagster UI, by the start of the path: the morning's pages, and other applications."""

from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.reports.pages import PAGES_PATH


class Beside:
    """ASGI middleware that hands a path to the application that its first part names, and passes on the rest."""

    def __init__(self, app: ASGIApp, beside: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._beside = beside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve from beside, or pass the request on."""
        first = "/" + scope.get("path", "").lstrip("/").partition("/")[0]
        app = self._beside.get(first, self._app) if scope["type"] == "http" else self._app
        await app(scope, receive, send)


def pages(folder: Path) -> Starlette:
    """The morning's pages under /reports."""
    # Before the first publication there is no folder.
    folder.mkdir(parents=True, exist_ok=True)
    return Starlette(routes=[Mount(PAGES_PATH, StaticFiles(directory=folder, html=True))])
