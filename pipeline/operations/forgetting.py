"""Forgetting a person: they are removed from the lake, the journal of writes, and everything that is made of these.

No byte that driptune wrote names the person afterwards. What a cut run leaves is finished by the next one, or by the
next nightly: a mark with the person's keys stands until all is done.
"""

import shutil
from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipeline.common.errors import DriptuneError
from pipeline.common.files import read_state, sync, write_state
from pipeline.common.lock import DEFAULT_WAIT_SECONDS, exclusive
from pipeline.lake.keys import member_id
from pipeline.lake.store import Lake
from pipeline.operations.soundness import published_night, sound_keys, sound_lake
from pipeline.optimizations.ledger import open_ledger
from pipeline.settings import Settings


class UnknownPersonError(DriptuneError):
    """Nobody with this address is kept."""


def forget_person(settings: Settings, address: str) -> tuple[int, date]:
    """Remove a person from everything this installation keeps.

    Args:
        settings: say where everything is.
        address: the person's e-mail address.

    Returns:
        The number of rows removed from the lake, and the night as of which to publish anew. The working file, the
        pages, all publications and all exports hold the person's rows and are deleted, so nothing is published until
        the next nightly.

    Raises:
        UnknownPersonError: if neither the lake nor the journal of writes holds the person, and no cut run is finished.
        DamageError: if lake or ledger are damaged.
        OSError: if something cannot be deleted; the next run goes on from there.
    """
    with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS):
        begun = read_state(_mark(settings))
        as_of = begun.get("as_of") or published_night(settings).isoformat()
        with open_ledger(settings) as ledger:
            key = sound_keys(settings, ledger).of_address(address)
        keys = sorted({*begun.get("keys", []), *sound_lake(settings).keys_of_person(key)})
        write_state(_mark(settings), {"as_of": as_of, "keys": keys})
        lines, rows = _erase(settings, keys)
        if not (lines or rows or begun):
            _unmark(settings)
            raise UnknownPersonError("Nobody with this address is kept here. Nothing was removed. Check the spelling.")
        _finish(settings, {address, address.lower(), member_id(address), *map(str, keys)})
    return rows, date.fromisoformat(as_of)


def finish_forgetting(settings: Settings) -> None:
    """Finish what a cut `forget_person` began, if any.

    Raises:
        OSError: if something cannot be deleted.
    """
    if _mark(settings).exists():
        with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS):
            begun: dict[str, Any] = read_state(_mark(settings))
            keys = begun.get("keys", [])
            sound_lake(settings)
            _erase(settings, keys)
            _finish(settings, {str(key) for key in keys})


def _finish(settings: Settings, names: Collection[str]) -> None:
    """Remove all that was made of the rows of people whom these names stand for; then remove the mark."""
    _sweep_dagster(settings.dagster_home, names)
    # A killed run leaves the database's log and the folder into which it spills.
    made = settings.working_file.parent.glob(f"{settings.working_file.name}*")
    folders = (settings.published_dir, settings.exports_dir, settings.reports_dir)
    # Each folder itself stays, for it may be a volume of its own, which cannot be removed.
    for path in (*made, *(path for folder in folders if folder.is_dir() for path in folder.iterdir())):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _unmark(settings)


def _erase(settings: Settings, keys: Collection[int]) -> tuple[int, int]:
    """Erase people from journal and lake; returns how many lines and rows there were."""
    with open_ledger(settings) as ledger:
        lines = sum(ledger.forget(str(key), now=datetime.now(UTC)) for key in keys)
    return lines, Lake(settings.lake_dir).forget(*keys)


def _sweep_dagster(home: Path, names: Collection[str]) -> None:
    """Delete records and logs that name a person: none does, unless another program or release wrote into them."""
    needles = [name.encode() for name in names]
    for path in home.rglob("*"):
        if path.is_file() and any(needle in path.read_bytes() for needle in needles):
            path.unlink()


def _mark(settings: Settings) -> Path:
    return settings.data_dir / "forgetting.json"


def _unmark(settings: Settings) -> None:
    _mark(settings).unlink(missing_ok=True)
    sync(settings.data_dir)
