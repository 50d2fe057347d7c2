"""`make approval`: a change of the sample account from its proposal to its realised lift, approved in a real browser.

The demo's night, `driptune up`, a click on Approve in Chromium, the sensor that applies it to the stand-in server, then
a nightly and `driptune apply` a day, and the lift against those kept out beside the promise.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from playwright.sync_api import Browser, Page, sync_playwright

from pipeline.common.sticky_hash import is_held_out
from pipeline.common.words import lift
from pipeline.lake.store import Lake
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.connection import connect
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.realised import in_a_word
from pipeline.optimizations.record import IN_EFFECT, Record
from pipeline.published.reader import published_table
from pipeline.sample.account.world import PLANTED
from pipeline.schemas.loop import RealisedLift
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.acceptance.torture.installation import COMMAND
from tests.serving.started import driptune_up

NIGHTS = 28
FEWEST_KINDS = 5
APPROVER = "mara"
#: The sensor looks once a minute; a run takes half a minute to start.
PATIENCE_SECONDS = 600
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def driptune(folder: Path, *arguments: str) -> None:
    """Run a command as a user does; its output on failure."""
    command = [sys.executable, "-c", COMMAND, *arguments]
    done = subprocess.run(command, env=_environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"driptune {' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def enter(browser: Browser, link: str, size: tuple[int, int]) -> Page:
    """A page of the inbox, of somebody whom the link let in."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(link)
    page.get_by_role("button").first.click()
    page.wait_for_url("**/inbox/")
    return page


def approve(browser: Browser, folder: Path, shots: Path | None) -> Record:
    """Approve the winner in the inbox, and wait until the sensor has applied it."""
    settings = _settings(folder)
    with driptune_up(_environment(folder), folder) as server:
        page = enter(browser, server.links[APPROVER], SIZES["desktop"])
        _shoot(page, shots, "1 inbox")
        page.get_by_role("link", name="send arm B to everybody").click()
        page.get_by_role("heading", name="The evidence").wait_for()
        _shoot(page, shots, "2 before approval")
        page.get_by_role("button", name="Approve").click()
        page.get_by_text(f"approved by {APPROVER}").first.wait_for()
        _shoot(page, shots, "3 approved")
        for _ in range(PATIENCE_SECONDS):
            with open_ledger(settings) as ledger:
                in_effect = ledger.records(*IN_EFFECT)
            if in_effect:
                return in_effect[0]
            time.sleep(1)
    raise RuntimeError("The sensor applied nothing.")


def wrong_fields(settings: Settings, record: Record) -> tuple[int, int]:
    """Members that the stand-in server holds, and those of them whose field is not what the record says."""
    with connect(settings, SAMPLE_TONIGHT) as client:
        members = MailchimpAccount(client, Lake(settings.lake_dir).addresses()).members(PLANTED.experiment_field)
    out = is_held_out(members["subscriber_key"], record.optimization_id, record.proposal.holdout_share)
    wanted = pl.select(pl.when(out).then(pl.lit("A")).otherwise(pl.lit("B"))).to_series()
    return members.height, int((members["current"] != wanted).fill_null(True).sum())


def run(folder: Path, nights: int, shots: Path | None) -> Iterator[tuple[str, str, bool]]:
    """Go through the loop; what was seen, as (measure, reached, holds)."""
    settings = _settings(folder)
    driptune(folder, "nightly", "--as-of", SAMPLE_TONIGHT.isoformat())
    with open_ledger(settings) as ledger:
        waiting = ledger.records(Status.PENDING)
    kinds = Counter(str(record.proposal.kind) for record in waiting)
    charts = sum(record.proposal.evidence.get("chart") is not None for record in waiting)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    yield (
        f"kinds of proposals waiting (>= {FEWEST_KINDS})",
        f"{told}; {charts} with a chart",
        len(kinds) >= FEWEST_KINDS,
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        record = approve(browser, folder, shots)
        yield "approved by a click in Chromium, applied by the sensor", f"{record.details['writes']}", True
        members, wrong = wrong_fields(settings, record)
        yield (
            "members of the stand-in server with another arm than the record says",
            f"{wrong} of {members:,}",
            not wrong,
        )
        for night in range(1, nights + 1):
            driptune(folder, "nightly", "--as-of", (SAMPLE_TONIGHT + timedelta(days=night)).isoformat())
            driptune(folder, "apply")
        yield from _measured(settings, record)
        with driptune_up(_environment(folder), folder) as server:
            page = enter(browser, server.links[APPROVER], SIZES["desktop"])
            for name, size in SIZES.items():
                page.set_viewport_size({"width": size[0], "height": size[1]})
                page.goto(page.url.partition("/inbox")[0] + f"/inbox/{record.optimization_id}")
                page.get_by_role("heading", name="What it brought").wait_for()
                _shoot(page, shots, f"4 brought, {name}")
            is_beside = (
                page.get_by_text("promised", exact=True).count() and page.get_by_text("realised", exact=True).count()
            )
            yield "the lift stands beside the promise in the inbox", "yes" if is_beside else "no", bool(is_beside)
        browser.close()


def _measured(settings: Settings, record: Record) -> Iterator[tuple[str, str, bool]]:
    nights = published_table(settings.published_dir, RealisedLift).filter(optimization_id=record.optimization_id)
    row = in_a_word(nights).row(0, named=True)
    promised, realised = (
        lift(*(row[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in ("promised_lift", "realised_lift")
    )
    counts = (
        f"{row['exposures']:,} with it, {row['held_out_exposures']:,} kept out, {nights['as_of_day'].n_unique()} nights"
    )
    is_met = row["realised_lift_low"] <= row["promised_lift"] <= row["realised_lift_high"]
    yield "promised and realised; the interval holds the promise", f"{promised}; {realised}; {counts}", is_met


def _settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, _env_file=None)


def _environment(folder: Path) -> dict[str, str]:
    definitions = _settings(folder).definitions.resolve()
    return {**os.environ, "DRIPTUNE_DATA_DIR": str(folder), "DRIPTUNE_DEFINITIONS": str(definitions)}


def _shoot(page: Page, shots: Path | None, name: str) -> None:
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"{name}.png", full_page=True)


def main() -> int:
    """Command line; 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.approval", description=__doc__)
    parser.add_argument("--nights", type=int, default=NIGHTS, help="nights after the approval")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    arguments = parser.parse_args()
    missed = 0
    with TemporaryDirectory(prefix="driptune-loop-") as folder:
        for measure, reached, holds in run(Path(folder), arguments.nights, arguments.shots):
            missed += not holds
            print(f"{'ok  ' if holds else 'MISS'} {measure}\n       {reached}", flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
