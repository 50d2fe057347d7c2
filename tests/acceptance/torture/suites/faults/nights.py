"""R17: random nights of a small account with up to five faults of any kind at any place, and the night after each.

Every seed starts from one prepared folder after the first night. Its second night has the faults of the seed: it must
end equal to the second night without faults, or tell what is missing, or end with a clear sentence. The third night has
none, and must equal the third night after a second one without faults.
"""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl

from pipeline.cli.main import main
from pipeline.lake.store import Lake
from pipeline.published.manifest import RUN_TABLES, Manifest
from pipeline.schemas.base import Table
from pipeline.schemas.lake import Events
from pipeline.settings import Settings
from tests.acceptance.torture import Row
from tests.acceptance.torture.nights.account import NIGHTS, account, hurry, write_definitions, write_events
from tests.acceptance.torture.nights.faults import (
    Chooser,
    Fault,
    disk_broken,
    drawn,
    events_broken,
    mounted,
    move_clock,
)
from tests.acceptance.torture.state import half_published, unopenable
from tests.acceptance.torture.victims import in_fork, side_by_side
from tests.mailchimp.breaking import BreakingAccount
from tests.mailchimp.fake_account import API_KEY
from tests.mailchimp.faults import BODY_CAP
from tests.mailchimp.loopback import serve

SEEDS, WORKERS = 200, 2
DISK = "256m"
LONGEST_NIGHT_SECONDS = 240.0
SCARCE = {"RETRY_BUDGET_SECONDS": "2", "CALL_DEADLINE_SECONDS": "1", "MAX_RESPONSE_BYTES": str(BODY_CAP)}
# These tell which night read or proposed what, or when.
OF_THE_RUN = RUN_TABLES | {"quarantine", "optimizations", "optimization_events"}
RAW = re.compile(r"Traceback|^\w*(Error|Exception)\b|\b[a-z_]+\.[a-z_.]+(Error|Exception)\b|object at 0x", re.MULTILINE)
TOLD = re.compile(r"^  (?:kept|gone|events|quarantine|agreement) .*$", re.MULTILINE)
UNEXPLAINED = re.compile(r"(\d[\d,]*) unexplained")


def measure(quick: bool) -> Iterator[Row]:
    """The seeds, shared among workers."""
    seeds = 10 if quick else SEEDS
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder:
        shares = [(f"{folder}/{number}", *map(str, range(number, seeds, WORKERS))) for number in range(WORKERS)]
        told = side_by_side(__name__, shares)
    sums: Counter[str] = Counter()
    for lines in told:
        sums.update(json.loads(lines.splitlines()[-1]))
    names = ("raw", "silent", "broken", "failed next", "different next")
    reached = "; ".join(str(sums[name]) for name in names)
    ways = f"{sums['equal']} equal to the faultless one, {sums['told']} told what is missing, "
    ways += f"{sums['sentence']} ended with a clear sentence, {sums['killed']} killed"
    yield Row("R17", f"{sums['nights']} random nights with {sums['faults']} faults of any kind ({ways}): raw errors; "
              "other without a word; files that do not open; next nights that failed; that differ from the faultless",
              reached, "0; 0; 0; 0; 0", reached == "0; 0; 0; 0; 0" and sums["nights"] == seeds)  # fmt: skip
    yield Row("R17", "the same of a night that loses half of the events without any fault (a planted one): found",
              str(sums["planted"]), str(WORKERS), sums["planted"] == WORKERS)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """An installation: its folder and the address of its account."""

    folder: Path
    url: str

    @property
    def settings(self) -> Settings:
        """As its commands see them."""
        return Settings(
            data_dir=self.folder / "data",
            definitions=self.folder / "definitions",
            events=str(self.folder / "events"),
            mailchimp_url=self.url,
            MAILCHIMP_API_KEY=API_KEY,
            _env_file=None,
        )  # type: ignore[call-arg]


def start(place: Place, log: Path, *words: str, after: float = 0.0, prepare: Callable[[], None] = lambda: None) -> int:
    """Start a command in a fork, which writes all it says into `log`; its process."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        time.sleep(after)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        data, definitions, events = (place.folder / name for name in ("data", "definitions", "events"))
        os.environ |= {
            "DRIPTUNE_DATA_DIR": str(data),
            "DRIPTUNE_DEFINITIONS": str(definitions),
            "DRIPTUNE_EVENTS": str(events),
            "DRIPTUNE_MAILCHIMP_URL": place.url,
            "MAILCHIMP_API_KEY": API_KEY,
            **{f"DRIPTUNE_{name}": value for name, value in SCARCE.items()},
        }
        os.chdir(log.parent)
        prepare()
        main(list(words), prog_name="driptune")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(child: int, seconds: float = LONGEST_NIGHT_SECONDS) -> int | None:
    """The exit code of a process; none if it is still at work after that time, and then it is ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@contextmanager
