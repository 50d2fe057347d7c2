"""Members that changed since the last pull, who among them changed their address, and who is no longer there.

A window moves only when as many members are known as Mailchimp announces, and none of it was set aside. More may be
known than announced: a deleted member leaves no trace in the API, and one who changed since the night has left its
window. A full sweep every `member_sweep_nights` nights finds the deleted.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.fields import BrokenError, instant
from pipeline.mailchimp.pulls.narrowing import answers, projection, until
from pipeline.mailchimp.pulls.people import deleted_members, known_persons, without_address
from pipeline.mailchimp.pulls.pulling import Pull, PullSummary
from pipeline.schemas import lake as tables
from pipeline.settings import Settings

MEMBERS = "/lists/{list_id}/members"
# Kinds of merge fields that name a person, whatever their tag.
PERSONAL_KINDS = frozenset({"address", "phone", "birthday"})
MEMBER_FIELDS = (
    "id,contact_id,email_address,status,timestamp_signup,timestamp_opt,last_changed,location,language,member_rating,"
    "source,merge_fields,tags"
)
# Archived members are absent from the default list, so whatever is asked of members is asked twice.
LISTS: tuple[dict[str, str | int], ...] = ({}, {"status": "archived"})


@dataclass(frozen=True)
class Changed:
    """Members of an audience that changed in a window, and the moment up to which all of them were good."""

    rows: parse.Rows
    renamed: pl.DataFrame
    reached: str


@dataclass(frozen=True)
class Read:
    """What was read of an audience; `whole` holds the keys of all its members where a sweep read them."""

    changed: Changed
    announced: int | None
    whole: pl.Series | None


def pull_members(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Every audience by itself: members that changed and their addresses, and on some nights who was deleted.

    Raises:
        SourceError: if no audience can be read.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    windows, sweeps = pull.state.section("members"), pull.state.section("sweeps")
    audiences = lake.latest(tables.Audiences).select("audience_id", "name").sort("audience_id").collect()
    is_swept = False
    for audience_id, name in audiences.iter_rows():
        since = windows.get(audience_id, "")
        if since >= pull.until:
            continue
        is_due = bool(since) and _nights_since(sweeps.get(audience_id), as_of) >= settings.member_sweep_nights
        found = None
        if not pull.sources.is_unlisted("audience", audience_id):
            read = partial(_read, pull, keys, audience_id, since, is_due)
            is_there = partial(answers, client, "/lists/{list_id}", list_id=audience_id)
            found = pull.attempt("audience", audience_id, name, read, is_there)
        if found:
            _gather(pull, audience_id, name, found)
            windows[audience_id] = found.changed.reached
        whole = found.whole if found else _nobody(pull, audience_id)
        if is_due and whole is not None:
            pull.add(parse.Rows(tables.Members, deleted_members(lake, audience_id, whole), []))
            sweeps[audience_id], is_swept = as_of.isoformat(), True
        elif found and not since:
            sweeps[audience_id] = as_of.isoformat()
    pull.write()
    if is_swept:
        lake.drop_addresses(without_address(lake))
    return pull.finish()


def _nights_since(night: str | None, as_of: date) -> int:
    """Nights since the last sweep; an audience that an older release read was never swept."""
    return (as_of - (date.fromisoformat(night) if night else date.min)).days


def _nobody(pull: Pull, audience_id: str) -> pl.Series | None:
    """The members of an audience that went away."""
    return pl.Series("subscriber_key", [], dtype=pl.Int64) if pull.sources.is_gone("audience", audience_id) else None


def _gather(pull: Pull, audience_id: str, name: str, found: Read) -> None:
    rows = found.changed.rows
    reached = rows.frame.filter(pl.col("email_address").is_not_null())
    pull.lake.remember_addresses(reached.select("subscriber_key", "member_id", "email_address", "external_id"))
    pull.add(parse.Rows(tables.Renamed, found.changed.renamed, []))
    pull.add(until(rows, pull.end_us, "signup_us", "last_changed_us"))
    set_aside = len(rows.quarantined)
    pull.sources.note_read("audience", audience_id, name, announced=found.announced, set_aside=set_aside)


def _read(pull: Pull, keys: SubscriberKeys, audience_id: str, since: str, is_sweep: bool) -> Read:
    """The members that changed since, and all of them where somebody is missing who did not."""
    everybody = _everybody(pull, keys, audience_id) if is_sweep else None
    changed, announced = _changed(pull, keys, audience_id, since)
    if since:
        announced = _announced(pull, audience_id)
        if _lacks_somebody(pull, audience_id, changed, announced, everybody):
            changed, announced = _changed(pull, keys, audience_id, "")
    return Read(changed, announced, None if everybody is None else everybody["subscriber_key"])


def _announced(pull: Pull, audience_id: str) -> int | None:
    """How many members Mailchimp says that an audience has, as far as they have not changed since the night."""
    window = {"before_last_changed": pull.until}
    counts = [pull.client.count(MEMBERS, {**window, **one}, list_id=audience_id) for one in LISTS]
    return _sum(counts)


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _lacks_somebody(
    pull: Pull, audience_id: str, changed: Changed, announced: int | None, everybody: pl.DataFrame | None
) -> bool:
    """Whether fewer members are known than there are: then an earlier window lost some."""
    is_alive = (pl.col("audience_id") == audience_id) & (pl.col("status") != tables.DELETED)
    held = pull.lake.latest(tables.Members).filter(is_alive & _is_due(pull)).select("subscriber_key").collect()
    known = pl.concat([held, changed.rows.frame.select("subscriber_key")]).unique()
    if everybody is not None and everybody.filter(_is_due(pull)).join(known, on="subscriber_key", how="anti").height:
        return True
    return announced is not None and announced > known.height + len(changed.rows.quarantined)


def _is_due(pull: Pull) -> pl.Expr:
    return (pl.col("last_changed_us") <= pull.end_us).fill_null(True)


def _everybody(pull: Pull, keys: SubscriberKeys, audience_id: str) -> pl.DataFrame | None:
    """`subscriber_key` and `last_changed_us` of every member there is now; none if one of them cannot be told."""
    fields = {"fields": projection("members", "id,contact_id,email_address,status,last_changed")}
    items = [item for one in LISTS for item in pull.listing(MEMBERS, "members", {**fields, **one}, list_id=audience_id)]
    rows = _parsed(pull, keys, audience_id, items, frozenset())
    if rows.broken:
        return None
    members, _ = known_persons(rows.frame, audience_id, pull.lake, keys)
    return members.select("subscriber_key", "last_changed_us")


def _changed(pull: Pull, keys: SubscriberKeys, audience_id: str, since: str) -> tuple[Changed, int | None]:
    """The members that changed after `since` (all, if that is empty), and how many were announced."""
    kinds = pull.listing(
        "/lists/{list_id}/merge-fields",
        "merge_fields",
        {"fields": projection("merge_fields", "tag,type")},
        list_id=audience_id,
    )
    personal = {str(one.get("tag")) for one in kinds if isinstance(one, dict) and one.get("type") in PERSONAL_KINDS}
    window: dict[str, str | int] = {
        "fields": projection("members", MEMBER_FIELDS),
        "before_last_changed": pull.until,
        "sort_field": "last_changed",
        "sort_dir": "ASC",
    }
    if since:
        window["since_last_changed"] = since
    lists = [pull.listing(MEMBERS, "members", {**window, **one}, list_id=audience_id) for one in LISTS]
    items = [item for one in lists for item in one]
    rows = _parsed(pull, keys, audience_id, items, frozenset(personal))
    members, renamed = known_persons(rows.frame, audience_id, pull.lake, keys)
    changed = Changed(
        parse.Rows(rows.model, members, rows.quarantined),
        renamed,
        _reached(since, pull.until, [items[index] for index in rows.broken]),
    )
    return changed, _sum([one.announced for one in lists])


def _parsed(
    pull: Pull, keys: SubscriberKeys, audience_id: str, items: list[Any], personal: frozenset[str]
) -> parse.Rows:
    external = {pull.settings.external_id_field} if pull.settings.external_id_field else set()
    return parse.member_rows(
        f"/lists/{audience_id}/members",
        items,
        keys,
        audience_id=audience_id,
        private=frozenset(pull.settings.personal_fields) | personal | external,
        external_id=pull.settings.external_id_field,
    )


def _reached(since: str, until: str, broken: list[Any]) -> str:
    """How far a window was read: to its end, or to just before the first member that was set aside.

    Those are asked for again every night, until they can be read.
    """
    moments = [_last_changed(item) for item in broken]
    if None in moments:
        return since
    earliest = min((moment for moment in moments if moment is not None), default=None)
    if earliest is None:
        return until
    return (datetime.fromtimestamp(earliest // 1_000_000, UTC) - timedelta(seconds=1)).isoformat()


def _last_changed(item: Any) -> int | None:
    try:
        return instant(item.get("last_changed")) if isinstance(item, dict) else None
    except BrokenError:
        return None
