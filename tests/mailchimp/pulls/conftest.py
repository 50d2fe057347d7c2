"""An empty account for the tests of the pulls, which fill it as they need."""

import pytest

from tests.mailchimp.fake_account import FakeAccount


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()
