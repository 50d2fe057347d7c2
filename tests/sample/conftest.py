import pytest

from pipeline.sample.account.generate import SampleAccount, generate


@pytest.fixture(scope="session")
def account() -> SampleAccount:
    return generate()
