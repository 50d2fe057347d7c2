"""The lake: what came in, as typed Parquet files under `root/TABLE/day=YYYY-MM-DD/`.

Files are rewritten in two cases only: a person is forgotten, or a row turns out never to have been true. After that
readers start again from all files.
"""

import hashlib
import io
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import polars as pl

from pipeline.common.files import TEMPORARY_SUFFIX, encoded_state, read_state, sync, write_atomically
from pipeline.common.time import day_number, day_of, numbered_day
from pipeline.lake.inventory import ADDRESSES, FORGOTTEN, Inventory, named_by_content
from pipeline.schemas.base import Table, conform, empty, identity, latest, polars_schema, tables_of
from pipeline.schemas.lake import Addresses, Quarantine, Renamed


@dataclass(frozen=True)
class QuarantinedRow:
    """An input row that broke its contract: where it is and what was wrong, never what it held."""

    source: str
    reference: str
    field: str
    reason: str


class Lake:
    """Typed tables of files. Of two rows with one natural key the later night's counts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inventory = Inventory(root)

    def append(self, model: type[Table], frame: pl.DataFrame, as_of: date) -> int:
        """Write the rows that are new, and return their number.

        A row is not new if the version of its natural key that counts on `as_of` has the same content. So a night that
        runs twice writes nothing the second time. Of rows with one key in one batch the greatest by content is kept.

        Args:
            model: the table.
            frame: its rows. `as_of_day` is set here.
            as_of: the night that read them.

        Raises:
            pandera.errors.SchemaErrors: if a value breaks the table's contract. Nothing is written then.
        """
        where = identity(model)
        night = day_number(as_of)
        columns = list(polars_schema(model))
        content = [name for name in columns if name != "as_of_day"]
        rows = conform(frame.with_columns(as_of_day=pl.lit(night, dtype=pl.Int64)), model)
        rows = self._without_forgotten(rows)
        rows = rows.sort(content).unique(where.natural_key, keep="last", maintain_order=True)
        day = day_of(where.partition) if where.partition else pl.lit(night)
        rows = rows.with_columns(day.alias("_day"))

        files = self.files(model)
        if where.partition in where.natural_key:
            touched = {self._folder(model, number) for number in rows["_day"].unique()}
            files = [file for file in files if file.parent in touched]
        known = _scan(model, files).filter(pl.col("as_of_day") <= night)
        known = known.join(rows.lazy().select(where.natural_key), on=where.natural_key, how="semi", nulls_equal=True)
        in_force = latest(known, model).collect()
        rows = rows.join(in_force, on=content, how="anti", nulls_equal=True, maintain_order="left")

        written = {}
        for (number,), batch in rows.partition_by("_day", as_dict=True, include_key=False).items():
            body = _encode(batch)
            file = self._folder(model, number) / named_by_content(f"{as_of:%Y%m%d}", body)
            write_atomically(file, body)
            written[file] = body
        self.inventory.add(written)
        return rows.height

    def scan(self, model: type[Table]) -> pl.LazyFrame:
        """Every version of every row."""
        return _scan(model, self.files(model))

    def latest(self, model: type[Table]) -> pl.LazyFrame:
        """One row per natural key: that of the latest night. Of several in one night the greatest by content counts."""
        return latest(self.scan(model), model)

    def files(self, model: type[Table]) -> list[Path]:
        """The table's files, by day and name. A file is named by the night and a hash of its content."""
        return sorted((self.root / identity(model).name).glob("day=*/*.parquet"))

    def quarantine(self, rows: list[QuarantinedRow], as_of: date) -> int:
        """Set aside rows that broke their contract, and return how many of them are new."""
        return self.append(Quarantine, pl.DataFrame([asdict(row) for row in rows]), as_of) if rows else 0

    def addresses(self) -> pl.DataFrame:
        """The private table of addresses."""
        return pl.read_parquet(self._addresses_file, glob=False) if self._addresses_file.exists() else empty(Addresses)

    def remember_addresses(self, frame: pl.DataFrame) -> int:
        """Insert or replace addresses by subscriber, and return how many rows were new or changed."""
        before = self.addresses()
        incoming = self._without_forgotten(conform(frame, Addresses))
        incoming = incoming.unique("subscriber_key", keep="last", maintain_order=True)
        changed = incoming.join(before, on=incoming.columns, how="anti", nulls_equal=True)
        if changed.height:
            kept = before.join(changed, on="subscriber_key", how="anti")
            self.inventory.rewrite(self._addresses_file, _encode(pl.concat([kept, changed]).sort("subscriber_key")))
        return changed.height

    def drop_addresses(self, subscriber_keys: pl.Series) -> int:
        """Drop the addresses of people who are nobody's members any more; returns how many there were."""
        if not self._addresses_file.exists():
            return 0
        gone = pl.DataFrame({"subscriber_key": subscriber_keys}, schema={"subscriber_key": pl.Int64})
        return self._remove(self._addresses_file, gone)

    def discard(self, model: type[Table], rows: pl.DataFrame) -> int:
        """Rewrite files without any version of these rows, and return how many versions there were.

        Args:
            model: the table.
            rows: natural keys of the rows, and the partition column with the value that it has in the lake.
        """
        where = identity(model)
        files = self.files(model)
        if where.partition:
            days = rows.select(day_of(where.partition)).to_series().unique()
            folders = {self._folder(model, number) for number in days}
            files = [file for file in files if file.parent in folders]
        return sum(self._remove(file, rows.select(where.natural_key)) for file in files)

    def forget(self, *subscriber_keys: int) -> int:
        """Rewrite every file that has rows of these subscribers, without these rows, and return their number.

        Whoever changed their address is removed with every address that they had. Leftovers of interrupted writes are
        removed too. The user's own files and Mailchimp may still have the person: from now on `append` drops such rows.
        It recognises them by a hash of the key, which does not reveal the person.
        """
        keys = set().union(*(self.keys_of_person(key) for key in subscriber_keys))
        forgotten = self._forgotten() | {_hash_of_key(key) for key in keys}
        self.inventory.rewrite(self._forgotten_file, encoded_state({"keys": sorted(forgotten)}))
        removed, gone = 0, pl.DataFrame({"subscriber_key": sorted(keys)}, schema={"subscriber_key": pl.Int64})
        for model in tables_of("lake"):
            if "subscriber_key" in polars_schema(model):
                files = [self._addresses_file] if model is Addresses else self.files(model)
                removed += sum(self._remove(file, gone) for file in _holding(files, keys))
        for leftover in self.root.rglob(f".*{TEMPORARY_SUFFIX}"):
            leftover.unlink()
        return removed

    def keys_of_person(self, subscriber_key: int) -> set[int]:
        """The key and all others that stand for an address of the same person."""
        renamed = dict(self.latest(Renamed).select("address_key", "subscriber_key").collect().iter_rows())
        person = renamed.get(subscriber_key, subscriber_key)
        # The address of this person may have been that of somebody else, who is still known by it.
        others = set(renamed.values()) - {person}
        return {person} | {address for address, owner in renamed.items() if owner == person and address not in others}

    @property
    def _addresses_file(self) -> Path:
        return self.root / ADDRESSES

    @property
    def _forgotten_file(self) -> Path:
        return self.root / FORGOTTEN

    @property
    def people_forgotten(self) -> int:
        """How many people were erased here, by the keys that stood for them."""
        return len(self._forgotten())

    def _forgotten(self) -> set[str]:
        return set(read_state(self._forgotten_file).get("keys", []))

    def _without_forgotten(self, rows: pl.DataFrame) -> pl.DataFrame:
        forgotten = self._forgotten()
        if not forgotten or "subscriber_key" not in rows.columns:
            return rows
        gone = [key for key in rows["subscriber_key"].drop_nulls().unique() if _hash_of_key(key) in forgotten]
        # A row of nobody, such as the order of a guest, is kept.
        return rows.filter(~pl.col("subscriber_key").is_in(gone).fill_null(False))

    def _remove(self, file: Path, gone: pl.DataFrame) -> int:
        """Rewrite a file without some rows, and return their number."""
        rows = pl.read_parquet(file, glob=False, hive_partitioning=False)
        kept = rows.join(gone, on=gone.columns, how="anti", nulls_equal=True, maintain_order="left")
        removed = rows.height - kept.height
        if not removed:
            return 0
        body = _encode(kept)
        if kept.height and file == self._addresses_file:
            self.inventory.rewrite(file, body)
            return removed
        self.inventory.remove(file)
        if kept.height:
            renamed = file.with_name(named_by_content(file.stem.partition("-")[0], body))
            write_atomically(renamed, body)
            self.inventory.add({renamed: body})
        file.unlink()
        sync(file.parent)
        return removed

    def first_day(self) -> date | None:
        """The first day of which anything is kept; none before the first night."""
        days = [folder.name.removeprefix("day=") for folder in self.root.glob("*/day=*")]
        return date.fromisoformat(min(days)) if days else None

    def _folder(self, model: type[Table], day: int) -> Path:
        return self.root / identity(model).name / f"day={numbered_day(day).isoformat()}"


def _hash_of_key(subscriber_key: int) -> str:
    return hashlib.sha256(f"forgotten {subscriber_key}".encode()).hexdigest()


def _scan(model: type[Table], files: list[Path]) -> pl.LazyFrame:
    if not files:
        return empty(model).lazy()
    # A file of an older release may lack a column.
    return pl.scan_parquet(
        files,
        glob=False,
        hive_partitioning=False,
        schema=polars_schema(model),
        missing_columns="insert",
        extra_columns="ignore",
    )


def _holding(files: list[Path], subscriber_keys: Collection[int]) -> list[Path]:
    """Those of the files that hold rows of these subscribers. Only one column is read."""
    there = [file for file in files if file.exists()]
    if not there:
        return []
    rows = pl.scan_parquet(
        there,
        glob=False,
        hive_partitioning=False,
        schema={"subscriber_key": pl.Int64},
        extra_columns="ignore",
        include_file_paths="file",
    )
    held = rows.filter(pl.col("subscriber_key").is_in(subscriber_keys)).select(pl.col("file").unique().sort())
    return [Path(file) for file in held.collect()["file"]]


def _encode(frame: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    frame.write_parquet(body, compression="zstd")
    return body.getvalue()
