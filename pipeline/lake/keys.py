"""Keyed hashes that stand for people and IP addresses everywhere, except in the private table of addresses.

Without the secret nobody can turn a key back into an address, or test whether a guessed address belongs to a key.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import overload

import polars as pl

from pipeline.common.errors import DriptuneError
from pipeline.common.files import TEMPORARY_SUFFIX, sync
from pipeline.lake.inventory import KEY_NOTE, Inventory
from pipeline.settings import Settings

SAMPLE_SECRET = b"driptune sample account"  # It is fixed, so that the keys in the sample's truth file never change.
SECRET_BYTES = 32


class KeyDamageError(DriptuneError):
    """The secret is lost, cut, or not the one by which the people in the lake and in the ledger are known."""

    def __init__(self, what: str, data_dir: Path) -> None:
        super().__init__(
            f"secret.key in {data_dir} {what}. By it people are recognised, so nothing was read or written. Put the "
            "file back from a backup. If there is none, nobody in the lake and in the ledger can be recognised again: "
            f"move everything but the definitions out of {data_dir}, name an empty database if you use "
            "DRIPTUNE_LEDGER_URL, and run driptune nightly to begin anew."
        )


class SubscriberKeys:
    """HMAC-SHA256 cut to 63 bits, so that it is positive and fits into the BIGINT of any engine. Null stays null."""

    def __init__(self, secret: bytes, persons: Mapping[int, int] = MappingProxyType({})) -> None:
        self._secret = secret
        self._persons = persons

    def known_as(self, renamed: pl.DataFrame) -> "SubscriberKeys":
        """These keys, with the people in `lake.renamed` under the key by which they have always been known."""
        persons = dict(renamed.select("address_key", "subscriber_key").iter_rows())
        return SubscriberKeys(self._secret, persons)

    @overload
    def of_member_id(self, value: str) -> int: ...
    @overload
    def of_member_id(self, value: pl.Series) -> pl.Series: ...
    def of_member_id(self, value: str | pl.Series) -> int | pl.Series:
        """The subscriber key of a Mailchimp member id (32 hex digits, in either case)."""
        return _apply(value, self._of_member_id)

    @overload
    def of_address(self, value: str) -> int: ...
    @overload
    def of_address(self, value: pl.Series) -> pl.Series: ...
    def of_address(self, value: str | pl.Series) -> int | pl.Series:
        """The subscriber key of an e-mail address, which is that of its member id."""
        return _apply(value, lambda address: self._of_member_id(member_id(address)))

    @overload
    def of_ip(self, value: str) -> int: ...
    @overload
    def of_ip(self, value: pl.Series) -> pl.Series: ...
    def of_ip(self, value: str | pl.Series) -> int | pl.Series:
        """The key of an IP address."""
        return _apply(value, lambda address: self._hash("ip", address.strip().lower()))

    def of_contact(self, value: pl.Series) -> pl.Series:
        """Key of a contact id, which stays when the address changes."""
        return _apply(value, lambda contact: self._hash("contact", contact))

    def _of_member_id(self, value: str) -> int:
        key = self._hash("member", value.lower())
        return self._persons.get(key, key)

    def _hash(self, domain: str, value: str) -> int:
        digest = hmac.digest(self._secret, f"{domain}:{value}".encode("utf-8", "surrogatepass"), "sha256")
        return int.from_bytes(digest[:8], "big") >> 1


def member_id(address: str) -> str:
    """Mailchimp's member id of an address: the MD5 of the lower-cased address."""
    return hashlib.md5(address.strip().lower().encode(), usedforsecurity=False).hexdigest()


def load_keys(settings: Settings, ledgers: str | None = None) -> SubscriberKeys:
    """The keys of this installation. The keys of the sample account are the same in every installation.

    Args:
        settings: say where the secret is.
        ledgers: the fingerprint of the secret that the ledger knows, if it knows one.

    Raises:
        KeyDamageError: if the secret is not the one that the people in the lake are known by.
    """
    return SubscriberKeys(SAMPLE_SECRET if settings.is_sample else load_secret(settings, ledgers))


def load_secret(settings: Settings, ledgers: str | None = None) -> bytes:
    """The secret in `secret.key` (mode 0600), drawn once. If two processes draw one, both get the first.

    Its fingerprint is noted beside the lake. From then on another secret, or none, is refused.

    Raises:
        KeyDamageError: as `load_keys`.
    """
    path, inventory = settings.data_dir / "secret.key", Inventory(settings.lake_dir)
    known = {one for one in (inventory.noted(KEY_NOTE).get("fingerprint"), ledgers) if one}
    if not path.exists():
        if known or any(settings.lake_dir.glob("*/day=*")):
            raise KeyDamageError("is missing", settings.data_dir)
        _draw(path)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise KeyDamageError(f"has {len(secret)} bytes instead of {SECRET_BYTES}", settings.data_dir)
    if known - {fingerprint(secret)}:
        raise KeyDamageError("is another one than before", settings.data_dir)
    if not inventory.noted(KEY_NOTE):
        inventory.note(KEY_NOTE, {"fingerprint": fingerprint(secret)})
    return secret


def fingerprint(secret: bytes) -> str:
    """What tells one secret from another, and does not tell the secret."""
    return hmac.new(secret, b"fingerprint", "sha256").hexdigest()


def _draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = path.parent / f".secret.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    with os.fdopen(os.open(drawn, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(drawn, path)
    except FileExistsError:
        pass
    finally:
        drawn.unlink()
    sync(path.parent)


@overload
def _apply(value: str, of_one: Callable[[str], int]) -> int: ...
@overload
def _apply(value: pl.Series, of_one: Callable[[str], int]) -> pl.Series: ...
def _apply(value: str | pl.Series, of_one: Callable[[str], int]) -> int | pl.Series:
    if isinstance(value, str):
        return of_one(value)
    distinct = value.drop_nulls().unique()
    keys = pl.Series([of_one(one) for one in distinct.to_list()], dtype=pl.Int64)
    return value.replace_strict(distinct, keys, default=None, return_dtype=pl.Int64)
