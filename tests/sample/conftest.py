import pytest

from pipeline.sample.account import SampleAccount, generate


@pytest.fixture(scope="session")
def account() -> SampleAccount:
    return generate()
