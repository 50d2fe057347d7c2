"""The pages beside another application: theirs are served, the rest is passed on, nothing outside the folder is."""

from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from pipeline.reports.pages import PAGES_PATH as PREFIX
from pipeline.serving.beside import Beside, pages
from tests.worlds.published import ADDRESS


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("the morning")
    (tmp_path / "ledger.sqlite").write_text("private")
    beside = {PREFIX: pages(tmp_path / "reports", ADDRESS)}
    return TestClient(Beside(PlainTextResponse("the other application"), beside))


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
    beside = {PREFIX: pages(tmp_path / "reports", ADDRESS)}
    client = TestClient(Beside(PlainTextResponse("the other application"), beside))
    assert client.get("/").status_code == 200
    assert client.get("/reports/").status_code == 404


def test_links_to_the_configured_address_lead_to_the_server_that_answers(client: TestClient, tmp_path: Path) -> None:
    page = tmp_path / "reports" / "flow.html"
    page.write_text(f'<a href="{ADDRESS}/inbox/1">Decide</a> {ADDRESS}/inbox/ <a href="{ADDRESS}1/">Elsewhere</a>')
    answer = client.get("/reports/flow.html")
    assert answer.text == f'<a href="/inbox/1">Decide</a> {ADDRESS}/inbox/ <a href="{ADDRESS}1/">Elsewhere</a>'
    kept = client.get("/reports/flow.html", headers={"If-None-Match": answer.headers["etag"]})
    assert (kept.status_code, kept.text) == (304, "")
