"""Personal data in foreign text: e-mail addresses however they are written, and fields that say who somebody is.

This module imports no other, so that errors can use it.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

REMOVED = "(removed)"
_PART = r"[^\s\"'<>=&?/,;:()\[\]{}\\]"
_AT = r"(?:@|\x{FF20}|%(?:25)*40|%(?:25)*EF%(?:25)*BC%(?:25)*A0|&(?:#0*64|#x0*40|commat);|\\u0040)"
ADDRESS = rf"(?i){_PART}+{_AT}{_PART}+"
"""An address, plain or encoded any number of times as URLs, HTML and JSON do it. Python and Polars read the pattern."""

HIDDEN = r"[A-Za-z0-9+/_-]*(?:Q[A-P]|[EUk0][A-D]|[BFJNRVZdhlptx159]A)[A-Za-z0-9+/_-]*={0,2}"
"""What may be an address in base64: the three ways to write an @ there, by its place in a group of three bytes."""

_ADDRESS = re.compile(ADDRESS.replace(r"\x{FF20}", "\uff20"))
_HIDDEN = re.compile(HIDDEN)
_DECODED = re.compile(rb"[\w.!#$%&*+^`|~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_WHOSE = (
    "(?:full|first|last|middle|given|family|sur|nick|maiden|f|l|m|real|user|customer|contact|person|personal|"
    "recipient|subscriber|member|billing|shipping|delivery|home|work|private|mobile|postal|mailing|street|your|my|alt)?"
)
_PERSONAL_FIELD = re.compile(
    f"(?!name$){_WHOSE}names?(?:full|first|last|middle|given|family)?"
    "|(?:vor|nach)name|prenom|nom|nombre|apellidos?|cognome|nome"
    f"|{_WHOSE}(?:phone|telephone|tel|cellphone|handy|fax|whatsapp|smsphone)(?:number|no|nr)?|mobile(?:number|no|nr)?"
    f"|{_WHOSE}(?:address|addr)(?:line)?|street"
    "|(?:dateof)?birth(?:day|date)?|dob|bday|geburtstag|geburtsdatum"
    f"|{_WHOSE}e?mail(?:address)?|ssn|iban|passport(?:number|no)?"
)
_PHONE = re.compile(r"(?:\+|00)[\d ()./-]{7,20}\d|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}")
# Shorter names stand in other words.
_SHORTEST_NAME = 3


def without_addresses(text: str) -> str:
    """The text, with every e-mail address replaced.

    >>> without_addresses("see https://example.com/?mail=anna%2Bnews%2540example.com&page=2")
    'see https://example.com/?mail=(removed)&page=2'
    >>> without_addresses("u/YW5uYUBleGFtcGxlLmNvbQ==")
    '(removed)'
    """
    return _HIDDEN.sub(lambda found: _unless_address(found[0]), _ADDRESS.sub(REMOVED, text))


def is_personal_field(name: str) -> bool:
    """Whether a field's name says that it tells who somebody is. `name` alone may be that of a thing.

    >>> [is_personal_field(name) for name in ("FULLNAME", "NAME_FULL", "First name", "phone2", "PLAN", "name")]
    [True, True, True, True, False, False]
    """
    return _PERSONAL_FIELD.fullmatch(re.sub(r"[\W\d_]", "", name.casefold())) is not None


def without_person(fields: Mapping[str, Any], private: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of one person that do not say who it is, by their names and by their values.

    E-mail addresses are replaced. A value that then repeats a name of the person is left out, and so is a telephone
    number or a postal address.

    Args:
        fields: what is known of the person, such as merge fields.
        private: fields that are left out whatever they hold.
    """
    personal = {name for name in fields if name in private or is_personal_field(name) or _is_postal(fields[name])}
    names = {word for name in personal if isinstance(fields[name], str) for word in _words(fields[name])}
    public = {name: _cleaned(value) for name, value in fields.items() if name not in personal}
    return {name: value for name, value in public.items() if not _tells_who(value, names)}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return without_addresses(value)
    if isinstance(value, Mapping):
        return without_person(value)
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value


def _is_postal(value: Any) -> bool:
    """Whether it is an address as Mailchimp keeps it."""
    return isinstance(value, Mapping) and "addr1" in value


def _tells_who(value: Any, names: set[str]) -> bool:
    return isinstance(value, str) and bool(_PHONE.fullmatch(value.strip()) or names & _words(value))


def _words(text: str) -> set[str]:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return {word for word in words if len(word) >= _SHORTEST_NAME}


def _unless_address(token: str) -> str:
    """The text, or the mark that it is removed if it is an address in base64, wherever in it that begins."""
    plain = token.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        group = plain[start:]
        # One character over says nothing, and two or three lack their padding.
        group = group[: len(group) - 1] if len(group) % 4 == 1 else group
        if _DECODED.search(base64.b64decode(group + "=" * (-len(group) % 4))):
            return REMOVED
    return token
