"""A ledger, and who looks at it in the inbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.optimizations.ledger import Ledger
from pipeline.serving.inbox.app import PREFIX
from pipeline.serving.inbox.links import Links
from pipeline.serving.inbox.sessions import Sessions
from tests.serving.inbox.browsing import Clock, browser


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(tmp_path: Path, clock: Clock) -> Links:
    return Links(tmp_path / "logins", clock)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def mara(ledger: Ledger, sessions: Sessions, links: Links) -> TestClient:
    client = browser(ledger, sessions, links)
    entered = client.post(f"{PREFIX}/login", data={"token": links.issue("mara")})
    assert entered.status_code == 200
    return client
