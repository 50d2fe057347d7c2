"""The pages of the morning under /reports, beside whatever else is served."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/reports"


class Reports:
    """ASGI middleware that answers /reports with the files of a folder and passes on the rest."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app = app
        # Before the first publication there is none.
        folder.mkdir(parents=True, exist_ok=True)
        self._pages = Starlette(routes=[Mount(PREFIX, StaticFiles(directory=folder, html=True))])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page, or pass the request on."""
        path = scope.get("path", "")
        is_page = scope["type"] == "http" and (path == PREFIX or path.startswith(f"{PREFIX}/"))
        await (self._pages if is_page else self._app)(scope, receive, send)
