"""Nightlies that are killed: forked from a warm process, they die at a moment or at the nth passing of a named point.

The points are put around production code from here; it knows nothing of them.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline.cli.nightly import QUIET, run_night
from pipeline.definitions import build_defs
from pipeline.engine.state import State
from pipeline.orchestration.asset import asset_key
from pipeline.orchestration.assets.publication import published
from pipeline.orchestration.instance import open_instance
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.resources import warehouse
from pipeline.published import snapshot as publish
from pipeline.schemas import performance as marts
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, FakeAccount, click, member, opened

PEOPLE = 40
# Enough to publish: a nightly of all tables takes three times as long and passes the same points more often.
SHORT_GROUPS = ("lake", "dimensions", "facts", "reductions")
SHORT_MARTS = (marts.Calendar, marts.Steps, marts.Workflows, marts.StepMetrics, marts.Runs)


def account() -> FakeAccount:
    """A small account with something new for each of two nights."""
    small = FakeAccount()
    small.members = [member(number) for number in range(PEOPLE)]
    for day in (20, 28, 29, 30):
        sent = f"2026-06-{day}T08:00:00+00:00"
        small.add_campaign(f"campaign-{day}", list(range(PEOPLE)), sent)
        for number in range(0, PEOPLE, 3):
            small.add_activity(f"campaign-{day}", number, opened(f"2026-06-{day}T09:00:00+00:00"))
            small.add_activity(f"campaign-{day}", number, click(f"2026-06-{day}T09:05:00+00:00"))
    return small


def settings_of(folder: Path, url: str) -> Settings:
    """Settings of an installation below `folder` that reads the account at `url`."""
    return Settings(
        data_dir=folder / "data",
        definitions=folder / "definitions",
        mailchimp_url=url,
        MAILCHIMP_API_KEY=API_KEY,
        _env_file=None,
    )  # type: ignore[call-arg]


def short_night(settings: Settings, as_of: date, groups: Sequence[str] = SHORT_GROUPS) -> None:
    """The nightly job of lake, facts, reductions, a few marts and the publication; or of fewer groups than these."""
    settings.working_file.parent.mkdir(parents=True, exist_ok=True)
    defs = build_defs(settings)
    read = dg.AssetSelection.groups(*groups).resolve(defs.resolve_asset_graph())
    keys = [*read, *(asset_key(model) for model in SHORT_MARTS), published.key]
    job = defs.resolve_job_def(nightly.name)
    with open_instance(settings.dagster_home) as instance:
        job.execute_in_process(
            instance=instance, run_config=QUIET, partition_key=as_of.isoformat(), asset_selection=keys
        )


def whole_night(settings: Settings, as_of: date) -> None:
    """The nightly as the command runs it."""
    run_night(settings, as_of, lambda step, steps: None)


@dataclass(frozen=True)
class Death:
    """Where a victim dies: after `seconds`, or when it passes `point` for the `passing`th time."""

    seconds: float | None = None
    point: str = ""
    passing: int = 0

    def __str__(self) -> str:
        return f"at {self.seconds:.2f} s" if self.seconds is not None else f"{self.point} no. {self.passing}"


@contextmanager
def watched(passed: Callable[[str], None]) -> Iterator[None]:
    """Tell the names of the points that this process passes from now on."""

    def around(owner: Any, attribute: str, name: str) -> None:
        inner = getattr(owner, attribute)

        def call(*arguments: Any, **named: Any) -> Any:
            passed(f"before {name}")
            result = inner(*arguments, **named)
            passed(f"after {name}")
            return result

        setattr(owner, attribute, call)
        originals.append((owner, attribute, inner))

    class Connection:
        """The run's connection, watched where it commits."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def commit(self) -> None:
            passed("before commit")
            self._inner.commit()
            passed("after commit")

        def execute(self, sql: str, *arguments: Any) -> Any:
            # A table is replaced by a statement that commits by itself.
            if sql != "COMMIT" and not sql.startswith("CREATE OR REPLACE TABLE"):
                return self._inner.execute(sql, *arguments)
            passed("before commit")
            result = self._inner.execute(sql, *arguments)
            passed("after commit")
            return result

    open_session = warehouse.session

    @contextmanager
    def session(*arguments: Any, **named: Any) -> Iterator[Connection]:
        with open_session(*arguments, **named) as connection:
            # DuckDB finds a frame by the name of a variable of its caller, which is the class above here.
            connection.execute("SET python_scan_all_frames = true")
            yield Connection(connection)

    originals: list[tuple[Any, str, Any]] = [(warehouse, "session", open_session)]
    warehouse.session = session  # type: ignore[assignment]
    around(os, "replace", "replace")
    around(os, "link", "keeping the old snapshot")
    around(publish, "_stage_snapshot", "staging")
    around(publish, "_swap", "swapping")
    around(State, "acknowledge", "acknowledging")
    around(dg.DagsterInstance, "store_event", "recording")
    try:
        yield
    finally:
        for owner, attribute, inner in originals:
            setattr(owner, attribute, inner)


def count_points(work: Callable[[], None]) -> Counter[str]:
    """How often the work passes each point."""
    counts: Counter[str] = Counter()
    with watched(lambda name: counts.update([name])):
        work()
    return counts


def die_at_point(death: Death) -> Callable[[str], None]:
    """A listener that kills its process as kill -9 does."""
    left = death.passing

    def passed(name: str) -> None:
        nonlocal left
        if name == death.point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passed


def run_and_kill(work: Callable[[], None], death: Death) -> bool:
    """Run the work in a fork that dies as told; whether it died before it was done."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with watched(die_at_point(death)):
                work()
            code = 0
        finally:
            os._exit(code)
    if death.seconds is not None:
        time.sleep(death.seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def in_fork(work: Callable[[], str]) -> str:
    """What the work tells, done in a fork so that this process stays free of its threads; 'error ...' if none came."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = work()
        except BaseException as error:
            told = f"error {type(error).__name__}: {error}"[:2000]
        with os.fdopen(writing, "w") as stream:
            stream.write(told)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    return f"error: ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else told


def side_by_side(module: str, shares: Iterable[Sequence[str]]) -> list[str]:
    """Run a module as a process for each share of the work, all at once, and return what each printed.

    Raises:
        RuntimeError: if one broke off.
    """
    workers = [
        subprocess.Popen([sys.executable, "-m", module, *share], stdout=subprocess.PIPE, text=True) for share in shares
    ]
    # All of them are waited for, so that none is left at work in a folder that goes.
    told = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise RuntimeError(f"A worker of {module} broke off; what stopped it stands above.")
    return told
