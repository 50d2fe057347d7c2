"""`driptune export`: who is to get what, with addresses, in a private file for the sender's own tools.

Published tables hold no address. Every export is noted in the ledger before its file is written.
"""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.common.files import write_atomically
from pipeline.lake.store import Lake
from pipeline.optimizations.ledger import Ledger
from pipeline.published.manifest import Manifest
from pipeline.published.reader import read_publication
from pipeline.settings import Settings


@dataclass(frozen=True)
class Export:
    """A written file, its rows, and the rows of the table that it lacks because no address is known."""

    path: Path
    rows: int
    without_address: int


def export(settings: Settings, ledger: Ledger, name: str, table: str, *, actor: str, now: datetime) -> Export:
    """Write a published table with the addresses of its subscribers into a file of mode 0600.

    Args:
        settings: say where everything is.
        ledger: notes who asked, and when.
        name: what the file is called, and the ledger calls it.
        table: the published table.
        actor: who asks.
        now: the time.

    Raises:
        SourceError: if nothing is published.
    """
    manifest = Manifest.read(settings.published_dir)
    if manifest is None:
        raise SourceError("the publication", "there is none yet", "Run driptune nightly first.")
    published = read_publication(settings.published_dir)[table]
    addresses = Lake(settings.lake_dir).addresses().select("subscriber_key", "email_address")
    rows = published.join(addresses, on="subscriber_key").sort("email_address", *_keys(published))
    path = settings.exports_dir / f"{name}-{date.fromisoformat(manifest.as_of)}.csv"
    ledger.note_export(name, rows=rows.height, actor=actor, now=now)
    content = rows.select("email_address", pl.exclude("email_address")).write_csv()
    write_atomically(path, content.encode())
    return Export(path, rows.height, published.height - rows.height)


def _keys(table: pl.DataFrame) -> list[str]:
    return [column for column in table.columns if column.endswith("_id")]
