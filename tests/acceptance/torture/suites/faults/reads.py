"""R3 in the pulls: every kind of faulty answer at every endpoint that a night reads, once and for good.

A pull that met a fault has either read what is right, or said what it set aside or could not read, in typed errors. The
next one, without a fault, then holds what a pull holds that never met one.
"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from unittest.mock import patch

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.common.time import day_number
from pipeline.mailchimp import pulls
from pipeline.mailchimp.paging import Listing
from pipeline.mailchimp.pulls.pulling import PullSummary
from pipeline.schemas.base import Table, identity, polars_schema, tables_of
from pipeline.schemas.lake import Quarantine, Sources
from tests.acceptance.torture import Row
from tests.acceptance.torture.nights.account import NIGHTS, account, hurry, write_definitions
from tests.acceptance.torture.nights.faults import LIES
from tests.mailchimp.breaking import KINDS, BreakingAccount
from tests.mailchimp.fake_account import API_KEY, ORDER, Night, member_id
from tests.mailchimp.faults import BODY_CAP, PERSON, Break
from tests.mailchimp.loopback import serve

SCARCE = {"retry_budget_seconds": 0.4, "call_deadline_seconds": 0.4, "max_response_bytes": BODY_CAP}
# Three sources that fail, each after a call with all its attempts and one more that asks whether the source is there.
LONGEST_SECONDS = 1.1 * 3 * 2 * (0.4 + 0.4)
NIGHT = NIGHTS[1]
LAST_NIGHT = NIGHTS[2]
# Nothing announces how many steps a journey has, so a shorter list is one from which a step was removed.
UNCOUNTED = {"/customer-journeys/journeys/{}/steps"}
SHORTER = {"an empty page that announces more", "a short page that announces more"}
PLANTED_KIND = "a short page that announces more"
OF_ACCOUNT = {model for model in tables_of("lake") if "as_of_day" in polars_schema(model)} - {Quarantine, Sources}
NAMES = {
    *("lists", "members", "merge-fields", "activity-feed", "automations", "emails", "queue", "removed-subscribers"),
    *("campaigns", "reports", "sent-to", "email-activity", "open-details", "click-details", "unsubscribed"),
    *("abuse-reports", "ecommerce", "stores", "orders", "customer-journeys", "journeys", "steps"),
}
Pull = Callable[..., PullSummary]


@dataclass(frozen=True)
class Case:
    """One fault: its kind, the pull and endpoint that meet it, and how often."""

    kind: str
    pull: Pull
    endpoint: str
    times: float

    def __str__(self) -> str:
        return f"{self.kind} at {self.endpoint} in {self.pull.__name__}{'' if self.times == 1 else ' for good'}"


def measure(quick: bool) -> Iterator[Row]:
    """Every kind at every endpoint, once and for good; of a quick run every twelfth."""
    hurry()
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder:
        trial = _Trial(Path(folder))
        with serve(trial.account.answer) as url:
            trial.prepare(url)
            for case in trial.cases()[:: 12 if quick else 1]:
                trial.meet(case)
            sums, trial.sums = trial.sums, Counter()
            with patch.object(Listing, "is_short", False):
                for case in [case for case in trial.cases() if case.kind == PLANTED_KIND and case.times > 1]:
                    trial.meet(case)
    endpoints, planted = len(trial.endpoints), trial.sums["silent"]
    names = ("raw", "vague", "secrets", "silent", "stopped", "late", "different")
    reached = "; ".join(str(sums[name]) for name in names)
    what = f"{sums['answers']:,} faulty answers of {len(KINDS)} kinds at {endpoints} endpoints of the pulls in "
    what += f"{sums['cases']:,} pulls ({sums['right']:,} read what is right, {sums['told']:,} said what is missing)"
    yield Row("R3", f"{what}: raw exceptions; errors without endpoint or advice; secrets in errors or lake; "
              "incomplete without a word; stopped by the probe of journeys; pulls beyond their time; other after the "
              "next pull", reached, "; ".join("0" for _ in names),
              all(sums[name] == 0 for name in names) and (quick or sums["answers"] >= 500))  # fmt: skip
    yield Row("R3", f"{trial.sums['cases']} of these pulls without the comparison of rows with what was announced (a "
              "planted fault): found incomplete without a word", str(planted), "> 0", planted > 0)  # fmt: skip


def endpoint_of(path: str) -> str:
    """The path with `{}` for every id."""
    return "/".join(part if part in NAMES or not part else "{}" for part in path.split("/"))


class _Trial:
    """The folders before each pull of a second night, and what each holds after it.

    Attributes:
        sums: what came of the cases.
        endpoints: pull and endpoint, of all that the night reads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._right = account()
        self.account = BreakingAccount(self._right, self._choose)
        self.sums: Counter[str] = Counter()
        self.endpoints: list[tuple[Pull, str]] = []
        self._held: dict[tuple[Pull, date], dict[type[Table], pl.DataFrame]] = {}
        self._case: Case | None = None
        self._left: float = 0
        self._url = ""

    def prepare(self, url: str) -> None:
        """Read the first night and each pull of the second one without faults."""
        self._url, folder = url, self._folder / "faultless"
        write_definitions(folder / "definitions")
        night = Night(folder, url)
        night.run(NIGHTS[0])
        for pull in ORDER:
            shutil.copytree(folder, self._folder / pull.__name__)
            self._right.requests.clear()
            night.pull(pull, NIGHT)
            found = dict.fromkeys(endpoint_of(path) for path, _ in self._right.requests)
            self.endpoints += [(pull, endpoint) for endpoint in found]
            self._held[pull, NIGHT] = _rows(night, NIGHT)
            later = shutil.copytree(folder, self._folder / "later")
            self._held[pull, LAST_NIGHT] = _rows(_after(Night(later, url), pull), LAST_NIGHT)
            shutil.rmtree(later)

    def cases(self) -> Sequence[Case]:
        """All of them."""
        return [
            Case(kind, pull, endpoint, times)
            for kind in KINDS
            for pull, endpoint in self.endpoints
            for times in (1.0, float("inf"))
        ]

    def meet(self, case: Case) -> None:
        """One pull that meets the fault, and the next one without it."""
        folder = self._folder / "case"
        shutil.copytree(self._folder / case.pull.__name__, folder)
        found = Counter(self._faulty(Night(folder, self._url, **SCARCE), case))
        self._left = 0
        if not self._lies(case):
            found += self._next(Night(folder, self._url), case)
        content = b"".join(path.read_bytes() for path in folder.rglob("*.json"))
        found["secrets"] += any(secret.encode() in content for secret in (PERSON, API_KEY))
        shutil.rmtree(folder)
        self.sums += found
        self.sums["cases"] += 1

    def _faulty(self, night: Night, case: Case) -> Counter[str]:
        found: Counter[str] = Counter()
        self._case, self._left = case, case.times
        asked, started = self.sums["answers"], time.monotonic()
        try:
            errors = _pulled(night, case.pull).failures
        except SourceError as error:
            errors = [error]
            found["stopped"] += case.pull is pulls.pull_journeys
        except Exception as error:
            print(f"{case}: {type(error).__name__}: {error}"[:500])
            return Counter(raw=1)
        late = time.monotonic() - started
        if late > LONGEST_SECONDS:
            print(f"{case}: {late:.1f} s")
            found["late"] += 1
        for error in errors:
            told = str(error)
            if not (error.endpoint and told.startswith(error.endpoint) and error.advice and told.endswith(".")):
                print(f"{case}: {told}")
                found["vague"] += 1
            if any(secret in told for secret in (PERSON, API_KEY, "127.0.0.1", *map(member_id, range(16)))):
                print(f"{case}: {told}")
                found["secrets"] += 1
        is_right = not self._differing(night, case, NIGHT)
        is_told = bool(errors) or self._has_told(night)
        if not is_right and not is_told and not self._lies(case) and self.sums["answers"] > asked:
            print(f"{case}: incomplete without a word: {self._differing(night, case, NIGHT)}")
            found["silent"] += 1
        found["right" if is_right else "told"] += 1
        return found

    def _next(self, night: Night, case: Case) -> Counter[str]:
        try:
            _after(night, case.pull)
        except Exception as error:
            print(f"{case}, next: {type(error).__name__}: {error}"[:500])
            return Counter(raw=1)
        if differing := self._differing(night, case, LAST_NIGHT):
            print(f"{case}, next: {differing}")
        return Counter(different=len(differing))

    def _has_told(self, night: Night) -> bool:
        """Whether rows were set aside tonight, or a source is noted as short or gone."""
        aside = night.lake.latest(Quarantine).collect().height
        noted = night.lake.latest(Sources).collect()
        return bool(aside or noted.filter((pl.col("state") != "read") | (pl.col("detail") != "")).height)

    def _differing(self, night: Night, case: Case, when: date) -> list[str]:
        held = self._held[case.pull, when]
        return [model.__name__ for model, rows in _rows(night, when).items() if not rows.equals(held[model])]

    def _lies(self, case: Case) -> bool:
        """Whether nobody can see that the answer is wrong."""
        return case.kind in LIES or (case.endpoint in UNCOUNTED and case.kind in SHORTER)

    def _choose(self, path: str, query: dict[str, str]) -> Break | None:
        case = self._case
        if case is None or self._left <= 0 or endpoint_of(path) != case.endpoint:
            return None
        self._left -= 1
        self.sums["answers"] += 1
        return KINDS[case.kind]


def _pulled(night: Night, pull: Pull, as_of: date = NIGHT) -> PullSummary:
    """The pull as the last attempt of the night's step makes it."""
    return pulls.read_or_keep(
        lambda: night.pull(pull, as_of), sorted(OF_ACCOUNT, key=str), night.lake, as_of, may_try_again=False
    )


def _after(night: Night, pull: Pull) -> Night:
    """The same after the pull of the last night.

    Raises:
        SourceError: if anything of it cannot be read.
    """
    for failure in _pulled(night, pull, LAST_NIGHT).failures:
        raise failure
    return night


def _rows(night: Night, as_of: date) -> dict[type[Table], pl.DataFrame]:
    """What is held, but for the night that read it; of what is told anew every night, that night's alone."""
    found = {}
    for model in OF_ACCOUNT:
        rows = night.lake.latest(model).collect()
        if "as_of_day" in identity(model).natural_key:
            rows = rows.filter(pl.col("as_of_day") == day_number(as_of))
        found[model] = rows.drop("as_of_day").sort(sorted(set(rows.columns) - {"as_of_day"}))
    return found
