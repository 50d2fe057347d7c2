"""What is counted of people by local hour and by day of the week: blocks of matrices of narrow integers.

All people of an account are held in this form at once, so it is small. Floats are made of one block at a time, by those
who compute with them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

HOURS = 24
WEEKDAYS = 7


@dataclass(frozen=True)
class HourCounts:
    """Counts of a block of people, one row per person, in the narrowest integers that hold the block.

    Attributes:
        subscriber_key: sorted, shape (subscribers,).
        sends: messages by the hour of sending, shape (subscribers, 24) like all but the last two.
        engagements: opens and clicks by people, by the hour at which they happened.
        behaviour: behavioural events by the hour at which they happened.
        messages: messages whose engagement is known, by the hour of sending.
        drawn: those of them whose hour was drawn by lot.
        engaged: those of them that a person opened or clicked.
        weekday_sends: messages by the day of sending, Monday first, shape (subscribers, 7).
        weekday_engagements: opens and clicks by people, by the day on which they happened, of the same shape.
    """

    subscriber_key: np.ndarray
    sends: np.ndarray
    engagements: np.ndarray
    behaviour: np.ndarray
    messages: np.ndarray
    drawn: np.ndarray
    engaged: np.ndarray
    weekday_sends: np.ndarray
    weekday_engagements: np.ndarray

    def __len__(self) -> int:
        """Number of subscribers."""
        return len(self.subscriber_key)


def single(matrix: np.ndarray) -> np.ndarray:
    """A matrix of counts in single precision."""
    return np.asarray(matrix, dtype=np.float32)


def count_hours(hours: pl.DataFrame, sends: pl.DataFrame) -> HourCounts:
    """Fold the hours and the sends of a block of people into matrices.

    Args:
        hours: `subscriber_key`, `local_hour_of_week` (0-167, Monday 00 = 0), `sends`, `human_clicks`, `human_opens`,
            `behaviour_events`; each count at the hour at which it happened.
        sends: one row per send: `subscriber_key`, `local_hour` (0-23), `is_engaged`, and `is_drawn` (without the
            column, no hour was drawn). Sends to people without a row in `hours` are left out.
    """
    subscriber_key = hours["subscriber_key"].unique().sort().to_numpy()
    row = np.searchsorted(subscriber_key, hours["subscriber_key"].to_numpy())
    hour_of_week = hours["local_hour_of_week"].to_numpy()
    by_hour = (row * HOURS + hour_of_week % HOURS, HOURS)
    by_day = (row * WEEKDAYS + hour_of_week // HOURS, WEEKDAYS)
    engagements = (hours["human_clicks"] + hours["human_opens"]).to_numpy()
    if "is_drawn" not in sends.columns:
        sends = sends.with_columns(is_drawn=False)
    sends = _with_rows(sends.select("subscriber_key", "local_hour", "is_engaged", "is_drawn"), subscriber_key)
    by_sending = (sends["row"].to_numpy() * HOURS + sends["local_hour"].to_numpy(), HOURS)

    def matrix(cells: tuple[np.ndarray, int], counts: np.ndarray | None = None) -> np.ndarray:
        cell, columns = cells
        flat = np.bincount(cell, weights=counts, minlength=len(subscriber_key) * columns)
        return flat.reshape(-1, columns).astype(np.min_scalar_type(int(flat.max(initial=0))))

    return HourCounts(
        subscriber_key=subscriber_key,
        sends=matrix(by_hour, hours["sends"].to_numpy()),
        engagements=matrix(by_hour, engagements),
        behaviour=matrix(by_hour, hours["behaviour_events"].to_numpy()),
        messages=matrix(by_sending),
        drawn=matrix(by_sending, sends["is_drawn"].to_numpy()),
        engaged=matrix(by_sending, sends["is_engaged"].to_numpy()),
        weekday_sends=matrix(by_day, hours["sends"].to_numpy()),
        weekday_engagements=matrix(by_day, engagements),
    )


def total(blocks: Sequence[HourCounts], name: str) -> np.ndarray:
    """A matrix summed over all people, shape (columns,)."""
    return np.asarray(np.sum([getattr(block, name).sum(axis=0, dtype=np.int64) for block in blocks], axis=0))


def every_nth(blocks: Iterable[HourCounts], step: int) -> Iterator[np.ndarray]:
    """For each block the rows that belong to every n-th person of all blocks together."""
    before = 0
    for block in blocks:
        yield np.arange(-before % step, len(block), step)
        before += len(block)


def sum_by_cluster(values: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Rows of a matrix summed by cluster, shape (clusters, columns)."""
    return np.stack([values[cluster == number].sum(axis=0, dtype=np.float64) for number in range(clusters)])


def _with_rows(frame: pl.DataFrame, subscriber_key: np.ndarray) -> pl.DataFrame:
    """The rows of the subscribers with these sorted keys, and `row`, their position among them."""
    positions = pl.DataFrame({"subscriber_key": subscriber_key}).with_row_index("row").cast({"row": pl.Int64})
    return frame.join(positions, on="subscriber_key", how="inner")
