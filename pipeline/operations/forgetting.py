"""Forgetting a person: they are removed from the lake, the working file and every publication."""

import shutil
from datetime import date

from pipeline.common.lock import DEFAULT_WAIT_SECONDS, exclusive
from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.published.snapshot import Manifest
from pipeline.settings import Settings


def forget_person(settings: Settings, address: str) -> tuple[int, date]:
    """Remove a person from everything this installation keeps.

    Args:
        settings: say where everything is.
        address: the person's e-mail address.

    Returns:
        The number of rows removed from the lake, and the night as of which to publish anew. The working file and all
        publications hold the person's rows and are deleted, so nothing is published until the next nightly.
    """
    manifest = Manifest.read(settings.published_dir)
    as_of = date.fromisoformat(manifest.as_of) if manifest else settings.resolve_as_of()
    with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS):
        removed = Lake(settings.lake_dir).forget(load_keys(settings).of_address(address))
        for leftover in settings.working_file.parent.glob("working.duckdb*"):
            leftover.unlink()
        shutil.rmtree(settings.published_dir, ignore_errors=True)
    return removed, as_of
