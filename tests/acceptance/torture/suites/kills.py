"""R1: a nightly killed at any moment, at random and at named points, and the night after it."""

import fcntl
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from pipeline.published.manifest import Manifest
from pipeline.settings import Settings
from tests.acceptance.torture import Row
from tests.acceptance.torture.state import half_published, unopenable
from tests.acceptance.torture.victims import (
    Death,
    account,
    count_points,
    in_fork,
    run_and_kill,
    settings_of,
    short_night,
    side_by_side,
    whole_night,
)
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

WORKERS = 2
SECOND_NIGHT = NIGHT + timedelta(days=1)
LONGEST_LOCK_SECONDS = 1.0
Work = Callable[[Settings, date], None]


@dataclass
class Tally:
    """What came of kills."""

    kills: int = 0
    missed: int = 0
    unopenable: int = 0
    half_published: int = 0
    failed_next: int = 0
    different: int = 0
    lock_seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Count the other's in."""
        longest = max(self.lock_seconds, other.lock_seconds)
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)
        self.lock_seconds = longest


def measure(quick: bool) -> Iterator[Row]:
    """Short nightlies and whole ones, half of the kills at random moments, half at named points."""
    short, whole = (12, 0) if quick else (176, 24)
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder, serve(account().answer) as url:
        shares = [(folder, url, str(number), str(short // 2), str(whole // 2)) for number in range(WORKERS)]
        for lines in side_by_side(__name__, shares):
            total.add(Tally(**json.loads(lines.splitlines()[-1])))
    done = f"{total.kills} kills -9 of nightlies"
    yield Row("R1", f"{done}: files that do not open", str(total.unopenable), "0", total.unopenable == 0)
    yield Row("R1", f"{done}: publications that differ from their manifest", str(total.half_published), "0",
              total.half_published == 0)  # fmt: skip
    yield Row("R1", f"{done}: longest time until the lock was free", f"{total.lock_seconds:.2f} s", "<= 1 s",
              total.lock_seconds <= LONGEST_LOCK_SECONDS)  # fmt: skip
    unlike = total.failed_next + total.different
    yield Row("R1", f"{done}: next nightlies that failed, or differ from one never killed", str(unlike), "0",
              unlike == 0 and total.kills + total.missed == short + whole)  # fmt: skip


def _worker(folder: Path, url: str, number: int, short: int, whole: int) -> Tally:
    """Kills of one warm process, all of its seed."""
    draw, total = random.Random(number), Tally()
    for name, work, kills in (("short", short_night, short), ("whole", whole_night, whole)):
        if kills:
            total.add(_kills(folder / f"{name}-{number}", url, work, kills, draw))
    return total


def _kills(folder: Path, url: str, work: Work, kills: int, draw: random.Random) -> Tally:
    base, control = folder / "base", folder / "control"
    _told(partial(_night, work, settings_of(base, url), NIGHT))
    shutil.copytree(base, control)
    # What the second night is when nothing happens to it: its points, how long it takes, and what it publishes.
    undisturbed = json.loads(_told(partial(_survey, work, settings_of(control, url))))
    deaths = list(_deaths(undisturbed["points"], undisturbed["seconds"], kills, draw))
    total = Tally()
    for death in deaths:
        case = folder / "case"
        shutil.copytree(base, case)
        one = _one_kill(settings_of(case, url), work, death, undisturbed["version"])
        if one.unopenable or one.half_published or one.failed_next or one.different:
            print(f"{work.__name__} killed {death}: {one}", file=sys.stderr)
        total.add(one)
        shutil.rmtree(case)
    return total


def _deaths(points: dict[str, int], seconds: float, kills: int, draw: random.Random) -> Iterator[Death]:
    """Named points in turn and random moments by turns."""
    names = sorted(points)
    draw.shuffle(names)
    for number in range(kills):
        if number % 2:
            yield Death(seconds=draw.uniform(0, seconds))
        else:
            name = names[number // 2 % len(names)]
            yield Death(point=name, passing=draw.randint(1, points[name]))


def _one_kill(settings: Settings, work: Work, death: Death, version: str) -> Tally:
    died = run_and_kill(partial(work, settings, SECOND_NIGHT), death)
    lock_seconds = _seconds_until_free(settings.working_file.with_suffix(".lock"))
    looked = in_fork(partial(_look, settings))
    # Files on which even the look breaks off do not open either.
    seen = {"unopenable": [looked], "half_published": []} if looked.startswith("error") else json.loads(looked)
    if any(seen.values()):
        print(seen, file=sys.stderr)
    after = in_fork(partial(_night, work, settings, SECOND_NIGHT))
    failed = after.startswith("error")
    if failed:
        print(after, file=sys.stderr)
    return Tally(
        kills=int(died),
        missed=int(not died),
        unopenable=len(seen["unopenable"]),
        half_published=len(seen["half_published"]),
        failed_next=int(failed),
        different=int(not failed and after != version),
        lock_seconds=lock_seconds,
    )


def _night(work: Work, settings: Settings, as_of: date) -> str:
    """Run a night; the version it published."""
    work(settings, as_of)
    manifest = Manifest.read(settings.published_dir)
    problems = unopenable(settings) + half_published(settings)
    if manifest is None or manifest.as_of != as_of.isoformat() or problems:
        raise RuntimeError(f"After the nightly: {manifest and manifest.as_of}, {problems}")
    return manifest.version


def _survey(work: Work, settings: Settings) -> str:
    started = time.perf_counter()
    points: Counter[str] = count_points(partial(work, settings, SECOND_NIGHT))
    seconds = time.perf_counter() - started
    manifest = Manifest.read(settings.published_dir)
    return json.dumps({"points": points, "seconds": seconds, "version": manifest and manifest.version})


def _look(settings: Settings) -> str:
    return json.dumps({"unopenable": unopenable(settings), "half_published": half_published(settings)})


def _told(work: Callable[[], str]) -> str:
    told = in_fork(work)
    if told.startswith("error"):
        raise RuntimeError(told)
    return told


def _seconds_until_free(lock: Path) -> float:
    started = time.monotonic()
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return time.monotonic() - started
            except BlockingIOError:
                if time.monotonic() - started > 10 * LONGEST_LOCK_SECONDS:
                    return time.monotonic() - started
                time.sleep(0.01)


if __name__ == "__main__":
    place, address, *numbers = sys.argv[1:]
    tally = _worker(Path(place), address, *map(int, numbers))
    print(json.dumps(asdict(tally)))
    sys.stdout.flush()
    os._exit(0)
