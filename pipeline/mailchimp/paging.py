"""Reading a collection to its end, page after page, held against the number of rows that was announced.

No HTTP here: the client brings the pages. What an announced total (`total_items`) is worth:

- It may be too small (a fact of the API), so it never ends a collection. Only a page that is not full does.
- Where none is told, a page that a limit of the server may have cut is the last one only if the next brings nothing.
- If it is larger than what came, it is believed. The missing rows are read on for, then asked for again. If they still
  do not come, the collection is refused: fewer rows than announced are never taken for all of them.
- If it shrinks between two pages, rows were deleted, and the rows behind them have moved up.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.common.errors import PagingError

PAGE_SIZE = 1000  # the most that Mailchimp returns at once
SMALLEST_PAGE = 50  # if a page this small takes too long, its size is not the reason
# Pages without a new row, one after the other, before a collection is given up.
FRUITLESS_PAGES = 4
# Limits by which a server returns fewer items than were asked for are multiples of what it returns unasked.
USUAL_COUNT = 10
# Fields of which the first that a row has is its own alone.
IDENTITIES = ("id", "email_id", "tag")
NOTHING_TAKEN = "Nothing of it was taken; the next night asks again."


class Listing(list[Any]):
    """The rows of a collection, each once, and how many were announced (none where the API tells no total)."""

    def __init__(self, rows: list[Any], announced: int | None) -> None:
        super().__init__(rows)
        self.announced = announced

    @property
    def is_short(self) -> bool:
        """Whether fewer rows came than were announced."""
        return self.announced is not None and len(self) < self.announced


class IncompleteListingError(PagingError):
    """Fewer rows came than were announced, although they were asked for again; `listing` holds those that came."""

    def __init__(self, endpoint: str, key: str, listing: Listing, advice: str = NOTHING_TAKEN) -> None:
        what = f"{listing.announced} rows were announced and only {len(listing)} came"
        super().__init__(endpoint, what, advice, key)
        self.listing = listing


@dataclass(frozen=True)
class Page:
    """The rows at an offset, the total that was announced with them, and the number of rows that was asked for."""

    rows: list[Any]
    total: int | None
    size: int


def _identity(row: Any) -> str | None:
    """What tells a row from all others of its collection; a broken row may have nothing but its place."""
    found = [row[name] for name in IDENTITIES if row.get(name)] if isinstance(row, dict) else []
    return str(found[0]) if found else None


class WholeReading:
    """One reading of a paged collection.

    Args:
        ask: the page at an offset with at most so many rows; it may come to ask for fewer.
        pause: waits before the same is asked for the nth time.
        endpoint: path template, for errors.
        key: field that holds the rows, for errors.
    """

    def __init__(self, ask: Callable[[int, int], Page], pause: Callable[[int], None], endpoint: str, key: str) -> None:
        self._ask, self._pause, self._endpoint, self._key = ask, pause, endpoint, key
        self._size = PAGE_SIZE
        self._rows: list[Any] = []
        self._seen: set[tuple[str, int] | int] = set()
        self._pages: set[int] = set()

    def read(self) -> Listing:
        """All rows.

        Raises:
            IncompleteListingError: if fewer rows come than were announced.
            PagingError: if full pages repeat.
        """
        found = self._pass(is_first=True)
        if found.is_short:
            # Every page was full and yet rows are missing: some were inserted before those already read.
            found = self._pass(is_first=False)
        if found.is_short:
            raise IncompleteListingError(self._endpoint, self._key, found)
        return found

    def _pass(self, is_first: bool) -> Listing:
        """Read from the start to the end."""
        offset = announced = fruitless = 0
        while True:
            page = self._ask(offset, self._size)
            self._size = page.size
            end, total = offset + len(page.rows), announced if page.total is None else page.total
            has_shrunk = total < announced and (not page.rows or end <= total)
            is_new = not has_shrunk and self._keep(page.rows, offset)
            if is_new:
                fruitless = 0
            elif is_first or has_shrunk or not page.rows:
                fruitless += 1
            may_be_cut = page.total is None and is_new and len(page.rows) % USUAL_COUNT == 0
            if has_shrunk:
                offset = max(0, offset - (announced - total))
            elif end >= total and ((len(page.rows) < page.size and not may_be_cut) or not is_first):
                return Listing(self._rows, page.total)
            elif page.rows:
                offset = end
            else:
                self._pause(fruitless)
            announced = total
            if fruitless > FRUITLESS_PAGES:
                raise self._given_up(page, offset)

    def _keep(self, rows: list[Any], offset: int) -> bool:
        """Whether any of the rows is new; those that are get kept."""
        known, page = len(self._rows), hash(repr(rows))
        if page in self._pages:
            return False
        self._pages.add(page)
        within: Counter[str] = Counter()
        for place, row in enumerate(rows, offset):
            mark: tuple[str, int] | int = place
            if identity := _identity(row):
                # Pages may overlap, but within one page the same identity again is another row.
                within[identity] += 1
                mark = identity, within[identity]
            if mark not in self._seen:
                self._seen.add(mark)
                self._rows.append(row)
        return len(self._rows) > known

    def _given_up(self, page: Page, offset: int) -> PagingError:
        if page.rows:
            what = f"the page at offset {offset - len(page.rows)} repeats an earlier one"
            return PagingError(self._endpoint, what, "Run again later.", self._key)
        return IncompleteListingError(self._endpoint, self._key, Listing(self._rows, page.total))
