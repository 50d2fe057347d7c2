"""What must be sound before a night touches anything: key, ledger and lake. And what makes things sound again.

A damaged thing stops the night with words that say what to do. `verify` looks closer, see `health`.
"""

import json
from datetime import date
from pathlib import Path

from pipeline.common.errors import DriptuneError
from pipeline.common.lock import DEFAULT_WAIT_SECONDS, exclusive
from pipeline.engine.reading import WORKING_FILE_DAMAGED, is_damaged
from pipeline.lake.inventory import FORGOTTEN, LEDGER_NOTE, Damage
from pipeline.lake.keys import SubscriberKeys, fingerprint, load_keys, load_secret
from pipeline.lake.store import Lake
from pipeline.optimizations.ledger import Ledger, open_ledger
from pipeline.published import snapshot
from pipeline.published.manifest import DamagedManifestError, Manifest
from pipeline.settings import Settings

# Of more damaged files than this, some are named and the others counted.
NAMED = 20


class DamageError(DriptuneError):
    """Something that a night rests on is damaged; nothing was read or written."""


def sound_keys(settings: Settings, ledger: Ledger) -> SubscriberKeys:
    """The keys of this installation, after a look whether secret and ledger are those of the nights before.

    Raises:
        DamageError: if the ledger lacks events that it had.
        KeyDamageError: if the secret is lost or another one.
    """
    refuse_lost_events(settings, ledger)
    keys = load_keys(settings, ledger.key_fingerprint())
    if not settings.is_sample:
        ledger.remember_key(fingerprint(load_secret(settings)))
    return keys


def refuse_lost_events(settings: Settings, ledger: Ledger) -> None:
    """Look whether the ledger is the one of the last night.

    Raises:
        DamageError: if it lacks events that it had.
    """
    if lost := lost_events(settings, ledger):
        raise DamageError(lost)


def lost_events(settings: Settings, ledger: Ledger) -> str | None:
    """What to say if the ledger is not the one of the last night; none if it is."""
    head = Lake(settings.lake_dir).inventory.noted(LEDGER_NOTE).get("head")
    if head is None or ledger.holds(head):
        return None
    return (
        "The ledger lacks events that it had on the last night: it was emptied, replaced, or restored from an older "
        "backup. Put back the newest one. If there is none, run driptune repair: what was decided since is lost, and "
        "changes that were applied since can no longer be rolled back."
    )


def note_ledger(settings: Settings, ledger: Ledger) -> None:
    """Note the last event of the ledger beside the lake. From now on a ledger without it is refused."""
    inventory, head = Lake(settings.lake_dir).inventory, {"head": ledger.head()}
    if inventory.noted(LEDGER_NOTE) != head:
        inventory.note(LEDGER_NOTE, head)


def sound_lake(settings: Settings) -> Lake:
    """The lake, after a look whether every file of it is there. To be called by who holds the lock.

    Raises:
        DamageError: if one is not.
    """
    refuse_damaged_lake(settings)
    lake = Lake(settings.lake_dir)
    lake.inventory.take_stock()
    return lake


def refuse_damaged_lake(settings: Settings) -> None:
    """Look whether every file of the lake is there, by name and size; what is rewritten in place, by every byte.

    Raises:
        DamageError: if one is not.
    """
    if damages := lake_damage(settings, every_byte=False):
        raise DamageError(damage_in_words(damages))


def lake_damage(settings: Settings, *, every_byte: bool) -> list[Damage]:
    """What is wrong with the lake, its inventory, and the state that says what was read."""
    lake = Lake(settings.lake_dir)
    unreadable = [
        Damage(file, file.relative_to(settings.data_dir).as_posix(), "cannot be read")
        for file in sorted(lake.root.glob("state/*.json"))
        if not _is_json(file)
    ]
    return [*lake.inventory.damage(every_byte=every_byte), *unreadable]


def damage_found(settings: Settings) -> list[str]:
    """What is damaged in lake and working file, byte for byte, and what to do about it; a sentence each."""
    damages = lake_damage(settings, every_byte=True)
    found = [damage_in_words(damages)] if damages else []
    if is_damaged(settings.working_file):
        found.append(WORKING_FILE_DAMAGED)
    return found


def damage_in_words(damages: list[Damage]) -> str:
    """What is damaged, and what to do about it."""
    named = "; ".join(str(one) for one in damages[:NAMED])
    others = f"; and {len(damages) - NAMED:,} more" if len(damages) > NAMED else ""
    return (
        f"lake: {named}{others}. Copy what is named from a backup to its place. Without one, run driptune repair: it "
        "reads again what Mailchimp and your event files still hold."
    )


def repair(settings: Settings) -> list[str]:
    """Give up what is damaged and forget how far was read, so that the next night reads and builds it again.

    Returns:
        What was given up, a sentence each.

    Raises:
        KeyDamageError: if the secret is lost or another one; this cannot be repaired.
    """
    told: list[str] = []
    with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS), open_ledger(settings) as ledger:
        lake = Lake(settings.lake_dir)
        damages = lake_damage(settings, every_byte=True)
        # A list must be readable before a file is taken off it.
        for damage in sorted(damages, key=lambda one: one.file.is_relative_to(lake.root)):
            if damage.file.is_relative_to(lake.root):
                load_keys(settings, ledger.key_fingerprint())
            lake.inventory.give_up(damage)
            told.append(f"Given up: {damage}.")
        told += _read_again(lake, {damage.file for damage in damages if damage.file.is_relative_to(lake.root)})
        if is_damaged(settings.working_file):
            for file in settings.working_file.parent.glob(f"{settings.working_file.name}*"):
                file.unlink()
            told.append(f"{settings.working_file.name} is damaged. It is rebuilt from the lake.")
        if lost_events(settings, ledger):
            note_ledger(settings, ledger)
            told.append("The ledger goes on from what it holds.")
        lake.inventory.take_stock()
    return told


def _read_again(lake: Lake, lost: set[Path]) -> list[str]:
    """Forget how far was read of what is lost. What is still there is not written twice."""
    told, state = [], lake.root / "state"
    tables = {file.relative_to(lake.root).parts[0] for file in lost - set(state.glob("*"))}
    if tables - {"events", "state"}:
        (state / "mailchimp.json").unlink(missing_ok=True)
        told.append("Everything that Mailchimp still holds is read again.")
    if tables & {"events", "quarantine"}:
        (state / "events.json").unlink(missing_ok=True)
        told.append("Every event file is read again. Events that came too late the first time may count now.")
    if lake.root / FORGOTTEN in lost:
        told.append(
            "Who was forgotten is no longer known. Run driptune forget again for those who are still in Mailchimp."
        )
    return told


def published_night(settings: Settings) -> date:
    """The night that is published, or else the one to publish now."""
    try:
        manifest = Manifest.read(settings.published_dir)
    except DamagedManifestError:
        manifest = None
    return date.fromisoformat(manifest.as_of) if manifest else settings.resolve_as_of()


def restore(settings: Settings) -> date | None:
    """Put a sound snapshot in place of a damaged publication; returns its night, or none if no snapshot is sound."""
    with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS):
        return snapshot.restore(settings.published_dir)


def _is_json(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except (ValueError, OSError):
        return False
