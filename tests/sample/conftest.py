import pytest

from pipeline.sample.account.generate import SampleAccount, generate


@pytest.fixture(scope="module")
def account(few_people: None) -> SampleAccount:
    return generate()
