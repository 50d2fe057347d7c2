"""What the pulls ask for and keep of a listing: projections, the ids that are listed, and the rows of the night."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline.common.errors import NotFoundError
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.rows import Rows


def projection(key: str, fields: str) -> str:
    """The `fields` parameter for items under `key`; it excludes `exclude_fields`."""
    return ",".join([*(f"{key}.{name}" for name in fields.split(",")), "total_items"])


def ids_of(items: Sequence[Any], field: str = "id") -> set[str]:
    """The ids of all items, also of those that break their contract otherwise."""
    return {item[field] for item in items if isinstance(item, dict) and isinstance(item.get(field), str)}


def answers(client: MailchimpClient, endpoint: str, **ids: str) -> bool:
    """Whether something is still there.

    Raises:
        SourceError: if it cannot be told.
    """
    try:
        client.get(endpoint, **ids)
    except NotFoundError:
        return False
    return True


def until(rows: Rows, end_us: int, *instants: str) -> Rows:
    """The rows none of whose instants lies after the night."""
    frame = rows.frame.filter(pl.all_horizontal((pl.col(name) <= end_us).fill_null(True) for name in instants))
    return Rows(rows.model, frame, rows.quarantined)


def not_yet_sent(rows: Rows, end_us: int) -> Rows:
    """The rows, those sent after the night as they stood on it."""
    is_later = (pl.col("sent_us") > end_us).fill_null(False)
    frame = rows.frame.with_columns(
        pl.when(is_later).then(None).otherwise("sent_us").alias("sent_us"),
        pl.when(is_later).then(0).otherwise("emails_sent").alias("emails_sent"),
    )
    return Rows(rows.model, frame, rows.quarantined)
