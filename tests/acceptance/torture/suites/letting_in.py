"""R16: who lets people into a flow is killed at its named places, amid its calls and at random moments."""

import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account.releasing import SIDE_BY_SIDE, Answer, Terms, release
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.proposals.releases import release_proposals
from pipeline.optimizations.record import Proposal
from pipeline.optimizations.review import Seen
from tests.acceptance.torture import Row
from tests.acceptance.torture.victims import Death, in_fork, run_and_kill, side_by_side
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.published import nothing
from tests.worlds.releases import MORNING, TONIGHT, entry, night
from tests.worlds.writing import InMemoryAccount

PEOPLE = 10 * SIDE_BY_SIDE
PLACES = ("intended", "called", "settled")
BEST_HOUR = MORNING + timedelta(hours=9)
LONGEST_LIFE_SECONDS = 0.3


def measure(quick: bool) -> Iterator[Row]:
    """Killed when only those held out are due, killed when everybody is, then run to its end."""
    kills = 10 if quick else 240
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder:
        [told] = side_by_side(__name__, [(folder, str(kills))])
    died, twice, early, uncounted, broken = json.loads(told.splitlines()[-1])
    yield Row("R16", f"{died} kills -9 of who lets {PEOPLE:,} people into a flow: let in twice; let in at a "
              "moment that is not theirs; neither let in nor counted as unknown; ledgers out of order",
              f"{twice}; {early}; {uncounted}; {broken}", "0; 0; 0; 0",
              twice + early + uncounted + broken == 0 and died > kills // 2)  # fmt: skip


class StoredDoor:
    """A door that keeps every call in a file, so that it outlives its caller."""

    def __init__(self, file: Path, passed: Callable[[str], None] = lambda place: None) -> None:
        self._file = file
        self._passed = passed

    def let_in(self, keys: Sequence[int]) -> list[Answer]:
        return [self._let_in(key) for key in keys]

    def _let_in(self, key: int) -> Answer:
        self._passed("a single call")
        with self._open() as connection:
            connection.execute("INSERT INTO calls VALUES (?)", (key,))
        self._passed("a single call")
        return Answer("released")

    def calls(self) -> Counter[int]:
        with self._open() as connection:
            return Counter(key for (key,) in connection.execute("SELECT key FROM calls"))

    def _open(self) -> sqlite3.Connection:
        """The file with its table, which a kill may have kept its caller from making."""
        connection = sqlite3.connect(self._file, isolation_level=None)
        connection.execute("CREATE TABLE IF NOT EXISTS calls (key INTEGER)")
        return connection


def _publish(folder: Path) -> str:
    """The plan as a file, and what is proposed. Everybody's old planned time is midnight, and the best hour is nine."""
    keys = range(PEOPLE)
    tables = night([entry(key, 5) for key in keys], best=dict.fromkeys(keys, 9))
    tables["release_plan"].write_parquet(folder / "plan.parquet")
    [made] = release_proposals(Publication({**nothing(), **tables}, "v1", "1"))
    return made.model_dump_json()


def _ledger(folder: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{folder}/ledger.sqlite")


def _prepare(folder: Path, made: Proposal) -> str:
    ledger = _ledger(folder)
    ledger.propose([made], now=NOW, approval_policy=POLICY)
    for name in ("noor", "lia"):
        seen = Seen.of(ledger.record(made.optimization_id))
        review.approve(ledger, POLICY, seen, actor=name, now=NOW)
    applications.apply(
        ledger, made.optimization_id, InMemoryAccount(), {},
        approval_policy=POLICY, standing=[made], first_day=TONIGHT, now=NOW,
    )  # fmt: skip
    return "prepared"


def _release(folder: Path, made: Proposal, now: datetime, death: Death) -> str:
    left = death.passing

    def passed(place: str) -> None:
        nonlocal left
        left -= place == death.point
        if left == 0 and place == death.point:
            os.kill(os.getpid(), signal.SIGKILL)

    door = StoredDoor(folder / "calls.sqlite", passed)
    terms = Terms(pl.read_parquet(folder.parent / "plan.parquet"), PEOPLE * 10, lambda: False)
    release(_ledger(folder), made.optimization_id, lambda record, people: door, terms, now=now, checkpoint=passed)
    return "released"


def _deaths(draw: random.Random, number: int) -> Death:
    if number % 3 == 0:
        return Death(point=PLACES[number // 3 % len(PLACES)], passing=draw.randint(1, 2))
    if number % 3 == 1:
        return Death(point="a single call", passing=draw.randint(1, PEOPLE))
    return Death(seconds=draw.uniform(0, LONGEST_LIFE_SECONDS))


def _judge(folder: Path, made: Proposal, early: Counter[int]) -> str:
    """People let in twice, at a wrong moment, or lost without being counted; problems of the ledger."""
    calls = StoredDoor(folder / "calls.sqlite").calls()
    ledger = _ledger(folder)
    lines = ledger.journal.writes(made.optimization_id)
    counted = {int(one.subject) for one in lines if one.subject and one.outcome in ("released", "unknown")}
    out = is_held_out(pl.Series(range(PEOPLE)), made.optimization_id, made.holdout_share)
    wrong = [key for key in early if not out[key]]
    return json.dumps([
        sum(count > 1 for count in calls.values()), len(wrong),
        len(set(range(PEOPLE)) - counted), len(ledger.verify()),
    ])  # fmt: skip


def _worker(folder: Path, kills: int) -> list[int]:
    draw, died, sums = random.Random(1), 0, [0, 0, 0, 0]
    # Polars' threads do not survive a fork, so this process never starts them.
    made = Proposal.model_validate_json(in_fork(partial(_publish, folder)))
    for number in range(kills):
        case = folder / str(number)
        case.mkdir()
        if (prepared := in_fork(partial(_prepare, case, made))).startswith("error"):
            raise RuntimeError(prepared)
        first = number % 4 == 0
        death = _deaths(draw, number)
        moment = MORNING if first else BEST_HOUR
        died += run_and_kill(partial(_release, case, made, moment, death), death)
        early = StoredDoor(case / "calls.sqlite").calls() if first else Counter()
        told = in_fork(partial(_release, case, made, BEST_HOUR, Death()))
        judged = in_fork(partial(_judge, case, made, early))
        if told != "released" or judged.startswith("error"):
            raise RuntimeError(f"killed {death}: {told}; {judged}")
        if any(json.loads(judged)):
            print(f"killed {death}: {judged}", file=sys.stderr)
        sums = [total + one for total, one in zip(sums, json.loads(judged), strict=True)]
    return [died, *sums]


if __name__ == "__main__":
    print(json.dumps(_worker(Path(sys.argv[1]), int(sys.argv[2]))))
    sys.stdout.flush()
    os._exit(0)
