"""R15: who applies, rolls back, keeps in step and forgets, in processes of their own, paused and killed, beside people.

Each crossing has a ledger and an account of its own. When all have ended, what is open is finished, and everybody is
held against what the ledger says. The same crossings with the lock and the comparisons taken away show that the check
finds something.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.common.errors import LedgerError
from pipeline.optimizations import ledger as ledgers
from pipeline.optimizations.account import writing
from pipeline.optimizations.account.apply import apply, keep_in_step
from pipeline.optimizations.account.rollback import resume_rollback, roll_back
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.acceptance.torture import Row
from tests.acceptance.torture.stored_account import StoredAccount
from tests.acceptance.torture.victims import in_fork
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.holdouts import holdouts
from tests.worlds.writing import FIRST_DAY, PLACES, approved, expected, hours

CROSSINGS, PLANTED = 200, 20
PEOPLE, NEWCOMERS = 60, 20
BATCH = 10
OLD_VALUE = "99"
BEFORE_IT_IS_APPLIED = ("apply", "apply", "apply", "roll back", "roll back", "keep", "forget")
ONCE_IT_IS_APPLIED = ("keep", "keep", "keep", "roll back", "roll back", "roll back", "forget")
EDITS = 12
FORGOTTEN = 7
"""Whoever is forgotten is listed no more by the account, so they are not judged."""
LONGEST_PAUSE_SECONDS = 0.4
CASES_AT_ONCE = 4
SUBJECT = hours().optimization_id


@dataclass(frozen=True)
class Actor:
    """Somebody who takes part in a crossing, and what happens to them.

    Attributes:
        role: what they do.
        starts_after: seconds until they start.
        fate: 'spared', 'paused' or 'killed'.
        point: the place at which they meet it.
        passing: at which passing of that place.
        seed: of their own draws.
    """

    role: str
    starts_after: float
    fate: str
    point: str
    passing: int
    seed: int


def measure(quick: bool) -> Iterator[Row]:
    """All crossings, then some of them with a planted fault."""
    count = 12 if quick else CROSSINGS
    sums = _crossed(count, is_planted=False)
    reached = "; ".join(str(sums[name]) for name in ("differ", "overwritten", "broken", "raw"))
    yield Row("R15", f"{count} crossings of {sums['apply']} who apply, {sums['roll back']} who roll back, "
              f"{sums['keep']} who keep in step, {sums['forget']} who forget and {sums['edits']:,} edits by people, "
              f"{sums['paused']} paused and {sums['killed']} killed: members who differ from the ledger; own values "
              "overwritten; ledgers out of order; untyped errors", reached, "0; 0; 0; 0",
              reached == "0; 0; 0; 0" and sums["killed"] > count // 4 and sums["paused"] > count // 4)  # fmt: skip
    few = 6 if quick else PLANTED
    planted = _crossed(few, is_planted=True)
    found = planted["differ"] + planted["overwritten"] + planted["broken"]
    yield Row("R15", f"{few} of them without the lock and the comparison before a write (a planted fault): members and "
              "ledgers found wrong", str(found), "> 0", found > 0)  # fmt: skip


def _crossed(count: int, *, is_planted: bool) -> Counter[str]:
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder:
        command = [sys.executable, "-m", __name__, folder, str(count), "planted" if is_planted else "whole"]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Counter(json.loads(told.splitlines()[-1]))


def _cast(draw: random.Random, *, is_applied: bool) -> list[Actor]:
    """Who takes part in a crossing that begins with a record that is applied, or only approved."""
    writers = draw.sample(ONCE_IT_IS_APPLIED if is_applied else BEFORE_IT_IS_APPLIED, draw.randint(3, 4))
    actors = []
    for role in (*writers, "person"):
        point = draw.choice((*PLACES, *["a single write"] * 3))
        most = {"a single write": PEOPLE // 3, "intended": 4, "written": 4}.get(point, 1)
        fate = "spared" if role == "person" else draw.choice(["spared", "paused", "killed"])
        starts_after = draw.uniform(0, 0.15)
        actors.append(Actor(role, starts_after, fate, point, draw.randint(1, most), draw.randrange(2**32)))
    return actors


def _tables(shift: int) -> dict[str, pl.DataFrame]:
    """Everybody's hour; it moves with the publication."""
    people = range(PEOPLE + NEWCOMERS)
    hour = [str((key + shift) % 24) for key in people]
    hours = pl.DataFrame({"subscriber_key": people, "assigned_local_hour": hour})
    return {"holdouts": holdouts(), "send_time_assignments": hours}


