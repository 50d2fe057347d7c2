"""Where things stand by default: a real account never among the sample's data and definitions."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config.flow_map import load_flow_map
from pipeline.settings import SAMPLE_DEFINITIONS, Settings


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAILCHIMP_API_KEY", "DRIPTUNE_MAILCHIMP_URL", "DRIPTUNE_DATA_DIR", "DRIPTUNE_DEFINITIONS"):
        monkeypatch.delenv(name, raising=False)


def places(**given: str) -> tuple[str, str]:
    settings = Settings(_env_file=None, **given)
    return settings.data_dir.as_posix(), settings.definitions.as_posix()


def test_the_sample_and_an_account_share_neither_data_nor_approvers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places() == ("data", SAMPLE_DEFINITIONS.as_posix())
    assert places(mailchimp_url="https://us1.api.mailchimp.com/3.0") == ("data/account", "data/account/definitions")
    monkeypatch.setenv("MAILCHIMP_API_KEY", "abc-us1")
    assert places() == ("data/account", "data/account/definitions")


def test_definitions_stand_in_the_data_folder_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(tmp_path))
    assert places() == (tmp_path.as_posix(), SAMPLE_DEFINITIONS.as_posix())
    monkeypatch.setenv("MAILCHIMP_API_KEY", "abc-us1")
    assert places() == (tmp_path.as_posix(), f"{tmp_path.as_posix()}/definitions")
    monkeypatch.setenv("DRIPTUNE_DEFINITIONS", "mine")
    assert places() == (tmp_path.as_posix(), "mine")


def test_the_samples_definitions_are_found_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_flow_map(Settings().definitions).flows


def test_the_sample_takes_no_setting_of_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("MAILCHIMP_API_KEY=abc-us1\nDRIPTUNE_DEFINITIONS=mine\n")
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", "an-accounts")
    monkeypatch.setenv("DRIPTUNE_LEDGER_URL", "postgresql://an.accounts.host/ledger")
    assert not Settings().is_sample
    sample = Settings.sample()
    assert sample.is_sample
    assert (sample.data_dir, sample.definitions) == (Path("data"), SAMPLE_DEFINITIONS)
    assert sample.ledger_address == f"sqlite:///{tmp_path}/data/ledger/ledger.sqlite"


@pytest.mark.parametrize("name", ["what?", "per%41cent"])
def test_a_folder_that_no_database_can_be_in_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="which databases cannot have in a path"):
        Settings(data_dir=tmp_path / name, _env_file=None)  # type: ignore[call-arg]


@pytest.mark.parametrize("engine", ["spark", "sc://", "http://host:15002", ""])
def test_an_engine_that_is_none_is_refused_in_words(engine: str) -> None:
    with pytest.raises(ValidationError, match="Write 'duckdb', or the address of a cluster"):
        Settings(engine=engine, _env_file=None)  # type: ignore[arg-type, call-arg]


def test_the_token_in_a_clusters_address_is_not_printed() -> None:
    settings = Settings(engine="sc://host:15002/;token=hush", _env_file=None)  # type: ignore[arg-type, call-arg]
    assert settings.cluster_address == "sc://host:15002/;token=hush"
    assert "hush" not in repr(settings)
    assert Settings(_env_file=None).cluster_address is None  # type: ignore[call-arg]
