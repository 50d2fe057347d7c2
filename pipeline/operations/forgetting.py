"""Forgetting a person: out of the lake, the working file and every publication, so that no byte of ours names them."""

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
        settings: where everything is.
        address: the person's e-mail address.

    Returns:
        Rows removed from the lake, and the night as of which to publish anew. Without a new nightly nothing is
        published, because the working file and all publications are deleted: they hold the person's rows.
    """
    manifest = Manifest.read(settings.published_dir)
    as_of = date.fromisoformat(manifest.as_of) if manifest else settings.resolve_as_of()
    with exclusive(settings.working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS):
        removed = Lake(settings.lake_dir).forget(load_keys(settings).of_address(address))
        for leftover in settings.working_file.parent.glob("working.duckdb*"):
            leftover.unlink()
        shutil.rmtree(settings.published_dir, ignore_errors=True)
    return removed, as_of
