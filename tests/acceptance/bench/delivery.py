"""What a delivery costs driptune itself: a field is written to every member of an account on loopback.

Run as a process of its own (`python -m tests.acceptance.bench.delivery PEOPLE`), it prints the CPU seconds of this
process as JSON; the account answers in another one.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.common.sticky_hash import is_held_out
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.ledger import Ledger
from pipeline.settings import Settings
from tests.acceptance.bench.rows import Row
from tests.mailchimp.fake_account import API_KEY, AUDIENCE, member_id, subscriber
from tests.mailchimp.loopback import serve
from tests.mailchimp.writable_account import WritableAccount
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.holdouts import holdouts
from tests.worlds.writing import FIRST_DAY, approved, hours

PEOPLE, MOST_SECONDS = 100_000, 60.0


class LargeAccount(WritableAccount):
    """Finds a member without going through all of them."""

    def __init__(self, people: int) -> None:
        super().__init__(people)
        self._by_path = {f"/lists/{AUDIENCE}/members/{one['id']}": one for one in self.members}

    def find(self, path: str, query: dict[str, str]) -> Any:
        return self._by_path.get(path) or super().find(path, query)


def delivery() -> Row:
    """The row of the table, measured in a fresh process."""
    command = [sys.executable, "-m", "tests.acceptance.bench.delivery", str(PEOPLE)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    measured = f"{told['seconds']:.0f} CPU-s, {told['memory']:.2f} GB, {told['wrong']} wrong values"
    holds = told["seconds"] <= MOST_SECONDS and not told["wrong"]
    return Row("", f"a field delivered to {PEOPLE:,} members", measured, f"<= {MOST_SECONDS:.0f} CPU-s", holds)


def _deliver(people: int, folder: Path, url: str) -> dict[str, float]:
    keys = [subscriber(number) for number in range(people)]
    assigned = pl.DataFrame({"subscriber_key": keys, "assigned_local_hour": [key % 24 for key in keys]})
    known = pl.DataFrame({"subscriber_key": keys, "member_id": [member_id(number) for number in range(people)]})
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    record = approved(ledger, hours())
    account = MailchimpAccount(MailchimpClient(url, API_KEY, settings=Settings(_env_file=None)), known)
    tables = {"send_time_assignments": assigned, "holdouts": holdouts()}
    terms: dict[str, Any] = {"standing": [hours()], "first_day": FIRST_DAY, "now": NOW, "approval_policy": POLICY}
    started = time.process_time()
    applications.apply(ledger, record.optimization_id, account, tables, **terms)
    spent = time.process_time() - started
    out = is_held_out(assigned["subscriber_key"], record.optimization_id, record.proposal.holdout_share)
    wanted = assigned.select(
        "subscriber_key", wanted=pl.when(~out).then(pl.col("assigned_local_hour").cast(pl.String)).otherwise(None)
    )
    held = account.members("SENDHOUR").join(wanted, on="subscriber_key")
    wrong = held.filter(pl.col("current").ne_missing(pl.col("wanted"))).height
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": spent, "memory": peak, "wrong": wrong, "members": held.height}


def main() -> None:
    """Command line: measure, or answer as the account until the input ends."""
    people = int(sys.argv[1])
    if len(sys.argv) > 2:
        with serve(LargeAccount(people).answer) as url:
            print(url, flush=True)
            sys.stdin.read()
        return
    command = [sys.executable, "-m", "tests.acceptance.bench.delivery", str(people), "serve"]
    with (
        tempfile.TemporaryDirectory(prefix="driptune-bench-") as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(_deliver(people, Path(folder), server.stdout.readline().strip())))
        server.stdin.close()


if __name__ == "__main__":
    main()
