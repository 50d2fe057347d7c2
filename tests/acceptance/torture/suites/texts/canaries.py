"""R11: addresses and names of fifty people and a key, in every text that comes in, through nights with every fault."""

import copy
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipeline.lake.keys import load_keys
from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.traces import Blob, blobs_below, traces
from tests.mailchimp.fake_account import API_KEY, AUDIENCE, NIGHT, FakeAccount, click, member, member_id, opened, order
from tests.mailchimp.faults import FAULTS, PERSON, Fault
from tests.mailchimp.loopback import page_of, serve
from tests.worlds.personal import WRITINGS

PEOPLE = 50
LONGEST_FORGET_SECONDS = 60.0
# Every address and every name holds it, and nothing else does.
TOKEN = "canaryq"
KEY = API_KEY.partition("-")[0]
PATHS = (f"/lists/{AUDIENCE}/members", "/reports/news/email-activity", "/ecommerce/stores/shop/orders", "/campaigns")


class CanaryAccount(FakeAccount):
    """An account whose every text holds addresses and names; `fault` breaks one path."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: tuple[str, Fault] | None = None
        self.members = [_member(number) for number in range(PEOPLE)]
        self.found[""] = {"account_id": "acc", "account_name": f"of {address(0)}", "account_timezone": address(1)}
        everybody = list(range(PEOPLE))
        self.add_campaign("news", everybody, f"{NIGHT - timedelta(days=3)}T08:00:00+00:00")
        self.add_campaign("more", everybody, f"{NIGHT}T08:00:00+00:00")
        for number, told in enumerate(self.found["/campaigns"][1]):  # type: ignore[index]
            told["settings"] = {"title": written(number), "subject_line": f"For {written(number + 2)}"}
        for number in everybody:
            moment = f"{NIGHT - timedelta(days=2)}T09:00:{number:02d}+00:00"
            link = f"https://example.com/{number}?u={written(number)}&n=1"
            self.add_activity("news", number, opened(moment), click(moment, link))
        left = [{"email_id": member_id(one), "timestamp": f"{NIGHT}T10:00:00+00:00", "reason": f"ask {written(one)}"}
                for one in everybody[:9]]  # fmt: skip
        self.found["/reports/news/unsubscribed"] = ("unsubscribes", left)
        self.found["/reports/news/click-details"] = ("urls_clicked", [
            {"id": f"l{number}", "url": f"https://example.com/{number}?u={written(number)}", "total_clicks": 1,
             "unique_clicks": 1} for number in everybody[:20]])  # fmt: skip
        self.add_store("shop", *(order(f"o{number}", f"{NIGHT}T08:00:00+00:00",
                       customer={"email_address": address(number)}) for number in everybody))  # fmt: skip
        self.found["/ecommerce/stores"][1][0]["name"] = written(3)  # type: ignore[index]
        self.add_automation("welcome", settings={"title": f"Hello {written(5)}"})

    def answer(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        """The answer, broken where a fault is set."""
        if self.fault is None or self.fault[0] != path:
            super().answer(handler, path, query)
            return
        found = self.find(path, query)
        page = copy.deepcopy(page_of(found, query)) if found is not None else {}
        self.fault[1].answer(handler, page)


def address(number: int) -> str:
    """The address of one of the fifty."""
    return f"ann.{TOKEN}{number:02d}+tag@{TOKEN}{number:02d}.example"


def written(number: int) -> str:
    """Somebody's address in one of its writings."""
    writings = list(WRITINGS.values())
    return writings[number % len(writings)](address(number % PEOPLE))


def measure(quick: bool) -> Iterator[Row]:
    """A clean night, a night for each fault, the search, and one of the fifty forgotten."""
    faults = FAULTS[::17] if quick else FAULTS
    made = CanaryAccount()
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(made.answer) as url:
        folder = Path(name)
        place = Installation(folder / "account", url)
        events = _event_files(folder / "events")
        place.environment |= {
            "DRIPTUNE_EVENTS": str(events),
            "DRIPTUNE_CALL_DEADLINE_SECONDS": "2",
            "DRIPTUNE_RETRY_BUDGET_SECONDS": "2",
        }
        said = [("the first night", _said(place, "nightly", "--as-of", str(NIGHT)))]
        for number, fault in enumerate(faults):
            # What a fault changes in a page is a member's.
            is_of_members = fault.always is None or fault.name.startswith(("wrong", "missing", "NaN", "duplicate"))
            made.fault = (PATHS[0] if is_of_members else PATHS[number % len(PATHS)], fault)
            said.append((f"a night with {fault.name}", _said(place, "nightly", "--as-of", str(NIGHT))))
        made.fault = None
        for command in (["nightly", "--as-of", str(NIGHT)], ["doctor"], ["verify"], ["digest"], ["pages"], ["pending"]):
            said.append((f"driptune {command[0]}", _said(place, *command)))
        yield _search(place, said, len(faults))
        yield planted(folder / "planted")
        yield _forget(place)