def served(chooser: Chooser) -> Iterator[tuple[str, Callable[[], tuple[int, int]]]]:
    """The account on loopback in a process of its own; its address, and who ends it and tells requests and faults."""
    told, telling = os.pipe()
    stopped, stopping = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stopping)
        with serve(BreakingAccount(account(), chooser).answer) as url:
            os.write(telling, f"{url}\n".encode())
            os.read(stopped, 1)
            os.write(telling, f"{chooser.asked} {chooser.broken}\n".encode())
        os._exit(0)
    os.close(stopped)
    os.close(telling)
    counted: list[tuple[int, int]] = []
    with os.fdopen(told) as stream:

        def stop() -> tuple[int, int]:
            if not counted:
                os.close(stopping)
                asked, broken = stream.readline().split()
                counted.append((int(asked), int(broken)))
                os.waitpid(child, 0)
            return counted[0]

        yield stream.readline().strip(), stop
        stop()


def published(place: Place) -> dict[str, str]:
    """Hash by table of what stands published, as far as it follows from the input."""
    manifest = Manifest.read(place.settings.published_dir)
    assert manifest is not None
    return {table.name: table.content for table in manifest.tables if table.name not in OF_THE_RUN}


class Worker:
    """Nights of some seeds below one folder.

    Attributes:
        sums: what came of them.
    """

    def __init__(self, folder: Path, disk: Path, has_disk: bool) -> None:
        self._folder, self._disk, self._has_disk = folder, disk, has_disk
        self.sums: Counter[str] = Counter()
        base = folder / "base"
        write_definitions(base / "definitions")
        with served(Chooser([], 0)) as (url, stop):
            place = Place(base, url)
            self._must(place, NIGHTS[0])
            shutil.copytree(base, folder / "reference")
            before, _ = stop()
        with served(Chooser([], 0)) as (url, stop):
            place = Place(folder / "reference", url)
            started = time.monotonic()
            self._must(place, NIGHTS[1])
            self._seconds = time.monotonic() - started
            self._second = published(place)
            self._morning = (folder / "logs" / f"{NIGHTS[1]}").read_text()
            self._requests, _ = stop()
        with served(Chooser([], 0)) as (url, _):
            place = Place(folder / "reference", url)
            self._must(place, NIGHTS[2])
            self._third = published(place)
        print(f"first night {before} requests, second {self._requests}, {self._seconds:.1f} s", file=sys.stderr)

    def planted(self) -> None:
        """A night without faults that loses rows."""
        case = self._disk / "planted"
        shutil.copytree(self._folder / "base", case)
        with served(Chooser([], 0)) as (url, _):
            self.sums["planted"] += self._faulty(Place(case, url), [], "planted", prepare=_lose_rows) == "silent"
        shutil.rmtree(case)

    def night(self, seed: int) -> None:
        """The faulty night of a seed, and the night after it."""
        faults = drawn(seed, self._has_disk)
        case = self._disk / f"seed-{seed}"
        shutil.copytree(self._folder / "base", case)
        self.sums.update(nights=1, faults=len(faults))
        with served(Chooser(faults, self._requests)) as (url, stop):
            outcome = self._faulty(Place(case, url), faults, str(seed), partial(move_clock, faults))
            stop()
        looked = in_fork(partial(_look, Place(case, url).settings))
        found = [outcome]
        if looked != "[]":
            found.append("broken")
            print(f"seed {seed}: {looked}", file=sys.stderr)
        found += self._next(case, seed)
        self.sums.update(found)
        print(f"seed {seed}: {', '.join(found)}; " + "; ".join(map(str, faults)), file=sys.stderr)
        shutil.rmtree(case)

    def _faulty(self, place: Place, faults: list[Fault], seed: str, prepare: Callable[[], None]) -> str:
        night = NIGHTS[1]
        events = write_events(place.folder / "events", night)
        logs = self._folder / "logs" / seed
        logs.mkdir(parents=True)
        kill = next((fault for fault in faults if fault.place == "kill"), None)
        with events_broken(events, faults), disk_broken(self._disk, faults):
            child = start(place, logs / "night", *_nightly(night), prepare=prepare)
            others = {}
            for number, fault in enumerate(faults):
                if fault.place == "command":
                    words = fault.kind.split()
                    words = [*_nightly(night)] if words == ["nightly"] else words
                    log = logs / f"{number} {words[0]}"
                    others[start(place, log, *words, after=fault.at * self._seconds)] = log
            if kill is not None:
                time.sleep(kill.at * self._seconds)
                os.kill(child, signal.SIGKILL)
            code = ended(child)
            raw = [log for other, log in others.items() if self._is_raw(ended(other), log)]
        if self._is_raw(code, logs / "night") or raw:
            for log in {*raw, logs / "night"}:
                print(f"seed {seed}, {log.name}:\n{log.read_text()[-3000:]}", file=sys.stderr)
            return "raw"
        if code is not None and code < 0:
            return "killed"
        said = (logs / "night").read_text()
        if code == 1:
            print(f"seed {seed} said: {_words(said)}", file=sys.stderr)
            return "sentence"
        if published(place) == self._second:
            return "equal"
        different = self._differing(published(place), self._second)
        # Nobody can tell that a file is missing which comes a night later.
        if (told := self._told(said)) or any(fault.kind in ("missing", "empty") for fault in faults):
            print(f"seed {seed} told: {told}", file=sys.stderr)
            return "told"
        print(f"seed {seed} differs without a word: {different}\n{said[-2500:]}", file=sys.stderr)
        return "silent"

    def _next(self, case: Path, seed: int) -> list[str]:
        with served(Chooser([], 0)) as (url, _):
            place = Place(case, url)
            write_events(case / "events", NIGHTS[2])
            log = self._folder / "logs" / str(seed) / "next"
            code = ended(start(place, log, *_nightly(NIGHTS[2])))
        if code != 0:
            print(f"seed {seed}, next night: {code}\n{log.read_text()[-3000:]}", file=sys.stderr)
            return ["failed next"]
        different = self._differing(published(place), self._third)
        if different:
            print(f"seed {seed}, next night: {different}\n{log.read_text()[-2500:]}", file=sys.stderr)
        return ["different next"] if different else []

    def _told(self, said: str) -> list[str]:
        """What the morning says of trouble beyond the morning without faults."""
        told = sorted(set(TOLD.findall(said)) - set(TOLD.findall(self._morning)))
        more, usual = (int(found[1]) if (found := UNEXPLAINED.search(text)) else 0 for text in (said, self._morning))
        is_new = more > usual or "announced no total" in said
        return [line for line in told if is_new or not line.startswith("  agreement")]

    def _differing(self, one: dict[str, str], other: dict[str, str]) -> list[str]:
        return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))

    def _is_raw(self, code: int | None, log: Path) -> bool:
        """Whether a command ended otherwise than well, or killed, or with words for people."""
        if code is None or code not in (0, 1, -signal.SIGKILL):
            return True
        said = log.read_text() if log.exists() else ""
        return bool(RAW.search(said)) or (code == 1 and not _words(said))

    def _must(self, place: Place, night: date) -> None:
        write_events(place.folder / "events", night)
        (self._folder / "logs").mkdir(exist_ok=True)
        log = self._folder / "logs" / f"{night}"
        if ended(start(place, log, *_nightly(night))) != 0:
            raise RuntimeError(log.read_text())


