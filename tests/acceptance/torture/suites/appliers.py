"""R1: who delivers an approved change is killed at its named places, amid its writes and at random moments."""

import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account.rollback import roll_back
from pipeline.optimizations.ledger import Ledger
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.acceptance.torture import Row
from tests.acceptance.torture.stored_account import StoredAccount
from tests.acceptance.torture.victims import Death, in_fork, run_and_kill, side_by_side
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.writing import FIRST_DAY, PEOPLE, PLACES, approved, expected, hours, tables_tonight

OLD_VALUE = "99"
LONGEST_LIFE_SECONDS = 0.5


def measure(quick: bool) -> Iterator[Row]:
    """Killed once or twice, then run to its end, then rolled back."""
    kills = 9 if quick else 210
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder:
        [told] = side_by_side(__name__, [(folder, str(kills))])
    died, wrong, not_back, broken = json.loads(told.splitlines()[-1])
    yield Row("R1", f"{died} kills -9 of who delivers to {PEOPLE:,} members: wrong values after the next run, those "
              "held out included; wrong after the rollback; ledgers out of order", f"{wrong}; {not_back}; {broken}",
              "0; 0; 0",
              wrong + not_back + broken == 0 and died > kills // 2)  # fmt: skip


def _deaths(kills: int, draw: random.Random) -> Iterator[Death]:
    for number in range(kills):
        kind = number % 3
        if kind == 0:
            place = PLACES[number // 3 % len(PLACES)]
            yield Death(point=place, passing=draw.randint(1, 2) if place in ("intended", "written") else 1)
        elif kind == 1:
            yield Death(point="a single write", passing=draw.randint(1, PEOPLE // 2))
        else:
            yield Death(seconds=draw.uniform(0, LONGEST_LIFE_SECONDS))


def _apply(folder: Path, death: Death) -> str:
    left = death.passing

    def passed(place: str) -> None:
        nonlocal left
        left -= place == death.point
        if left == 0 and place == death.point:
            os.kill(os.getpid(), signal.SIGKILL)

    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    account = StoredAccount(folder / "account.sqlite", PEOPLE, lambda: passed("a single write"))
    subject = hours().optimization_id
    if ledger.record(subject).status is not Status.APPLIED:
        given: dict[str, Any] = {"standing": [hours()], "first_day": FIRST_DAY, "now": NOW}
        given |= {"approval_policy": POLICY}
        applications.apply(ledger, subject, account, tables_tonight(), checkpoint=passed, **given)
    return "applied"


def _prepare(folder: Path) -> str:
    """An approved record, and an account in which every third member holds something already."""
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    approved(ledger, hours())
    account = StoredAccount(folder / "account.sqlite", PEOPLE)
    for subscriber in range(0, PEOPLE, 3):
        account.set(subscriber, OLD_VALUE)
    return "prepared"


def _judge(folder: Path) -> str:
    """Wrong values after the application, values not as before after the rollback, problems of the ledger."""
    before = dict.fromkeys(range(0, PEOPLE, 3), OLD_VALUE)
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    account = StoredAccount(folder / "account.sqlite", PEOPLE)
    wrong = sum(account.values().get(key) != value for key, value in (before | expected(hours())).items())
    wrong += len(account.values().keys() - (before | expected(hours())).keys())
    terms: dict[str, Any] = {"actor": "mara", "reason": "tried", "first_day": FIRST_DAY, "now": NOW}
    roll_back(ledger, hours().optimization_id, account, **terms)
    # Mailchimp cannot unset a field; who held nothing holds an empty value.
    held = {key: value for key, value in account.values().items() if value}
    return json.dumps([wrong, int(held != before), len(ledger.verify())])


def _worker(folder: Path, kills: int) -> list[int]:
    draw, died, sums = random.Random(1), 0, [0, 0, 0]
    for number, death in enumerate(_deaths(kills, draw)):
        case = folder / str(number)
        case.mkdir()
        if (prepared := in_fork(partial(_prepare, case))).startswith("error"):
            raise RuntimeError(prepared)
        died += run_and_kill(lambda case=case, death=death: _apply(case, death), death)  # type: ignore[misc]
        told = in_fork(partial(_apply, case, Death()))
        if told != "applied":
            print(f"killed {death}: {told}", file=sys.stderr)
            sums[0] += 1
            continue
        judged = in_fork(partial(_judge, case))
        if judged.startswith("error"):
            raise RuntimeError(judged)
        if any(json.loads(judged)):
            print(f"killed {death}: {judged}", file=sys.stderr)
        sums = [total + one for total, one in zip(sums, json.loads(judged), strict=True)]
    return [died, *sums]


if __name__ == "__main__":
    print(json.dumps(_worker(Path(sys.argv[1]), int(sys.argv[2]))))
    sys.stdout.flush()
    os._exit(0)
