"""Journeys and their steps, as far as the account answers: a probe, since Mailchimp documents none of these reads.

Whatever fails costs itself. What earlier nights read stays, and one line says what was not read tonight.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

import polars as pl

from pipeline.common.errors import ContractBrokenError, SourceError
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import journey_rows as parse
from pipeline.mailchimp.answers import announced_total, items_of
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.paging import PAGE_SIZE, USUAL_COUNT, IncompleteListingError, Listing
from pipeline.mailchimp.pulls.narrowing import answers, until
from pipeline.mailchimp.pulls.pulling import STOPPING, Pull, PullSummary
from pipeline.mailchimp.rows import Rows
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Journeys
from pipeline.schemas.vocabulary import SourceKind
from pipeline.settings import Settings

JOURNEYS = "/customer-journeys/journeys"
JOURNEY = JOURNEYS + "/{journey_id}"
STEPS = JOURNEY + "/steps"
STEP = STEPS + "/{step_id}"
LIST: SourceKind = "journey list"
LIST_ID = "journeys"
_SHAPE = "Mailchimp documents no such answer. The flow map goes on with what is known."


def pull_journeys(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Every journey that the account lists, each by itself. Never fails: a failure is noted and returned."""
    pull = Pull(client, lake, keys, settings, as_of)
    try:
        _read_all(pull)
    except SourceError as error:
        pull.sources.note_failed(LIST, LIST_ID, "", str(error))
        pull.failures.insert(0, error)
    failures, pull.failures = pull.failures, []
    return replace(pull.finish(), failures=failures)


def _read_all(pull: Pull) -> None:
    ever = dict(pull.lake.latest(Journeys).select("journey_id", "name").collect().iter_rows())
    listed = _listed(pull.client, JOURNEYS, "journeys")
    found = parse.journey_rows(listed)
    if listed and found.frame.is_empty():
        raise ContractBrokenError(JOURNEYS, "no journey has an id", _SHAPE, "journeys.id")
    if ever and not listed:
        what = f"no journey is listed, and {len(ever)} were read before"
        raise ContractBrokenError(JOURNEYS, what, _SHAPE, "journeys")
    if not listed.is_short:
        pull.sources.compare("journey", ever, set(found.frame["journey_id"]))
    journeys = until(found, pull.end_us, "first_started_us").frame
    known = dict(pull.lake.latest(Journeys).select("journey_id", "step_ids").collect().iter_rows())
    steps = pull.client.map(partial(_steps_of, pull, known), journeys.select("journey_id", "name").rows())
    step_ids = [
        known.get(journey_id, "[]") if one is None else parse.ids_as_text(one)
        for journey_id, one in zip(journeys["journey_id"], steps, strict=True)
    ]
    numbers = _campaigns_by_number(pull.lake)
    pull.add(Rows(Journeys, journeys.with_columns(pl.Series("step_ids", step_ids)), found.quarantined))
    for one in steps:
        if one is not None:
            pull.add(_resolved(one, numbers))
    pull.sources.note_read(LIST, LIST_ID, announced=len(listed), set_aside=len(found.quarantined))
    if listed.is_short:
        raise IncompleteListingError(JOURNEYS, "journeys", listed, "Those that came are read, none counts as gone.")


def _listed(client: MailchimpClient, endpoint: str, key: str, *, limits: int = 1, **ids: str) -> Listing:
    """Every item once. One source found `offset` without effect, so a page without a new item ends the listing.

    Where no total is told, a page that is no multiple of `limits` is taken for the last one, which saves a call.
    """
    found: dict[str | None, Any] = {}
    while True:
        before = len(found)
        body = client.probe(endpoint, {"count": PAGE_SIZE, **({"offset": before} if before else {})}, **ids)
        page = items_of(body, key, endpoint)
        for item in page:
            known_by = parse.identifier(item.get("id")) if isinstance(item, dict) else None
            # What has no id is known by all that it says, so that the same page again brings nothing new.
            found.setdefault(known_by or json.dumps(item, sort_keys=True), item)
        total = announced_total(body, endpoint)
        is_whole = len(page) % limits > 0 if total is None else len(page) < PAGE_SIZE and len(found) >= total
        if is_whole or len(found) == before:
            return Listing(list(found.values()), total)


def _steps_of(pull: Pull, known: Mapping[str, str], journey: tuple[str, str]) -> Rows | None:
    """The steps of a journey; none if they could not be read."""
    journey_id, name = journey
    is_there = partial(answers, pull.client, JOURNEY, journey_id=journey_id)
    before = len(json.loads(known.get(journey_id, "[]")))
    return pull.attempt("journey", journey_id, name, partial(_steps, pull, journey_id, name, before), is_there)


def _steps(pull: Pull, journey_id: str, name: str, before: int) -> Rows:
    items = _listed(pull.client, STEPS, "steps", limits=USUAL_COUNT, journey_id=journey_id)
    if before and not items:
        raise ContractBrokenError(STEPS, f"no step is listed, and {before} were read before", _SHAPE, "steps")
    if items.is_short:
        raise IncompleteListingError(STEPS, "steps", items)
    steps = parse.step_rows(journey_id, [_whole(pull.client, journey_id, item) for item in items])
    if items and steps.frame.is_empty():
        raise ContractBrokenError(STEPS, "no step has an id", _SHAPE, "steps.id")
    pull.sources.note_read("journey", journey_id, name, announced=len(items), set_aside=len(steps.quarantined))
    return steps


def _whole(client: MailchimpClient, journey_id: str, item: Any) -> Any:
    """A step with its e-mail, which one source found in the single step only. If that fails, as it is listed."""
    step_id = parse.identifier(item.get("id")) if isinstance(item, dict) else None
    if step_id is None or parse.tells_email(item):
        return item
    try:
        return parse.with_details(item, client.probe(STEP, {}, journey_id=journey_id, step_id=step_id))
    except STOPPING:
        raise
    except SourceError:
        return item


def _campaigns_by_number(lake: Lake) -> dict[str, str]:
    """Campaign by the number that the app's addresses use, and by its own id, which some answers give in its place."""
    known = lake.latest(tables.Campaigns).select("web_id", "campaign_id").collect()
    ids = known["campaign_id"].to_list()
    return dict(zip(ids, ids, strict=True)) | dict(known.drop_nulls("web_id").iter_rows())


def _resolved(steps: Rows, numbers: dict[str, str]) -> Rows:
    """The steps, with the campaign of an e-mail that tells only its number."""
    by_number = pl.col("web_id").replace_strict(numbers, default=None, return_dtype=pl.String)
    campaign = pl.coalesce("campaign_id", pl.when(pl.col("step_kind") == "email").then(by_number))
    return replace(steps, frame=steps.frame.with_columns(campaign.alias("campaign_id")))
