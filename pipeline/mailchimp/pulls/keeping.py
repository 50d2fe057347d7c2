"""One failing source costs its own tables: they keep their last good state, and from which night that is gets noted."""

from collections.abc import Callable, Sequence
from datetime import date

from pipeline.common import errors
from pipeline.lake.store import Lake
from pipeline.mailchimp.pulls.pulling import STOPPING, PullSummary
from pipeline.mailchimp.pulls.sources import SourceBook
from pipeline.mailchimp.windows import WindowState
from pipeline.schemas.base import Table, identity

ACCOUNT = "/"
"""The endpoint of the account itself: where it does not answer, nothing of the account can be read."""


def read_or_keep(
    read: Callable[[], PullSummary],
    models: Sequence[type[Table]],
    lake: Lake,
    as_of: date,
    *,
    may_try_again: bool,
) -> PullSummary:
    """What a pull did; if it failed for good, nothing, and its tables are noted as those of an earlier night.

    Args:
        read: the pull.
        models: the tables that it reads.
        lake: where they are.
        as_of: tonight.
        may_try_again: whether the caller will try once more what another attempt may cure.

    Raises:
        SourceError: if it is worth another attempt, if nothing of the account can be read, or if there is no earlier
            state of these tables.
    """
    try:
        summary = read()
    except errors.SourceError as error:
        book = SourceBook(lake, WindowState(lake), as_of)
        is_final = isinstance(error, STOPPING) or error.endpoint == ACCOUNT
        if is_final or _is_worth_another(error, may_try_again) or not _has_state(book, models, lake):
            raise
        if not book.tells(str(error)):
            for model in models:
                book.note_failed("table", identity(model).name, "", str(error))
            book.write()
        return PullSummary({}, 0, 0, [error])
    for failure in summary.failures:
        if _is_worth_another(failure, may_try_again):
            raise failure
    state = WindowState(lake)
    book = SourceBook(lake, state, as_of)
    for model in models:
        book.note_read("table", identity(model).name)
    book.write()
    state.save()
    return summary


def _is_worth_another(error: errors.SourceError, may_try_again: bool) -> bool:
    return may_try_again and isinstance(error, errors.TransientError)


def _has_state(book: SourceBook, models: Sequence[type[Table]], lake: Lake) -> bool:
    """Whether an earlier night read these tables, be it that they were empty."""
    return any(lake.files(model) or identity(model).name in book.ids("table") for model in models)