def _nightly(night: date) -> tuple[str, ...]:
    return ("nightly", "--as-of", night.isoformat())


def _words(said: str) -> str:
    """What a command said besides the steps that ended, if it ends as a sentence does, or in a list of findings."""
    lines = [line for line in said.strip().splitlines() if not line.startswith("done: ")]
    is_clear = bool(lines) and (lines[-1].endswith((".", ")")) or lines[-1].startswith(("ok ", "wrong ")))
    return "\n".join(lines) if is_clear else ""


def _look(settings: Settings) -> str:
    return json.dumps(unopenable(settings) + half_published(settings))


def _lose_rows() -> None:
    """Plant a fault in this process: the lake keeps every other event."""
    append = Lake.append

    def lossy(lake: Lake, model: type[Table], frame: pl.DataFrame, as_of: date) -> int:
        return append(lake, model, frame.gather_every(2) if model is Events else frame, as_of)

    Lake.append = lossy  # type: ignore[method-assign]


def _work(folder: Path, seeds: list[int]) -> Counter[str]:
    hurry()
    folder.mkdir(parents=True)
    has_disk = os.geteuid() == 0
    with mounted(folder / "disk", DISK) if has_disk else nullcontext(folder) as disk:
        worker = Worker(folder, disk, has_disk)
        worker.planted()
        for seed in seeds:
            worker.night(seed)
    return worker.sums


if __name__ == "__main__":
    tally = _work(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
    print(json.dumps(tally))
    sys.stdout.flush()
    os._exit(0)
