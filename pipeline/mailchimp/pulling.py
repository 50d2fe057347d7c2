"""What every pull shares: the night's bounds, writing into the lake, the summary, and the state of windows.

Nothing here knows an endpoint.
"""

import json
import logging
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from pipeline.common.files import read_state, write_state
from pipeline.common.time import end_of_day_us, start_of_day_us
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake, QuarantinedRow
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.rows import Rows
from pipeline.schemas.base import Table, identity
from pipeline.schemas.lake import Orders
from pipeline.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PullSummary:
    """What one pull did: new rows by table, rows newly set aside, and requests made."""

    rows: dict[str, int]
    quarantined: int
    calls: int


class Pull:
    """One pull of one night: gathers rows, keeps those of the night's span, writes them."""

    def __init__(
        self, client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
    ) -> None:
        self.client, self.lake, self.keys, self.settings, self.as_of = client, lake, keys, settings, as_of
        self.end_us = end_of_day_us(as_of) - 1
        self._calls_before = client.calls
        self._rows: dict[str, int] = {}
        self._quarantined = 0
        self._frames: dict[type[Table], list[pl.DataFrame]] = {}
        self._set_aside: list[QuarantinedRow] = []

    @property
    def until(self) -> str:
        """The night's last second: `before` of the API's windows is inclusive, `since` exclusive, both in seconds."""
        return f"{self.as_of.isoformat()}T23:59:59+00:00"

    def add(self, rows: Rows) -> int:
        """Gathers rows for the next `write` and returns how many lie after the night and were left for a later one."""
        where = identity(rows.model)
        frame = rows.frame.drop("member_id", "email_address", strict=False)
        self._set_aside += rows.quarantined
        later = 0
        if where.partition:
            on_time = frame.filter(pl.col(where.partition) <= self.end_us)
            later = frame.height - on_time.height
            frame = on_time
            # A first purchase needs every order, however old.
            if self.settings.first_day and rows.model is not Orders:
                frame = frame.filter(pl.col(where.partition) >= start_of_day_us(self.settings.first_day))
        self._frames.setdefault(rows.model, []).append(frame)
        return later

    def write(self) -> None:
        """Writes what was gathered; only afterwards may state move."""
        for model, frames in self._frames.items():
            rows = pl.concat(frames)
            written = self.lake.append(model, rows, self.as_of) if rows.height else 0
            name = identity(model).name
            self._rows[name] = self._rows.get(name, 0) + written
        self._quarantined += self.lake.quarantine(self._set_aside, self.as_of)
        self._frames, self._set_aside = {}, []

    def summary(self) -> PullSummary:
        """What was done since this pull began."""
        return PullSummary(self._rows, self._quarantined, self.client.calls - self._calls_before)


class WindowState:
    """How far each window has been read; lives beside the lake, since both must be lost together.

    A file that cannot be read counts as none: everything is read again, and the lake drops what it has.
    """

    def __init__(self, lake: Lake) -> None:
        self._path = lake.root / "state" / "mailchimp.json"
        try:
            self._all = read_state(self._path)
        except (json.JSONDecodeError, UnicodeDecodeError):
            logger.warning("The state of Mailchimp's windows is damaged; everything is read again.")
            self._all = {}

    def section(self, name: str) -> dict[str, Any]:
        """The part of the state with this name; changes to it are kept by `save`."""
        found: dict[str, Any] = self._all.setdefault(name, {})
        return found

    def save(self) -> None:
        """Writes the state, whole or not at all."""
        write_state(self._path, self._all)
