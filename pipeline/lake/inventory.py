"""The inventory: which files the lake should hold, and which key and ledger belong to it.

It stands beside the lake, so that one damage does not take both. A file is listed after it was written, and taken off
the list before it is removed. So a crash may leave a file that is not listed, but never a list of what rightly is gone.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.common.errors import DriptuneError
from pipeline.common.files import encoded_state, read_state, write_atomically

ADDRESSES = Path("addresses") / "addresses.parquet"
FORGOTTEN = Path("state") / "forgotten.json"
INDEX = Path("state") / "inventory.json"
KEY_NOTE, LEDGER_NOTE = NOTES = "secret_key", "ledger"
# These files are rewritten in place. They are small, so that even a nightly compares all of their bytes.
_STATE = "state"
_REWRITTEN = (ADDRESSES, FORGOTTEN, INDEX)

REPAIR = "Run driptune repair: it lists anew what the lake holds."

_List = dict[str, list[list[Any]]]


class DamagedInventoryError(DriptuneError):
    """A file of the inventory is not as it was written."""


@dataclass(frozen=True)
class Damage:
    """A file of the lake or of its inventory that is not as it was written.

    Attributes:
        file: its path.
        name: its path below the data folder.
        what: what is wrong with it, to follow its name.
    """

    file: Path
    name: str
    what: str

    def __str__(self) -> str:
        """The name, and what is wrong."""
        return f"{self.name} {self.what}"


class Inventory:
    """The inventory of the lake at `root`: a JSON file for each table, with its own hash, and two notes.

    Which of these there should be stands in a file of the lake, and that file is listed like every other.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root.with_name(f"{root.name}_inventory")
        self._root = root

    def add(self, bodies: Mapping[Path, bytes]) -> None:
        """List files of one table that were just written, with what they hold; any other version is forgotten."""
        self._list({file: [_version(body)] for file, body in bodies.items()})

    def rewrite(self, file: Path, body: bytes) -> None:
        """Write a file of the lake that is always under the same name. A crash may leave either version of it."""
        _, name = self._place(file)
        if versions := self._listed(file).get(name):
            self._list({file: [*versions, _version(body)]})
        write_atomically(file, body)
        self.add({file: body})

    def remove(self, *files: Path) -> None:
        """Take files of one table off its list, before they are removed."""
        if files:
            names = {self._place(file)[1] for file in files}
            listed = self._listed(files[0])
            self._write(self._place(files[0])[0], {name: told for name, told in listed.items() if name not in names})

    def take_stock(self) -> None:
        """List what is not listed: files that a killed run left, or all of them after an older release."""
        for table in self._tables():
            listed = self._read(table)
            unlisted = [self._root / table / name for name in self._sizes(table) if name not in listed]
            self.add({file: file.read_bytes() for file in unlisted})
        self._index({path.stem for path in self.folder.glob("*.json")})

    def damage(self, *, every_byte: bool) -> list[Damage]:
        """What is missing or is not as it was written.

        Args:
            every_byte: whether contents are compared, too. Names and sizes take no time worth mentioning; what is
                rewritten in place, or not listed, is always read.
        """
        found = self._compare(every_byte)
        if not found:
            return []
        # A nightly may have rewritten a file between the look at the list and the look at the file.
        again = set(self._compare(every_byte))
        return [one for one in found if one in again]

    def give_up(self, damage: Damage) -> None:
        """Remove a damaged file, and no longer expect it."""
        if damage.file.parent != self.folder:
            self.remove(damage.file)
        elif damage.file.stem in self._indexed():
            self._index(self._indexed() - {damage.file.stem})
        damage.file.unlink(missing_ok=True)

    def note(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a note, such as the fingerprint of the key."""
        self._write(name, content)

    def noted(self, name: str) -> dict[str, Any]:
        """What a note says; empty if there is none.

        Raises:
            DamagedInventoryError: if it is not as it was written.
        """
        return self._read(name)

    def _compare(self, every_byte: bool) -> list[Damage]:
        found: list[Damage] = []
        indexed = self._indexed()
        for table in self._tables():
            listed, path = {}, self.folder / f"{table}.json"
            if table in indexed and not path.exists():
                found.append(self._damage(path, "is missing"))
            try:
                listed = self._read(table)
            except DamagedInventoryError:
                found.append(self._damage(path, "is damaged"))
            if table in NOTES:
                continue
            sizes = self._sizes(table)
            for name in sorted(listed.keys() | sizes.keys()):
                file, versions = self._root / table / name, listed.get(name)
                is_read = every_byte or versions is None or Path(table, name) in _REWRITTEN
                if what := _wrong(file, versions, sizes.get(name), is_read):
                    found.append(self._damage(file, what))
        return found

    def _damage(self, file: Path, what: str) -> Damage:
        return Damage(file, file.relative_to(self._root.parent).as_posix(), what)

    def _tables(self) -> list[str]:
        """The tables that are listed or that are there, and the notes."""
        listed = {path.stem for path in self.folder.glob("*.json")}
        return sorted(listed | self._indexed() | {path.name for path in self._root.glob("*") if path.is_dir()})

    def _sizes(self, table: str) -> dict[str, int]:
        """The size in bytes of every file of a table, by name."""
        folder = self._root / table
        sizes: dict[str, int] = {}
        for day in folder.glob("day=*"):
            with os.scandir(day) as entries:
                sizes |= {f"{day.name}/{one.name}": one.stat().st_size for one in entries if _is_lakes(one.name)}
        for file in (self._root / one for one in _REWRITTEN if one.parts[0] == table):
            if file.exists():
                sizes[file.name] = file.stat().st_size
        return sizes

    def _place(self, file: Path) -> tuple[str, str]:
        """The table of a file, and its name there."""
        below = file.relative_to(self._root)
        return below.parts[0], below.relative_to(below.parts[0]).as_posix()

    def _listed(self, file: Path) -> _List:
        return self._read(self._place(file)[0])

    def _list(self, versions: Mapping[Path, list[list[Any]]]) -> None:
        for table in {self._place(file)[0] for file in versions}:
            told = {self._place(file)[1]: each for file, each in versions.items() if self._place(file)[0] == table}
            self._write(table, self._read(table) | told)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        try:
            state = read_state(path)
            content: dict[str, Any] = state["content"] if state else {}
            is_whole = not state or state["sha256"] == _seal(name, content)
        except (ValueError, KeyError, TypeError, OSError):
            is_whole = False
        if not is_whole:
            raise DamagedInventoryError(f"{self._damage(path, 'is damaged')}. {REPAIR}")
        return content

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        state = {"content": dict(content), "sha256": _seal(name, content)}
        write_atomically(self.folder / f"{name}.json", json.dumps(state).encode())
        if name not in self._indexed() | {_STATE}:
            self._index(self._indexed() | {name})

    def _indexed(self) -> set[str]:
        """The files of the inventory that there should be; none if that cannot be read, which is found by its hash."""
        try:
            return set(read_state(self._root / INDEX).get("lists", []))
        except (ValueError, AttributeError):
            return set()

    def _index(self, lists: set[str]) -> None:
        file = self._root / INDEX
        # The list of the state names the index, and the index that list. A crash between the two must not be damage.
        if not file.exists():
            self.rewrite(file, _index_of(lists - {_STATE}))
        if file.read_bytes() != _index_of(lists | {_STATE}):
            self.rewrite(file, _index_of(lists | {_STATE}))


def _index_of(lists: set[str]) -> bytes:
    return encoded_state({"lists": sorted(lists)})


def named_by_content(night: str, body: bytes) -> str:
    """The name of a file of the lake: the night and a hash of its content."""
    return f"{night}-{_hash(body)[:16]}.parquet"


def _is_lakes(name: str) -> bool:
    """Whether a file of a day's folder holds rows; others are leftovers of killed runs."""
    return name.endswith(".parquet") and not name.startswith(".")


def _wrong(file: Path, versions: list[list[Any]] | None, size: int | None, is_read: bool) -> str:
    """What is wrong with a file, and nothing if it is as it was written. A file that is not listed vouches by name."""
    if size is None:
        return "is missing"
    if versions is not None and all(size != one for one, _ in versions):
        return f"has {size:,} bytes instead of {versions[-1][0]:,}"
    if not is_read:
        return ""
    try:
        body = file.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if versions is not None:
        is_whole = _hash(body) in {one for _, one in versions}
    else:
        is_named = file.parent.name.startswith("day=")
        is_whole = not is_named or file.name == named_by_content(file.stem.partition("-")[0], body)
    return "" if is_whole else "is not as it was written"


def _version(body: bytes) -> list[Any]:
    return [len(body), _hash(body)]


def _seal(name: str, content: Mapping[str, Any]) -> str:
    """The hash of a file of the inventory, its name included, so that two of them cannot be swapped."""
    return _hash(json.dumps([name, content], sort_keys=True).encode())


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
