"""R1 and R5: decisions survive the death of who writes them, and of many who decide at once one wins."""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pipeline.common.errors import LedgerError
from pipeline.optimizations import review
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.review import Seen
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.acceptance.torture import Row
from tests.optimizations.conftest import NOW, POLICY, proposal

APPROVERS = 8
RACES = 25
EVALUATIONS = 50
LONGEST_LIFE_SECONDS = 0.4


def measure(quick: bool) -> Iterator[Row]:
    """Killed writers, races of processes, repeated proposals."""
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name:
        folder = Path(name)
        kills = 10 if quick else 200
        decided, lost, broken = killed_writers(f"sqlite:///{folder}/kills/ledger.sqlite", kills)
        yield Row("R1", f"{kills} kills -9 of who decides, {decided:,} acknowledged decisions: lost, or a broken chain",
                  f"{lost} lost, {broken} broken", "0", lost + broken == 0 and decided > kills)  # fmt: skip
        races = 5 if quick else RACES
        wrong = races_without_one_winner(f"sqlite:///{folder}/races/ledger.sqlite", races)
        yield Row("R5", f"{races} races of {APPROVERS} approvers in processes of their own: races without one winner",
                  str(wrong), "0", wrong == 0)  # fmt: skip
        records = records_of_evaluations(f"sqlite:///{folder}/evaluations/ledger.sqlite")
        yield Row("R5", f"records of {EVALUATIONS} evaluations that propose the same", str(records), "1", records == 1)


def killed_writers(url: str, kills: int) -> tuple[int, int, int]:
    """Decisions acknowledged, those of them not on record, and kills after which the ledger was not in order."""
    draw, acknowledged, broken = random.Random(1), [], 0
    for number in range(kills):
        writer, lines = _fork_writer(url, number)
        time.sleep(draw.uniform(0.01, LONGEST_LIFE_SECONDS))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        with os.fdopen(lines) as told:
            # A line without its end was not acknowledged.
            acknowledged += [line.strip() for line in told if line.endswith("\n")]
        ledger = Ledger.open(url)
        broken += bool(ledger.verify()) if number % 10 == 0 or number == kills - 1 else 0
        ledger.close()
    ledger = Ledger.open(url)
    on_record = {record.optimization_id for record in ledger.records(Status.APPROVED)}
    broken += bool(ledger.verify())
    ledger.close()
    return len(acknowledged), len(set(acknowledged) - on_record), broken


def races_without_one_winner(url: str, races: int) -> int:
    """Of as many races, those in which not exactly one approver was told that they decided."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(APPROVERS + 1), context.Queue()
    ledger = Ledger.open(url)
    contested = [proposal(target=f"step {race}") for race in range(races)]
    ledger.propose(contested, now=NOW, approval_policy=POLICY)
    seen = [Seen.of(ledger.record(one.optimization_id)) for one in contested]
    racers = [context.Process(target=_race, args=(url, seen, start, results)) for _ in range(APPROVERS)]
    for racer in racers:
        racer.start()
    for _ in seen:
        start.wait(timeout=120)
    wins = [sum(won) for won in zip(*(results.get(timeout=120) for _ in racers), strict=True)]
    for racer in racers:
        racer.join()
    in_order = not ledger.verify() and len(ledger.records(Status.APPROVED)) == races
    ledger.close()
    return sum(count != 1 for count in wins) + (not in_order)


def records_of_evaluations(url: str) -> int:
    """Records after a sensor proposed the same again and again."""
    ledger = Ledger.open(url)
    for hour in range(EVALUATIONS):
        ledger.propose([proposal()], now=NOW + timedelta(hours=hour), approval_policy=POLICY)
    count = len(ledger.records())
    ledger.close()
    return count


def _race(url: str, seen: list[Seen], start, results) -> None:  # type: ignore[no-untyped-def]
    ledger = Ledger.open(url)
    won = []
    for one in seen:
        start.wait(timeout=120)
        try:
            review.approve(ledger, POLICY, one, actor="mara", now=NOW)
        except LedgerError:
            won.append(False)
        else:
            won.append(True)
    results.put(won)
    ledger.close()


def _fork_writer(url: str, number: int) -> tuple[int, int]:
    """A process that proposes and approves without end, and the pipe on which it acknowledges what is on record."""
    reading, writing = os.pipe()
    writer = os.fork()
    if writer:
        os.close(writing)
        return writer, reading
    ledger = Ledger.open(url)
    for step in range(1_000_000):
        one = proposal(target=f"step {number}/{step}")
        ledger.propose([one], now=NOW, approval_policy=POLICY)
        review.approve(ledger, POLICY, Seen.of(ledger.record(one.optimization_id)), actor="mara", now=NOW)
        os.write(writing, f"{one.optimization_id}\n".encode())
    os._exit(1)
