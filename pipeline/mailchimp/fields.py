"""Reading fields of API items: strict about types, lenient about Mailchimp's ways of saying 'nothing'.

Mailchimp says nothing by null, by "", and, where an object is meant, by an empty list. Which fields make which table is
declared in `columns`.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from pipeline.common.errors import ContractBrokenError
from pipeline.common.personal import without_addresses
from pipeline.common.time import instant_us
from pipeline.lake.store import QuarantinedRow
from pipeline.mailchimp import paging

LARGEST_INTEGER = 2**63 - 1
# The API changed its shape if most rows of a page are broken. Fewer broken rows, or a smaller share, are damaged data.
SHAPE_CHANGED_ROWS = 10
SHAPE_CHANGED_SHARE = 0.5
NOTHING: tuple[Any, ...] = (None, "", [])
_MEMBER_ID = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_AMOUNT = re.compile(r"-?\d{1,15}(\.\d{1,12})?", re.ASCII)

Read = Callable[[Any], Any]
Item = dict[str, Any]


class BrokenError(Exception):
    """A value breaks its contract; the text says how, never what it held."""


@dataclass(frozen=True)
class Field:
    """Where a column stands in an item and how it is read; without `required`, an absent value becomes `default`."""

    path: str
    read: Read
    required: bool = True
    default: Any = None


@dataclass
class Parsed:
    """Columns read from items, the rows that broke their contract, and the indexes of the items of both."""

    columns: dict[str, list[Any]]
    kept: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    quarantined: list[QuarantinedRow] = field(default_factory=list)


def read_items(
    source: str,
    endpoint: str,
    fields: dict[str, Field],
    items: Sequence[Any],
    judge: Callable[[Item], None] = lambda row: None,
) -> Parsed:
    """The items' columns, with every item that breaks the contract set aside.

    Args:
        source: lake table the rows are meant for.
        endpoint: where the items come from; with the position it becomes the reference of a quarantined row.
        fields: how each column is read.
        items: API items.
        judge: raises a `BrokenError` for a row whose columns do not fit together.

    Raises:
        ContractBrokenError: if most items of a page are broken, since then the API has changed its shape.
    """
    parsed = Parsed({name: [] for name in fields})
    wanted = [(one.path.split("."), one) for one in fields.values()]
    rows = []
    for index, item in enumerate(items):
        try:
            row = [_value(item, path, one) for path, one in wanted]
            judge(dict(zip(fields, row, strict=True)))
        except BrokenError as error:
            where, why = error.args
            parsed.quarantined.append(QuarantinedRow(source, f"{endpoint} item {index + 1}", where, why))
            parsed.broken.append(index)
        else:
            rows.append(row)
            parsed.kept.append(index)
    for name, values in zip(fields, zip(*rows, strict=True), strict=False):
        parsed.columns[name] = list(values)
    _refuse_changed_shape(endpoint, parsed, len(items))
    return parsed


def _refuse_changed_shape(endpoint: str, parsed: Parsed, items: int) -> None:
    for page, broken in Counter(index // paging.PAGE_SIZE for index in parsed.broken).items():
        rows = min(paging.PAGE_SIZE, items - page * paging.PAGE_SIZE)
        if broken >= SHAPE_CHANGED_ROWS and broken > rows * SHAPE_CHANGED_SHARE:
            first = next(at for at, index in enumerate(parsed.broken) if index // paging.PAGE_SIZE == page)
            told = parsed.quarantined[first]
            raise ContractBrokenError(
                endpoint,
                f"{broken} of the {rows} items of a page break the contract; the first {told.reason}",
                "The API changed its shape; nothing of it was written. Update driptune.",
                told.field,
            )


def _value(item: Any, path: list[str], wanted: Field) -> Any:
    value = item
    for part in path:
        if not isinstance(value, dict):
            if wanted.required or value not in NOTHING:
                raise BrokenError(wanted.path, "has no object around it")
            break
        value = value.get(part)
    if value in NOTHING:
        if wanted.required:
            raise BrokenError(wanted.path, "is missing or empty")
        return wanted.default
    try:
        return wanted.read(value)
    except BrokenError as error:
        raise BrokenError(wanted.path, error.args[0]) from None


def text(value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise BrokenError("is not text")
    return value


def free_text(value: Any) -> str:
    """Text that people wrote, without the addresses they wrote into it."""
    return without_addresses(text(value))


def instant(value: Any) -> int:
    """Epoch microseconds of an ISO 8601 time with offset."""
    if not isinstance(value, str):
        raise BrokenError("is not a time in ISO 8601")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise BrokenError("is not a time in ISO 8601") from None
    if found.tzinfo is None:
        raise BrokenError("is a time without an offset")
    return instant_us(found)


def integer(value: Any) -> int:
    """A whole number that fits 64 bits."""
    number(value)
    if value != int(value):
        raise BrokenError("is not an integer")
    return int(value)


def amount_of_things(value: Any) -> int:
    """A count: an integer that is not negative."""
    found = integer(value)
    if found < 0:
        raise BrokenError("is a negative count")
    return found


def number(value: Any) -> float:
    """A number that fits 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST_INTEGER:
        raise BrokenError("is not a number of 64 bits")
    return float(value)


def cents(value: Any) -> int:
    """Hundredths of an amount of money, from its decimal writing, be it a number or text."""
    if isinstance(value, str):
        if not _AMOUNT.fullmatch(value.strip()):
            raise BrokenError("is not an amount such as 19.90")
        amount = Decimal(value.strip())
    else:
        amount = Decimal(str(number(value)))
    return integer(int((amount * 100).quantize(Decimal(1), ROUND_HALF_EVEN)))


def currency(value: Any) -> str:
    """The letters of a currency, as capitals."""
    return free_text(value).strip().upper()


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise BrokenError("is not true or false")
    return value


def member_id(value: Any) -> str:
    """MD5 of a lower-cased address."""
    if not isinstance(value, str) or not _MEMBER_ID.fullmatch(value):
        raise BrokenError("is not a member id")
    return value.lower()


def address(value: Any) -> str:
    """An e-mail address."""
    if not isinstance(value, str) or "@" not in value:
        raise BrokenError("is not an address")
    return value


def one_of(*allowed: str) -> Read:
    """Text from a closed set."""

    def read(value: Any) -> str:
        if value not in allowed:
            raise BrokenError(f"is none of {', '.join(allowed)}")
        return str(value)

    return read


def identifier(value: Any) -> str:
    """An id as text, be it told as text or as a whole number."""
    return value if isinstance(value, str) else str(integer(value))


def list_of_items(value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise BrokenError("is not a list")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise BrokenError("is not an object")
    return value
