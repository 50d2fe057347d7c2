"""Applications that are served beside the Dagster UI, each below a first part of the path; the pages are one."""

import os
from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
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


class _Pages(StaticFiles):
    """Files whose links to the configured address lead to the server that answers, on whatever port it listens."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(directory=folder, html=True)
        self._linked = f'href="{address.rstrip("/")}/'.encode()

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The file; a page with links of this server."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        if Path(full_path).suffix != ".html" or answer.status_code != status_code:
            return answer
        text = Path(full_path).read_bytes().replace(self._linked, b'href="/')
        return HTMLResponse(text, status_code, {name: answer.headers[name] for name in ("etag", "last-modified")})


def pages(folder: Path, address: str) -> Starlette:
    """The morning's pages below /reports.

    Args:
        folder: where they stand.
        address: the address that their links begin with.
    """
    # Before the first publication the folder does not exist.
    folder.mkdir(parents=True, exist_ok=True)
    return Starlette(routes=[Mount(PAGES_PATH, _Pages(folder, address))])
