"""What can go wrong in a night: faults of every kind at a random place, as a seed draws them."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal

from tests.mailchimp.breaking import KINDS
from tests.mailchimp.faults import Break

Place = Literal["answer", "events", "disk", "clock", "kill", "command"]

# What lies is no fault that anybody could see: the account says that these are its rows.
LIES = {"ids of others", "lone surrogate", "unknown fields"}
ANSWERS = sorted(KINDS.keys() - LIES)
STRANGER = "nobody@example.com"
COMMANDS = (
    ("nightly",),
    ("forget", STRANGER),
    ("apply",),
    ("verify",),
    ("restore",),
    ("digest",),
    ("pages",),
    ("doctor",),
    ("repair",),
)
CLOCKS = {"back a day": -86_400, "back ten years": -315_360_000, "ahead an hour": 3_600, "ahead a year": 31_536_000}
SPACE_KILOBYTES = (0, 64, 512, 2_048, 6_144)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        place: where.
        kind: what, in words of that place.
        at: share of the night's requests or seconds after which it comes, 0-1.
        stays: whether it stays, rather than happen once.
    """

    place: Place
    kind: str
    at: float
    stays: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.kind} at {self.at:.0%}{' for good' if self.stays else ''}"


def drawn(seed: int, has_disk: bool) -> list[Fault]:
    """One to five faults. Of disk, clock and kill there is at most one."""
    draw, found = random.Random(seed), []
    for _ in range(draw.randint(1, 5)):
        places = ["answer", "answer", "events", "clock", "kill", "command", *(["disk"] if has_disk else [])]
        once = {fault.place for fault in found} & {"disk", "clock", "kill"}
        place: Any = draw.choice([one for one in places if one not in once])
        kinds = {
            "answer": ANSWERS,
            "events": list(EVENTS),
            "disk": [*(f"{left} kB left" for left in SPACE_KILOBYTES), "read-only"],
            "clock": list(CLOCKS),
            "kill": ["kill -9"],
            "command": [" ".join(words) for words in COMMANDS],
        }[place]
        found.append(Fault(place, draw.choice(kinds), draw.random(), draw.random() < 0.4))
    return found


class Chooser:
    """Breaks answers as the faults of a night say: from the nth request on, those of the path that it was for.

    Attributes:
        asked: requests so far.
        broken: answers that were broken.
    """

    def __init__(self, faults: list[Fault], requests: int) -> None:
        self._left = {int(fault.at * requests): fault for fault in faults if fault.place == "answer"}
        self._stay: dict[str, Break] = {}
        self.asked = self.broken = 0

    def __call__(self, path: str, query: dict[str, str]) -> Break | None:
        fault = self._left.pop(self.asked, None)
        self.asked += 1
        found = self._stay.get(path) if fault is None else KINDS[fault.kind]
        if fault is not None and fault.stays:
            self._stay[path] = KINDS[fault.kind]
        self.broken += found is not None
        return found


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _noise(content: bytes) -> bytes:
    lines = content.splitlines()
    odd = [b"{", b"null", b"[1, 2]", b'"text"', b'{"event_id": 1}', b"\x00\xff", b"", b'{"a": NaN}', b"x,y,z"]
    return b"\n".join(one for pair in zip(lines, odd * len(lines), strict=False) for one in pair) + b"\n"


EVENTS: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": _cut,
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "UTF-16": lambda content: content.decode(errors="replace").encode("utf-16"),
    "UTF-16 without a mark": lambda content: content.decode().encode("utf-16-le"),
    "Latin-1": lambda content: content.decode(errors="replace").encode("latin-1", errors="replace"),
    "with a mark": lambda content: b"\xef\xbb\xbf" + content,
    "broken rows between": _noise,
    "zeros": lambda content: b"\0" * len(content),
    "a page of HTML": lambda content: b"<html><body>Log in</body></html>",
    "twice": lambda content: content + content,
    "Parquet's head": lambda content: b"PAR1" + content,
}
HARMLESS_EVENTS = {"with a mark", "twice"}


@contextmanager
def events_broken(path: Path, faults: list[Fault]) -> Iterator[None]:
    """The event file as the faults leave it; it is whole again after the night."""
    whole = path.read_bytes()
    for fault in faults:
        if fault.place == "events" and path.exists():
            content = EVENTS[fault.kind](path.read_bytes())
            path.unlink() if content is None else path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


@contextmanager
def disk_broken(disk: Path, faults: list[Fault]) -> Iterator[None]:
    """The mounted disk as the faults leave it; it is well again after the night."""
    kind = next((fault.kind for fault in faults if fault.place == "disk"), None)
    filler = disk / "filler"
    if kind == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    elif kind is not None:
        fill(filler, int(kind.partition(" ")[0]) * 1024)
    try:
        yield
    finally:
        if kind == "read-only":
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        filler.unlink(missing_ok=True)


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """A small disk of its own at `place`, in memory (needs root)."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(filler: Path, left: int) -> None:
    """Take all space of a disk but `left` bytes."""
    free = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left)


def move_clock(faults: list[Fault]) -> None:
    """Move the clock of this process, as its faults say: what Python and driptune are told, not what files are."""
    for fault in faults:
        if fault.place == "clock":
            _move(CLOCKS[fault.kind])


def _move(seconds: int) -> None:
    right = time.time

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Moved":
            return cls.fromtimestamp(right() + seconds, tz)

    time.time = lambda: right() + seconds
    for name, module in list(sys.modules.items()):
        if name.startswith("pipeline.") and vars(module).get("datetime") is datetime:
            module.datetime = Moved  # type: ignore[attr-defined]
    assert abs(Moved.now().timestamp() - right() - seconds) < timedelta(seconds=5).total_seconds()
