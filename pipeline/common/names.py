"""Names that match nothing: what was probably meant instead, and how to show what cannot be seen in them."""

import difflib
import unicodedata
from collections.abc import Iterable

# Names with fewer characters in common are not alike (a share of all their characters, as difflib counts it).
_LEAST_ALIKE = 0.5


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most alike, or none if none is alike.

    Names that differ in case, spaces, width of letters or invisible characters alone come first.

    >>> nearest_name("Onboarding\\u200b", ["onboarding", "boarding"])
    'onboarding'
    >>> nearest_name("last_purchased_at", ["last_purchase_at", "last_open_at"])
    'last_purchase_at'
    """
    plain = {_plain(one): one for one in sorted(known, reverse=True)}
    found = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=_LEAST_ALIKE)
    return plain[found[0]] if found else None


def quoted(name: str) -> str:
    """The name in quotes, with a code for every character that cannot be seen.

    >>> quoted("tips\\u200b")
    "'tips\\\\u200b'"
    """
    return "'" + "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name) + "'"


def with_nearest(name: str, known: Iterable[str]) -> str:
    """The name in quotes, and the nearest known one, for a message.

    >>> with_nearest("Tips", ["tips"])
    "'Tips' (nearest: 'tips')"
    """
    nearest = nearest_name(name, known)
    return quoted(name) if nearest is None else f"{quoted(name)} (nearest: {quoted(nearest)})"


def _plain(name: str) -> str:
    kept = (one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) not in ("Cf", "Zs", "Cc"))
    return "".join(kept).casefold()
