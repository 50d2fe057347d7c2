"""The standing publication as tables, each read at its first use."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from pipeline.published.manifest import Manifest
from pipeline.schemas.base import Table, empty, identity

Tables = Mapping[str, pl.DataFrame]


class PublishedTables(Mapping[str, pl.DataFrame]):
    """The tables of a publication by name, each read at its first use; `manifest` is one row about all of them."""

    def __init__(self, published_dir: Path, manifest: Manifest) -> None:
        self._folder = published_dir / "parquet"
        self._names = tuple(table.name for table in manifest.tables)
        line = {"as_of": manifest.as_of, "version": manifest.version, "tables": len(manifest.tables)}
        self._read = {"manifest": pl.DataFrame([line])}

    def __getitem__(self, name: str) -> pl.DataFrame:
        """The table, read once."""
        if name not in self._read:
            if name not in self._names:
                raise KeyError(name)
            self._read[name] = pl.read_parquet(self._folder / f"{name}.parquet", glob=False)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        """The names of all tables."""
        return iter((*self._names, "manifest"))

    def __len__(self) -> int:
        """How many tables there are."""
        return len(self._names) + 1


def read_publication(published_dir: Path) -> Tables:
    """The tables of the standing publication; none if nothing is published."""
    manifest = Manifest.read(published_dir)
    return PublishedTables(published_dir, manifest) if manifest else {}


def published_table(published_dir: Path, model: type[Table]) -> pl.DataFrame:
    """One table of the standing publication; empty if nothing, or nothing of that name, is published."""
    tables, name = read_publication(published_dir), identity(model).name
    return tables[name] if name in tables else empty(model)