def _play(folder: Path, actor: Actor) -> str:
    """What an actor does; the text says how it ended."""
    left = actor.passing

    def passed(place: str) -> None:
        nonlocal left
        left -= place == actor.point
        if left == 0 and place == actor.point and actor.fate != "spared":
            os.kill(os.getpid(), signal.SIGKILL if actor.fate == "killed" else signal.SIGSTOP)

    account = StoredAccount(folder / "account.sqlite", PEOPLE + NEWCOMERS, lambda: passed("a single write"))
    if actor.role == "person":
        return _edit(folder, account, random.Random(actor.seed))
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    try:
        _write(ledger, account, actor, passed)
    except LedgerError as error:
        return f"refused: {type(error).__name__}"
    return "done"


def _write(ledger: Ledger, account: StoredAccount, actor: Actor, passed: Callable[[str], None]) -> None:
    if actor.role == "apply":
        _apply(ledger, account, passed)
    elif actor.role == "keep":
        keep_in_step(ledger, SUBJECT, account, _tables(1), now=NOW, checkpoint=passed)
    elif actor.role == "forget":
        ledger.forget(str(FORGOTTEN), now=NOW)
    else:
        terms: dict[str, Any] = {"actor": "noor", "reason": "Tried.", "first_day": FIRST_DAY, "now": NOW}
        roll_back(ledger, SUBJECT, account, checkpoint=passed, **terms)


def _apply(ledger: Ledger, account: StoredAccount, passed: Callable[[str], None]) -> None:
    terms: dict[str, Any] = {"approval_policy": POLICY, "standing": [hours()], "first_day": FIRST_DAY, "now": NOW}
    apply(ledger, SUBJECT, account, _tables(0), checkpoint=passed, **terms)


def _edit(folder: Path, account: StoredAccount, draw: random.Random) -> str:
    """A person's edits, each kept in a file: of nobody twice, so that the last one is known."""
    keys = draw.sample(range(PEOPLE), EDITS)
    with (folder / "edits").open("w") as kept:
        for key in keys:
            time.sleep(draw.uniform(0, 0.06))
            account.set(key, f"own {key}")
            kept.write(f"{key}\n")
    return "done"


def _prepare(folder: Path, *, is_applied: bool) -> str:
    """An approved or applied record, and an account in which every third member holds something already."""
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    account = StoredAccount(folder / "account.sqlite", PEOPLE)
    for subscriber in range(0, PEOPLE, 3):
        account.set(subscriber, OLD_VALUE)
    approved(ledger, hours())
    if is_applied:
        _apply(ledger, account, lambda place: None)
    return "prepared"


def _finish(ledger: Ledger, account: StoredAccount) -> None:
    """What the next run of `driptune apply` does, until nothing is open."""
    for _ in range(5):
        record = ledger.record(SUBJECT)
        if record.status is Status.ROLLING_BACK:
            resume_rollback(ledger, SUBJECT, account, now=NOW)
        elif record.is_due:
            _apply(ledger, account, lambda place: None)
        elif record.status in IN_EFFECT:
            keep_in_step(ledger, SUBJECT, account, _tables(1), now=NOW)
            return


