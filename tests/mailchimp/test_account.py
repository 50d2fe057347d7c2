"""Writing to the stand-in server over HTTP, every request held against the contract, and seen by the next server."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.changes import Change
from pipeline.optimizations.journal import WRITTEN
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.world import CART
from pipeline.sample.server.process import serve
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.mailchimp.contract import CONTRACT, ContractAdapter

PEOPLE = range(500, 530)


@pytest.fixture(scope="module")
def sample() -> SampleAccount:
    return generate()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample") / "writes.ndjson"


def account_at(url: str, sample: SampleAccount) -> MailchimpAccount:
    adapter = ContractAdapter() if CONTRACT.exists() else None
    client = MailchimpClient(url, "sample-us1", settings=Settings(_env_file=None), adapter=adapter)
    keys, members = list(PEOPLE), [str(sample.people.member_id[one]) for one in PEOPLE]
    return MailchimpAccount(client, pl.DataFrame({"subscriber_key": keys, "member_id": members}))


@pytest.fixture(scope="module")
def account(sample: SampleAccount, log: Path) -> Iterator[MailchimpAccount]:
    with serve(sample, SAMPLE_TONIGHT, log=log) as url:
        yield account_at(url, sample)


def test_a_field_is_made_and_written_and_the_next_server_knows(
    account: MailchimpAccount, sample: SampleAccount, log: Path
) -> None:
    before = account.members("SENDHOUR")
    assert before["current"].null_count() == before.height > 10
    account.ensure_field("SENDHOUR")
    account.ensure_field("SENDHOUR")
    changes = [Change(str(key), "SENDHOUR", "", str(key % 24)) for key in before["subscriber_key"]]
    assert set(account.write_members(changes)) == {WRITTEN}
    wanted = {key: str(key % 24) for key in before["subscriber_key"]}
    assert dict(account.members("SENDHOUR").iter_rows()) == wanted
    with serve(sample, SAMPLE_TONIGHT, log=log) as url:
        assert dict(account_at(url, sample).members("SENDHOUR").iter_rows()) == wanted


def test_an_email_is_paused_started_and_delayed(account: MailchimpAccount) -> None:
    workflow, email = CART.workflow_id, CART.steps[0].step_id
    for status in ("paused", "sending"):
        account.write_email(workflow, Change(email, "status", "", status))
        assert account.email(workflow, email)["status"] == status
    delay = '{"action":"ecomm_abandoned_cart","amount":6,"direction":"after","type":"hour"}'
    account.write_email(workflow, Change(email, "delay", "", delay))
    assert account.email(workflow, email)["delay"]["amount"] == 6


def test_somebody_who_is_gone_is_refused_alone(account: MailchimpAccount) -> None:
    known = account.members("SENDHOUR")["subscriber_key"].to_list()
    gone = Change("999999", "SENDHOUR", "", "7")
    outcomes = account.write_members([Change(str(known[0]), "SENDHOUR", "", "8"), gone])
    assert outcomes == [WRITTEN, "refused: no longer a member who gets mail"]
