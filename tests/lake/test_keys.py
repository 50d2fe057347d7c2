"""The secret is drawn once. From the first night on a lost, cut or exchanged one is refused before anything is read."""

from pathlib import Path

import pytest

from pipeline.lake.keys import KeyDamageError, fingerprint, load_keys, load_secret
from pipeline.settings import Settings

ADDRESS = "ann@example.com"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", MAILCHIMP_API_KEY="key-us1", _env_file=None)  # type: ignore[call-arg]


def test_the_secret_is_drawn_once_and_private(settings: Settings, tmp_path: Path) -> None:
    first = load_secret(settings)
    assert load_secret(settings) == first
    assert load_secret(settings.model_copy(update={"data_dir": tmp_path / "other"})) != first
    [key] = settings.data_dir.glob("*.key")
    assert (key.name, key.stat().st_mode & 0o777) == ("secret.key", 0o600)
    assert not list(settings.data_dir.glob(".secret*"))


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (None, "is missing"),
        (b"", "has 0 bytes instead of 32"),
        (b"x" * 31, "has 31 bytes instead of 32"),
        (b"x" * 32, "is another one than before"),
    ],
)
def test_another_secret_is_refused_and_none_is_drawn(settings: Settings, secret: bytes | None, words: str) -> None:
    known = load_keys(settings).of_address(ADDRESS)
    key = settings.data_dir / "secret.key"
    whole = key.read_bytes()
    key.unlink() if secret is None else key.write_bytes(secret)
    with pytest.raises(KeyDamageError, match=words):
        load_keys(settings)
    assert key.exists() == (secret is not None)
    key.write_bytes(whole)
    assert load_keys(settings).of_address(ADDRESS) == known


def test_the_ledger_knows_the_secret_where_lake_and_inventory_are_lost(settings: Settings) -> None:
    known = fingerprint(load_secret(settings))
    for file in (settings.data_dir / "lake_inventory").iterdir():
        file.unlink()
    (settings.data_dir / "secret.key").unlink()
    with pytest.raises(KeyDamageError, match="is missing"):
        load_keys(settings, known)


def test_a_lake_of_an_older_release_has_had_a_secret(settings: Settings) -> None:
    (settings.lake_dir / "sends" / "day=2026-03-01").mkdir(parents=True)
    with pytest.raises(KeyDamageError, match="is missing"):
        load_keys(settings)


def test_the_fingerprint_does_not_tell_the_secret(settings: Settings) -> None:
    secret = load_secret(settings)
    note = settings.data_dir / "lake_inventory" / "secret_key.json"
    assert secret.hex() not in note.read_text()
    assert fingerprint(secret) in note.read_text()