def _judge(folder: Path) -> str:
    """Members who differ from what the ledger says, own values overwritten, problems of the ledger."""
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    account = StoredAccount(folder / "account.sqlite", PEOPLE + NEWCOMERS)
    _finish(ledger, account)
    record, held = ledger.record(SUBJECT), account.values()
    lines = ledger.journal.writes(SUBJECT)
    first = {int(one.subject): one.before for one in reversed(lines) if one.subject is not None}
    edits = folder / "edits"
    edited = {int(line) for line in edits.read_text().split()} if edits.exists() else set()
    given = expected(hours(), _tables(1)["send_time_assignments"])
    differ = overwritten = 0
    for key in set(range(PEOPLE + NEWCOMERS)) - {FORGOTTEN}:
        own, stands = f"own {key}", held.get(key, "")
        stood = own if first.get(key) == own else OLD_VALUE if key in range(0, PEOPLE, 3) else ""
        wanted = given.get(key, stood) if record.status in IN_EFFECT else stood
        # What they set before the record met them stood before it; what they set later is theirs.
        if key in edited and first.get(key) != own:
            overwritten += stands != own
        else:
            differ += stands != wanted
    settled = record.status in (*IN_EFFECT, Status.ROLLED_BACK)
    return json.dumps({"differ": differ + (not settled), "overwritten": overwritten, "broken": len(ledger.verify())})


@contextmanager
def _planted() -> Iterator[None]:
    """The lock locks nothing, and a write looks at nothing before it."""
    StoredAccount._write = _write_unseen  # type: ignore[method-assign]
    ledgers.account_lock = lambda *_: nullcontext(lambda: None)  # type: ignore[assignment, misc]
    yield


def _write_unseen(account: StoredAccount, change: Any) -> str:
    account.set(int(change.subject), change.after)
    account._written()
    return "written"


def _worker(folder: Path, count: int, *, is_planted: bool) -> Counter[str]:
    writing.BATCH = BATCH
    sums: Counter[str] = Counter()
    with _planted() if is_planted else nullcontext():
        for first in range(0, count, CASES_AT_ONCE):
            casts: dict[Path, list[Actor]] = {}
            for number in range(first, min(first + CASES_AT_ONCE, count)):
                case, is_applied = folder / str(number), number % 2 == 1
                case.mkdir()
                if (prepared := in_fork(partial(_prepare, case, is_applied=is_applied))) != "prepared":
                    raise RuntimeError(prepared)
                casts[case] = _cast(random.Random(number), is_applied=is_applied)
            _let_cross(casts, sums)
            for case in casts:
                judged = in_fork(partial(_judge, case))
                if judged.startswith("error"):
                    print(f"crossing {case.name}: {judged}", file=sys.stderr)
                    sums["raw"] += 1
                    continue
                found = Counter(json.loads(judged))
                if found.total():
                    print(f"crossing {case.name}: {judged}", file=sys.stderr)
                sums += found
    return sums


def _let_cross(cases: dict[Path, list[Actor]], sums: Counter[str]) -> None:
    """Run the actors of some crossings at once, and wake up who was paused after a while."""
    running: dict[int, tuple[Path, Actor]] = {}
    for case, actors in cases.items():
        for actor in actors:
            child = os.fork()
            if child == 0:
                _be(case, actor)
            running[child] = (case, actor)
            sums[actor.role] += 1
    draw = random.Random(0)
    while running:
        child, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            time.sleep(draw.uniform(0, LONGEST_PAUSE_SECONDS))
            os.kill(child, signal.SIGCONT)
            sums["paused"] += 1
            continue
        case, actor = running.pop(child)
        sums["killed"] += os.WIFSIGNALED(status)
        said = case / f"said {actor.seed}"
        if said.exists() and said.read_text().startswith("error"):
            print(f"{case.name}, {actor}: {said.read_text()}", file=sys.stderr)
            sums["raw"] += 1
        if actor.role == "person":
            sums["edits"] += EDITS


def _be(case: Path, actor: Actor) -> None:
    """The life of a forked process."""
    try:
        time.sleep(actor.starts_after)
        said = _play(case, actor)
    except BaseException as error:
        said = f"error {type(error).__name__}: {error}"
    (case / f"said {actor.seed}").write_text(said)
    os._exit(0)


if __name__ == "__main__":
    print(json.dumps(_worker(Path(sys.argv[1]), int(sys.argv[2]), is_planted=sys.argv[3] == "planted")))
    sys.stdout.flush()
    os._exit(0)
