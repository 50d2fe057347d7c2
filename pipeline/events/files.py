"""Event files wherever they lie: they are found, fetched as bytes, and listed by name.

What stands in a file is read by `contents.py`.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import fsspec
from fsspec.core import url_to_fs

from pipeline.common.errors import SourceError, scrub
from pipeline.common.personal import without_addresses

Kind = Literal["CSV", "NDJSON", "Parquet"]
_KINDS: dict[str, Kind] = {
    ".csv": "CSV",
    ".ndjson": "NDJSON",
    ".jsonl": "NDJSON",
    ".json": "NDJSON",
    ".parquet": "Parquet",
    ".pq": "Parquet",
}
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_PATTERN = re.compile(r"[*?\[]")
_ADVICE = "Check that it can be reached from here, and its permissions."


@dataclass(frozen=True)
class EventFile:
    """A file: `name` below its source for people and state, `version` that changes with its content, if known."""

    filesystem: Any
    path: str
    name: str
    version: str | None


def find_event_files(source: str) -> list[EventFile]:
    """The event files of a folder (and those below it), a glob or a URL, by name; an empty folder has none.

    A source that exists under exactly this name is never taken for a glob. A file that is named itself is read whatever
    its suffix; of a folder or a glob only files with the suffix of an event file are.

    Raises:
        SourceError: if the place cannot be reached.
    """
    place = scrub(source)
    try:
        filesystem, root = _place(source)
        folder, infos = _listed(filesystem, root)
    except FileNotFoundError:
        raise SourceError(place, "is not there", "Correct DRIPTUNE_EVENTS, or create the folder.") from None
    except ImportError as error:
        raise SourceError(place, str(error), "Install what is missing, or use a local folder.") from None
    except Exception as error:  # every filesystem has its own
        raise SourceError(place, f"cannot be read ({type(error).__name__})", _ADVICE) from None
    files = [_event_file(filesystem, folder, info) for info in infos if info.get("type") == "file"]
    is_named_itself = [file.path for file in files] == [root]
    wanted = [file for file in files if is_named_itself or _is_wanted(file.name)]
    return sorted(_with_public_names(wanted), key=lambda one: one.name)


def fetch_event_file(file: EventFile) -> bytes:
    """The file's content as it lies there, packed or not.

    Raises:
        SourceError: if it cannot be read.
    """
    try:
        with file.filesystem.open(file.path, "rb") as stream:
            content: bytes = stream.read()
            return content
    except Exception as error:  # every filesystem has its own
        raise SourceError(file.name, f"cannot be read ({type(error).__name__})", _ADVICE) from None


def kind_of(name: str) -> Kind | None:
    """What a file's name says that it holds; none if it says nothing."""
    suffixes = _suffixes(name)
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None


def is_named_packed(name: str) -> bool:
    """Whether a file's name says that its content is packed."""
    return name.lower().endswith(_PACKED)


def _with_public_names(files: list[EventFile]) -> Iterator[EventFile]:
    """The files, named without e-mail addresses: names are kept, told and published. Equal ones are numbered."""
    numbers: Counter[str] = Counter()
    for file in sorted(files, key=lambda one: one.name):
        stem, suffixes = file.name, ""
        while (suffix := PurePosixPath(stem).suffix).lower() in (*_KINDS, *_PACKED):
            stem, suffixes = stem.removesuffix(suffix), suffix + suffixes
        public = without_addresses(stem)
        if public != stem:
            numbers[public + suffixes] += 1
            public += f"-{numbers[public + suffixes]}"
        yield replace(file, name=public + suffixes)


def _suffixes(name: str) -> list[str]:
    return [suffix.lower() for suffix in PurePosixPath(name).suffixes]


def _is_wanted(name: str) -> bool:
    """Whether a file of a folder is an event file: by its suffix, or packed and without another suffix."""
    if any(part.startswith((".", "_")) for part in PurePosixPath(name).parts):
        return False
    return kind_of(name) is not None or (is_named_packed(name) and len(_suffixes(name)) == 1)


def _place(source: str) -> tuple[Any, str]:
    """The filesystem and the path in it. A local path is never parsed as a URL: `::` may stand in it."""
    if "://" in source and not os.path.lexists(source):
        found: tuple[Any, str] = url_to_fs(source)
        return found
    return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(source))


def _listed(filesystem: Any, root: str) -> tuple[str, list[dict[str, Any]]]:
    """A folder, and what the filesystem knows of each file below it that the source names."""
    is_web = root.startswith(("http:", "https:"))
    # A web address's ? begins its query, and a web server does not tell files from folders.
    path = root.partition("?")[0] if is_web else root
    has_pattern = _PATTERN.search(path) is not None
    if (kind_of(path) is not None and not has_pattern) if is_web else filesystem.isfile(root):
        return filesystem._parent(root), [filesystem.info(root)]
    if has_pattern and (is_web or not filesystem.isdir(root)):
        folder, pattern = _split_pattern(filesystem, root)
        matches = filesystem.glob(pattern, detail=True).values()
        return folder, [info for match in matches for info in _files_of(filesystem, match)]
    filesystem.ls(root)
    return root, _below(filesystem, root)


def _split_pattern(filesystem: Any, root: str) -> tuple[str, str]:
    """The folder above the first part that is a pattern, and the whole pattern; names that exist are taken as such."""
    parts = root.split("/")
    literal = next(
        number
        for number, part in enumerate(parts)
        if _PATTERN.search(part) and not filesystem.exists("/".join(parts[: number + 1]))
    )
    folder = "/".join(parts[:literal])
    return folder, "/".join([glob.escape(folder), *parts[literal:]])


def _files_of(filesystem: Any, match: dict[str, Any]) -> list[dict[str, Any]]:
    """What a pattern names: a file, or all files of a folder such as Spark writes under the name of one file."""
    return _below(filesystem, match["name"]) if match.get("type") == "directory" else [match]


def _below(filesystem: Any, folder: str) -> list[dict[str, Any]]:
    return list(filesystem.find(folder, detail=True, on_error="raise").values())


def _event_file(filesystem: Any, folder: str, info: dict[str, Any]) -> EventFile:
    name = info["name"].removeprefix(folder).lstrip("/")
    if info["name"].startswith(("http:", "https:")):
        name = name.partition("?")[0]
    stamps = [info.get(field) for field in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")]
    stamp = next((str(stamp) for stamp in stamps if stamp), None)
    return EventFile(filesystem, info["name"], name, f"{info.get('size')} {stamp}" if stamp else None)
