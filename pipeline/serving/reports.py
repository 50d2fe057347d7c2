"""The pages of the morning under /reports, beside whatever else is served."""

from pathlib import Path

from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/reports"


class Reports:
    """ASGI middleware that answers /reports with the files of a folder and passes on the rest."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app = app
        # The folder is replaced as a whole and may not be there before the first publication.
        self._files = StaticFiles(directory=folder, html=True, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page, or pass the request on."""
        path = scope.get("path", "")
        if scope["type"] == "http" and (path == PREFIX or path.startswith(f"{PREFIX}/")):
            within = {**scope, "path": path.removeprefix(PREFIX) or "/", "root_path": ""}
            await self._files(within, receive, send)
        else:
            await self._app(scope, receive, send)