def _member(number: int) -> dict[str, Any]:
    fields = {
        "FNAME": f"Ann{TOKEN}",
        "FULLNAME": f"Ann {TOKEN.title()}",
        "NAME_FULL": f"{TOKEN} A.",
        "MMERGE7": f"Dear Ann{TOKEN}",
        "WEB": f"https://example.com/?u={written(number)}",
        "PLAN": "pro",
    }
    more = {"merge_fields": fields, "tags": [{"name": written(number)}], "source": f"form of {written(number)}"}
    return member(number, email_address=address(number), **more)


def _event_files(folder: Path) -> Path:
    """Good rows, broken rows and broken files, with people in every column and in the files' names."""
    folder.mkdir()
    moment = f"{NIGHT}T07:00:00Z"
    rows = []
    for number in range(PEOPLE):
        good = {"event_id": f"e{number}", "occurred_at": moment, "event_type": "visit", "subscriber": address(number)}
        told = {"page": f"https://example.com/?u={written(number)}", "full_name": f"Ann {TOKEN}", "note": f"by {TOKEN}"}
        rows += [{**good, **told}]
        rows += [{**good, "event_id": f"{number}{field}", field: written(number)}
                 for field in ("event_id", "event_type", "workflow_id", "step_id", "order_id", "plan", "revenue",
                               "currency", "occurred_at")]  # fmt: skip
    (folder / f"{address(0)}.ndjson").write_text("\n".join(map(json.dumps, rows)))
    (folder / f"{written(2)}.csv").write_text(f"event_id,occurred_at\n{address(1)},now\n")
    (folder / f"of {address(3)}.parquet").write_bytes(address(3).encode())
    (folder / f"{address(4)}.json.gz").write_bytes(address(4).encode())
    return folder


def _said(place: Installation, *command: str) -> bytes:
    return place.run(*command)[1].encode()


def _search(place: Installation, said: list[Blob], faults: int) -> Row:
    """Everything but the private table of addresses, which is there to hold them."""
    private = (place.settings.lake_dir / "addresses", place.settings.data_dir / "secret.key")
    blobs = [*said, *blobs_below(place.folder, without=private)]
    sought = [TOKEN, KEY, PERSON, *(member_id(number) for number in range(PEOPLE))]
    hits = sorted({where for token in sought for where in traces(blobs, token)})
    what = (
        f"{PEOPLE} people in {len(WRITINGS)} writings and a key, in every text that comes in, "
        f"{faults} nights with a fault of a kind: sought in {len(blobs)} outputs, files and tables"
    )
    return Row("R11", what, f"{len(hits)} hits {'; '.join(hits[:5])}".strip(), "0", not hits)


def planted(folder: Path) -> Row:
    """The search itself: it must find what is planted in every kind of file."""
    folder.mkdir()
    rows = pl.DataFrame({"note": [WRITINGS["base64"](address(7))] * 100})
    (folder / "run.log").write_text(address(7))
    (folder / f"{address(7)}.txt").touch()
    (folder / "page.html").write_text(WRITINGS["percent twice"](address(7)))
    rows.write_parquet(folder / "rows.parquet", compression="zstd")
    with duckdb.connect(str(folder / "tables.duckdb")) as connection:
        connection.execute("CREATE TABLE people AS SELECT * FROM rows")
    found = traces(blobs_below(folder), TOKEN)
    kinds = {f"name of {address(7)}.txt", "run.log", "page.html", "rows of rows.parquet",
             "main.people of tables.duckdb"}  # fmt: skip
    what = "the same search over a person planted in a log, a name, a page, a Parquet and a DuckDB file"
    return Row("R11", what, f"{len(kinds & set(found))} found", f"{len(kinds)}", kinds <= set(found))


def _forget(place: Installation) -> Row:
    """`driptune forget`, after which no byte is left of the person."""
    # The address of which the member's id is the hash.
    gone = str(member(7)["email_address"])
    key = load_keys(place.settings).of_member_id(member_id(7))
    before = len(_of_person(place, key))
    started = time.perf_counter()
    code, said = place.run("forget", gone)
    seconds = time.perf_counter() - started
    left = _of_person(place, key)
    what = f"driptune forget of one of them, who stood in {before} files and tables"
    reached = (
        f"{len(left)} left {' '.join(left[:5])} in {seconds:.0f} s, exit code {code} {said if code else ''}".strip()
    )
    return Row(
        "R11", what, reached.strip(), "0 in <= 60 s", not left and code == 0 and seconds <= LONGEST_FORGET_SECONDS
    )


def _of_person(place: Installation, key: int) -> list[str]:
    needles = (str(key).encode(), key.to_bytes(8, "little"), f"{TOKEN}07".encode(), member_id(7).encode())
    blobs = blobs_below(place.settings.data_dir)
    return [name for name, content in blobs if any(needle in content for needle in needles)]
