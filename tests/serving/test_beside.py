"""The pages beside another application: theirs are served, the rest is passed on, nothing outside the folder is."""

from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from pipeline.reports.pages import PAGES_PATH as PREFIX
from pipeline.serving.beside import Beside, pages


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("the morning")
    (tmp_path / "ledger.sqlite").write_text("private")
    return TestClient(Beside(PlainTextResponse("the other application"), {PREFIX: pages(tmp_path / "reports")}))


def test_the_pages_are_served_and_the_rest_passed_on(client: TestClient) -> None:
    assert client.get("/reports/").text == client.get("/reports").text == "the morning"
    assert client.get("/reports").url.path == "/reports/"
    for path in ("/", "/graphql", "/reportsandmore"):
        assert client.get(path).text == "the other application"


@pytest.mark.parametrize(
    "path", ["/reports/nothing.html", "/reports/..%2fledger.sqlite", "/reports/%2e%2e/ledger.sqlite"]
)
def test_what_is_not_in_the_folder_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "private" not in answer.text


def test_before_the_first_publication_there_is_no_page(tmp_path: Path) -> None:
    client = TestClient(Beside(PlainTextResponse("the other application"), {PREFIX: pages(tmp_path / "reports")}))
    assert client.get("/").status_code == 200
    assert client.get("/reports/").status_code == 404
