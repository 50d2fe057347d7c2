"""Forgetting a person: they are removed from the lake, the journal of writes, the working file and every publication.

No byte that driptune wrote names the person afterwards.
"""

import shutil
from datetime import UTC, date, datetime

from pipeline.common.lock import DEFAULT_WAIT_SECONDS, exclusive
from pipeline.operations.soundness import published_night, sound_keys, sound_lake
from pipeline.optimizations.ledger import open_ledger
from pipeline.settings import Settings


def forget_person(settings: Settings, address: str) -> tuple[int, date]:
    """Remove a person from everything this installation keeps.

    Args:
        settings: say where everything is.
        address: the person's e-mail address.

    Returns:
        The number of rows removed from the lake, and the night as of which to publish anew. The working file, all
        publications and all exports hold the person's rows and are deleted, so nothing is published until the next
        nightly.
    """
    as_of = published_night(settings)
    with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS):
        with open_ledger(settings) as ledger:
            key = sound_keys(settings, ledger).of_address(address)
            lake = sound_lake(settings)
            ledger.forget(str(key), now=datetime.now(UTC))
        removed = lake.forget(key)
        for leftover in settings.working_file.parent.glob("working.duckdb*"):
            leftover.unlink()
        for folder in (settings.published_dir, settings.exports_dir):
            shutil.rmtree(folder, ignore_errors=True)
    return removed, as_of
