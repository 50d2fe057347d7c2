"""`make nights`: a nightly a day for ten days against one backfill of the same days, table by table.

The ten days are of the time in which the sample account's events of every kind come late.
"""

import sys
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.cli.nightly import run_night
from pipeline.published.manifest import RUN_TABLES, Manifest, PublishedTable
from pipeline.settings import Settings

LAST_NIGHT = date(2026, 6, 4)
NIGHTS = 10
# These tell which night read a row, so they differ by design.
TABLES_OF_THE_RUN = RUN_TABLES | {"quarantine"}


def published_tables(data_dir: Path, nights: list[date], first: date | None = None) -> dict[str, PublishedTable]:
    """Run the nights in a fresh folder, or one backfill from `first` to the last; what is published then, by name."""
    settings = Settings(data_dir=data_dir, _env_file=None)
    for night in nights:
        run_night(settings, night, lambda step, steps: None, first)
        print(f"  as of {night}", flush=True)
    manifest = Manifest.read(settings.published_dir)
    assert manifest is not None
    return {table.name: table for table in manifest.tables}


def differing_tables(nights: int) -> tuple[int, list[str]]:
    """How many tables were compared, and the names of those that differ."""
    days = [LAST_NIGHT - timedelta(days=back) for back in reversed(range(nights))]
    with TemporaryDirectory() as folder:
        nightly = published_tables(Path(folder) / "nightly", days)
        backfill = published_tables(Path(folder) / "backfill", days[-1:], days[0])
    compared = sorted((nightly.keys() | backfill.keys()) - TABLES_OF_THE_RUN)
    return len(compared), [name for name in compared if nightly.get(name) != backfill.get(name)]


if __name__ == "__main__":
    count, different = differing_tables(NIGHTS)
    print(f"{count} tables of {NIGHTS} nightlies against one backfill: {len(different)} differ {', '.join(different)}")
    sys.exit(bool(different))
