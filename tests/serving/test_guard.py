"""The guard before the Dagster UI: what a foreign page can forge is refused, what the UI itself sends goes through."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.serving.guard import Guard

HOST = "127.0.0.1:3000"
JSON = {"content-type": "application/json"}


async def page(request) -> PlainTextResponse:
    return PlainTextResponse("served")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("served")
    await websocket.close()


@pytest.fixture
def client() -> TestClient:
    routes = [
        Route("/", page),
        Route("/graphql", page, methods=["GET", "POST"]),
        Route("/upload", page, methods=["POST"]),
        WebSocketRoute("/graphql", socket),
    ]
    return TestClient(Guard(Starlette(routes=routes), frozenset({HOST})), base_url=f"http://{HOST}")


def test_a_page_is_served(client: TestClient) -> None:
    assert client.get("/").text == "served"


def test_no_other_site_can_frame_what_is_served(client: TestClient) -> None:
    assert client.get("/").headers["x-frame-options"] == "SAMEORIGIN"


def test_graphql_is_served_to_the_ui_itself(client: TestClient) -> None:
    assert client.post("/graphql", json={"query": "{version}"}, headers={"origin": f"http://{HOST}"}).text == "served"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/graphql?query=mutation", {}),
        ("GET", "/graphql/?query=mutation", {}),
        ("POST", "/graphql", {"content-type": "text/plain"}),
        ("POST", "/graphql", {"content-type": "application/x-www-form-urlencoded"}),
        ("POST", "/graphql", {**JSON, "origin": "http://evil.example"}),
        ("POST", "/graphql", {**JSON, "origin": "null"}),
        ("POST", "/graphql", {**JSON, "host": "evil.example"}),
        ("GET", "/", {"host": "evil.example:3000"}),
        ("POST", "/upload", {"sec-fetch-site": "cross-site"}),
    ],
)
def test_what_a_foreign_page_could_send_is_refused(client: TestClient, method, path, headers) -> None:
    assert client.request(method, path, headers=headers).status_code == 403


def test_a_websocket_needs_the_uis_own_origin(client: TestClient) -> None:
    with client.websocket_connect("/graphql", headers={"host": HOST, "origin": f"http://{HOST}"}) as connection:
        assert connection.receive_text() == "served"
    for headers in ({"host": HOST}, {"host": HOST, "origin": "http://evil.example"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/graphql", headers=headers):
            pass
