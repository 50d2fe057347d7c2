"""Waits that cost no time, for accounts that fail."""

import pytest

from pipeline.mailchimp import client


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.005)
