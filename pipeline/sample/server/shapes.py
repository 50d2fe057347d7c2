"""Small pieces of Mailchimp's JSON: instants, projections, windows, pages, problems. Nothing of the sample account."""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

Item = dict[str, Any]
LARGEST_PAGE = 1000
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(?P<fraction>\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


class ProblemError(Exception):
    """An answer other than 200: status, title and detail of a problem document."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {
            "type": "https://mailchimp.com/developer/marketing/docs/errors/",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": str(uuid.uuid4()),
        }


def not_found() -> ProblemError:
    """The resource does not exist, or not yet."""
    return ProblemError(404, "Resource Not Found", "The requested resource could not be found.")


def invalid(detail: str) -> ProblemError:
    """The request breaks the contract."""
    return ProblemError(400, "Invalid Resource", detail)


@lru_cache(maxsize=200_000)
def text(instant_us: int | None) -> str:
    """ISO 8601 in UTC; the empty string for no instant, as Mailchimp writes it."""
    if instant_us is None:
        return ""
    return datetime.fromtimestamp(instant_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that must be a whole number, zero or more."""
    value = query.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise invalid(f"'{name}' must be a whole number, zero or more.")
    return int(value)


def instant(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that must be an instant, as epoch microseconds; fractions of a second crash the real service too."""
    value = query.get(name)
    if not value:
        return None
    found = _INSTANT.fullmatch(value)
    if not found:
        raise invalid(f"'{name}' must be a date and time in ISO 8601.")
    if found["fraction"]:
        raise ProblemError(500, "Internal Server Error", "An unexpected internal error has occurred.")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise invalid(f"'{name}' must be a date and time in ISO 8601.") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def within(query: Mapping[str, str], field: str) -> Callable[[int | None], bool]:
    """Test of the window (since, before] named `since_FIELD` and `before_FIELD`."""
    since, before = instant(query, f"since_{field}"), instant(query, f"before_{field}")

    def test(moment: int | None) -> bool:
        if since is None and before is None:
            return True
        return moment is not None and (since is None or moment > since) and (before is None or moment <= before)

    return test


def page(query: Mapping[str, str], key: str, items: list[Any], make: Callable[[Any], Item] | None = None) -> Item:
    """One page of a collection; only its items are made."""
    count, offset = whole(query, "count", 10), whole(query, "offset", 0)
    chosen = items[offset : offset + min(count, LARGEST_PAGE)]
    return {key: [make(item) for item in chosen] if make else chosen, "total_items": len(items)}


def project(query: Mapping[str, str], body: Item) -> Item:
    """The body with only the named fields, or without them; dots lead into objects and lists."""
    fields, excluded = query.get("fields"), query.get("exclude_fields")
    if fields and excluded:
        raise invalid("'fields' and 'exclude_fields' exclude each other.")
    if fields:
        kept: dict[str, Any] = _only(body, _tree(fields.split(",")))
        return kept
    if excluded:
        left: dict[str, Any] = _without(body, _tree(excluded.split(",")))
        return left
    return body


def _tree(paths: Iterable[str]) -> Item:
    root: Item = {}
    for path in paths:
        node = root
        for part in path.strip().split("."):
            node = node.setdefault(part, {})
    return root


def _only(value: Any, tree: Item) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_only(one, tree) for one in value]
    if isinstance(value, dict):
        return {name: _only(value[name], below) for name, below in tree.items() if name in value}
    return value


def _without(value: Any, tree: Item) -> Any:
    if isinstance(value, list):
        return [_without(one, tree) for one in value]
    if isinstance(value, dict):
        return {
            name: _without(one, tree[name]) if name in tree else one
            for name, one in value.items()
            if name not in tree or tree[name]
        }
    return value
