"""R3 in `apply`: every kind of faulty answer at every endpoint that an application reads or writes, once and for good.

An application that met a fault has either applied what was wanted, by value, or ended with one typed error. The next
one, without a fault, ends it; and then it is taken back.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.common.errors import DriptuneError, SourceError
from pipeline.common.sticky_hash import is_held_out
from pipeline.mailchimp import client as mailchimp
from pipeline.mailchimp import paging
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.optimizations.account.apply import apply
from pipeline.optimizations.account.rollback import roll_back
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import ApplyKind, Kind, Proposal, Status
from tests.acceptance.torture import Row
from tests.mailchimp.breaking import KINDS
from tests.mailchimp.fake_account import API_KEY, AUDIENCE, member_id, subscriber
from tests.mailchimp.faults import BODY_CAP, PERSON
from tests.mailchimp.loopback import serve
from tests.mailchimp.writable_account import AUTOMATION, EMAIL, WORKFLOW, Break, WritableAccount, reached
from tests.optimizations.conftest import NOW, POLICY, proposal
from tests.worlds.writing import approved, tables_tonight

PEOPLE, PAGE_SIZE = 7, 3
FIELD = "ARM"
SCARCE = {"retry_budget_seconds": 0.25, "call_deadline_seconds": 0.2, "max_response_bytes": BODY_CAP}
LIST, MEMBER = f"/lists/{AUDIENCE}", f"/lists/{AUDIENCE}/members/"


ENDPOINTS: dict[str, Callable[[str, str], bool]] = {
    "the audiences": lambda method, path: path == "/lists",
    "the members": lambda method, path: path == f"{LIST}/members",
    "the merge fields": lambda method, path: (method, path) == ("GET", f"{LIST}/merge-fields"),
    "a new merge field": lambda method, path: (method, path) == ("POST", f"{LIST}/merge-fields"),
    "a member": lambda method, path: method == "GET" and path.startswith(MEMBER),
    "a member that is written": lambda method, path: method == "PATCH" and path.startswith(MEMBER),
    "an e-mail": lambda method, path: (method, path) == ("GET", AUTOMATION),
    "an e-mail that is started": lambda method, path: path == f"{AUTOMATION}/actions/start",
}
OF_EMAIL = frozenset({"an e-mail", "an e-mail that is started"})


def measure(quick: bool) -> Iterator[Row]:
    """Every kind at every endpoint, once and for good; of a quick run every fourth."""
    mailchimp.FIRST_WAIT_SECONDS, paging.PAGE_SIZE = 0.02, PAGE_SIZE
    cases = [(kind, place, times) for kind in KINDS for place in ENDPOINTS for times in (1.0, float("inf"))]
    sums: Counter[str] = Counter()
    for number, case in enumerate(cases[::4] if quick else cases):
        with tempfile.TemporaryDirectory(prefix="driptune-torture-") as folder:
            found = _meet(Path(folder), *case)
        sums += found
        if wrong := {name: count for name, count in found.items() if name != "answers" and count}:
            print(f"case {number}, {case}: {wrong}")
    names = ("wrong", "untyped", "secrets", "unfinished")
    reached_figure = "; ".join(str(sums[name]) for name in names)
    yield Row("R3", f"{sums['answers']:,} faulty answers of {len(KINDS)} kinds at {len(ENDPOINTS)} endpoints of apply: "
              "said to be applied and were not; untyped errors; secrets in errors or ledger; not right after the next "
              "run and the rollback", reached_figure, "0; 0; 0; 0",
              reached_figure == "0; 0; 0; 0" and (quick or sums["answers"] >= 500))  # fmt: skip


def _proposal(place: str) -> Proposal:
    if place in OF_EMAIL:
        after = {"operation": "start", "workflow_id": WORKFLOW, "email_id": EMAIL}
        return proposal(kind=Kind.STUCK, target="flow", apply_kind=ApplyKind.API_PATCH, after=after)
    after = {"field": FIELD, "value": "B", "holdout_value": "A"}
    return proposal(kind=Kind.EXPERIMENT_WINNER, target="test", apply_kind=ApplyKind.MEMBER_FIELDS, after=after)


def _meet(folder: Path, kind: str, place: str, times: float) -> Counter[str]:
    """One application that meets a fault, the next one without it, and the rollback."""
    sums: Counter[str] = Counter()
    account = WritableAccount(PEOPLE)
    account.set(0, FIELD, "before")
    left = times

    def choose(method: str, path: str, query: dict[str, str]) -> Break | None:
        nonlocal left
        if left <= 0 or not ENDPOINTS[place](method, path):
            return None
        left -= 1
        sums["answers"] += 1
        return KINDS[kind]

    account.choose = choose
    made = _proposal(place)
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    approved(ledger, made)
    with serve(account.answer) as url:
        sums += _attempt(ledger, made, reached(url, PEOPLE, **SCARCE), account)
        left = 0
        patient = reached(url, PEOPLE, max_response_bytes=BODY_CAP)
        if ledger.record(made.optimization_id).status is not Status.APPLIED:
            sums += _attempt(ledger, made, patient, account)
        sums["unfinished"] += ledger.record(made.optimization_id).status is not Status.APPLIED
        sums["unfinished"] += not _is_right(made, account)
        terms: dict[str, Any] = {"actor": "noor", "reason": "Tried.", "first_day": NOW.date(), "now": NOW}
        roll_back(ledger, made.optimization_id, patient, **terms)
        stands: Any = account.found[AUTOMATION]
        sums["unfinished"] += account.values(FIELD) != {0: "before"} or stands["status"] != "paused"
    sums["unfinished"] += bool(ledger.verify())
    ledger.close()
    kept = (folder / "ledger.sqlite").read_bytes()
    sums["secrets"] += any(secret.encode() in kept for secret in (PERSON, API_KEY, member_id(0), "127.0.0.1"))
    return sums


def _attempt(ledger: Ledger, made: Proposal, account: MailchimpAccount, stands: WritableAccount) -> Counter[str]:
    terms: dict[str, Any] = {"approval_policy": POLICY, "standing": [made], "first_day": NOW.date(), "now": NOW}
    try:
        apply(ledger, made.optimization_id, account, tables_tonight(), **terms)
    except DriptuneError as error:
        told = str(error)
        names_place = not isinstance(error, SourceError) or told.startswith(error.endpoint)
        is_secret = any(secret in told for secret in (PERSON, API_KEY, member_id(0), "127.0.0.1"))
        return Counter(untyped=int(not names_place), secrets=int(is_secret))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return Counter(untyped=1)
    return Counter(wrong=int(not _is_right(made, stands)))


def _is_right(made: Proposal, account: WritableAccount) -> bool:
    """Whether the account holds what the proposal wants."""
    if made.kind is Kind.STUCK:
        stands: Any = account.found[AUTOMATION]
        return bool(stands["status"] == "sending")
    keys = pl.Series([subscriber(number) for number in range(PEOPLE)])
    out = is_held_out(keys, made.optimization_id, made.holdout_share)
    return account.values(FIELD) == {number: "A" if is_out else "B" for number, is_out in enumerate(out)}
