"""What every pull shares: the night's bounds, reading each source by itself, writing into the lake, and the summary.

Nothing here knows an endpoint.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TypeVar

import polars as pl

from pipeline.common import errors
from pipeline.common.time import end_of_day_us, start_of_day_us
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake, QuarantinedRow
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.paging import IncompleteListingError, Listing
from pipeline.mailchimp.pulls.sources import SourceBook
from pipeline.mailchimp.rows import Rows
from pipeline.mailchimp.windows import WindowState
from pipeline.schemas.base import Table, identity, polars_schema
from pipeline.schemas.lake import Orders, Renamed
from pipeline.schemas.vocabulary import SourceKind
from pipeline.settings import Settings

# With such an error nothing of the account can be read, so no source is tried after it.
STOPPING = (errors.AuthenticationError, errors.ConfigurationError, errors.RedirectRefusedError)
# Sources that may fail, each after a whole budget of attempts, before the others are left for another try.
MOST_FAILING = 3

Found = TypeVar("Found")


@dataclass(frozen=True)
class PullSummary:
    """What one pull did: new rows by table, rows newly set aside, requests made, and the failures of single sources."""

    rows: dict[str, int]
    quarantined: int
    calls: int
    failures: list[errors.SourceError] = field(default_factory=list)


@dataclass(frozen=True)
class Kept:
    """What became of rows that were gathered: how many different ones are kept, and how many wait for a later night."""

    rows: int
    later: int


class Pull:
    """One pull of one night: reads each source by itself, gathers the rows of the night's span, and writes them."""

    def __init__(
        self, client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
    ) -> None:
        self.client, self.lake, self.settings, self.as_of = client, lake, settings, as_of
        self.keys = keys.known_as(lake.latest(Renamed).collect())
        self.end_us = end_of_day_us(as_of) - 1
        self.state = WindowState(lake)
        self.sources = SourceBook(lake, self.state, as_of)
        self.failures: list[errors.SourceError] = []
        self._calls_before = client.calls
        self._rows: dict[str, int] = {}
        self._quarantined = 0
        self._succeeded = 0
        self._frames: dict[type[Table], list[pl.DataFrame]] = {}
        self._broken: list[QuarantinedRow] = []
        self._lock = threading.Lock()

    @property
    def until(self) -> str:
        """The night's last second: `before` of the API's windows is inclusive, `since` exclusive, both in seconds."""
        return f"{self.as_of.isoformat()}T23:59:59+00:00"

    def listing(self, endpoint: str, key: str, params: dict[str, str | int] | None = None, **ids: str) -> Listing:
        """All items of a paged collection, as `MailchimpClient.listing` gives them.

        A total that stays too large by the same number for `recheck_days` is a fact of the source, not a fault. From
        then on what comes is taken for all there is, and the difference is named.

        Raises:
            SourceError: as the client.
        """
        return self._settled(lambda: self.client.listing(endpoint, key, params, **ids), endpoint, params, ids)

    def unpaged(self, endpoint: str, key: str, **ids: str) -> Listing:
        """All items of a collection without paging, by the same rule as `listing`.

        Raises:
            SourceError: as the client.
        """
        return self._settled(lambda: self.client.unpaged(endpoint, key, **ids), endpoint, None, ids)

    def attempt(
        self, kind: SourceKind, source_id: str, name: str, read: Callable[[], Found], is_there: Callable[[], bool]
    ) -> Found | None:
        """What `read` returns; none if the source is gone or fails, which is noted and costs nothing else.

        Args:
            kind: what the source is.
            source_id: its id.
            name: its name.
            read: reads the source.
            is_there: whether the source itself still answers; asked when something of it does not.

        Raises:
            SourceError: if nothing of the account can be read.
        """
        if sum(isinstance(one, errors.TransientError) for one in self.failures) >= MOST_FAILING:
            self.fail(kind, source_id, name, self.failures[0])
            return None
        try:
            try:
                found = read()
            except errors.NotFoundError:
                if is_there():
                    raise
                self.sources.note_gone(kind, source_id, name, "gone")
                found = None
        except STOPPING:
            raise
        except errors.SourceError as error:
            self.fail(kind, source_id, name, error)
            return None
        self._succeeded += 1
        return found

    def fail(self, kind: SourceKind, source_id: str, name: str, error: errors.SourceError) -> None:
        """Notes that a source failed tonight."""
        with self._lock:
            self.failures.append(error)
        self.sources.note_failed(kind, source_id, name, str(error))

    def fail_in_part(self, failures: Sequence[errors.SourceError], parts_read: int) -> None:
        """Notes that parts of a source failed tonight, while so many others were read."""
        self.failures += failures
        self._succeeded += parts_read

    def add(self, rows: Rows) -> Kept:
        """Gathers rows for the next `write`; those that lie after the night are left for a later one."""
        where = identity(rows.model)
        frame = rows.frame.select([name for name in polars_schema(rows.model) if name in rows.frame.columns])
        self.set_aside(rows.quarantined)
        later = 0
        if where.partition:
            on_time = frame.filter(pl.col(where.partition) <= self.end_us)
            later = frame.height - on_time.height
            frame = on_time
            # A first purchase needs every order, however old.
            if self.settings.first_day and rows.model is not Orders:
                frame = frame.filter(pl.col(where.partition) >= start_of_day_us(self.settings.first_day))
        self._frames.setdefault(rows.model, []).append(frame)
        keys = [name for name in where.natural_key if name in frame.columns]
        return Kept(frame.select(keys).n_unique(), later)

    def set_aside(self, rows: Sequence[QuarantinedRow]) -> None:
        """Gathers rows that broke their contract for the next `write`."""
        self._broken += rows

    def write(self) -> None:
        """Writes what was gathered, then what is noted of the sources; only afterwards may state move."""
        for model, frames in self._frames.items():
            rows = pl.concat(frames)
            if rows.height:
                name = identity(model).name
                self._rows[name] = self._rows.get(name, 0) + self.lake.append(model, rows, self.as_of)
        self._quarantined += self.lake.quarantine(self._broken, self.as_of)
        self._frames, self._broken = {}, []
        self.sources.write()

    def finish(self) -> PullSummary:
        """Writes what is left, moves the state, and tells what was done since this pull began.

        Raises:
            SourceError: the first failure of a source, if none could be read.
        """
        self.write()
        self.state.save()
        if self.failures and not self._succeeded:
            raise self.failures[0]
        return PullSummary(self._rows, self._quarantined, self.client.calls - self._calls_before, self.failures)

    def _settled(
        self, read: Callable[[], Listing], endpoint: str, params: dict[str, str | int] | None, ids: dict[str, str]
    ) -> Listing:
        """What was read; if it has been as short as now for many nights, the rows that came."""
        short = self.state.section("short")
        # Windows differ from night to night; these parameters tell one collection of an endpoint from another.
        told = [f"{name}={value}" for name, value in (params or {}).items() if name in ("status", "filter_bots")]
        where = " ".join([endpoint.format(**ids), *told])
        try:
            found = read()
        except IncompleteListingError as error:
            missing = (error.listing.announced or 0) - len(error.listing)
            with self._lock:
                known = short.get(where, {})
                if known.get("missing") != missing:
                    known = short[where] = {"since": self.as_of.isoformat(), "missing": missing}
                    self.state.save_only("short")
            if self.as_of - date.fromisoformat(known["since"]) < timedelta(days=self.settings.recheck_days):
                raise
            return error.listing
        with self._lock:
            short.pop(where, None)
        return found
