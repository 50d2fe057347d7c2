"""The ways in which an e-mail address is written in foreign text."""

import base64
import html
from collections.abc import Callable
from urllib.parse import quote


def _percent(times: int) -> Callable[[str], str]:
    def write(address: str) -> str:
        for _ in range(times):
            address = quote(address, safe="")
        return address

    return write


WRITINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "percent": _percent(1),
    "percent twice": _percent(2),
    "percent four times": _percent(4),
    "base64": lambda address: base64.b64encode(address.encode()).decode(),
    "base64 of a URL": lambda address: base64.urlsafe_b64encode(address.encode()).decode().rstrip("="),
    "base64 with text around": lambda address: base64.b64encode(f"id=7&mail={address}&x".encode()).decode(),
    "HTML": lambda address: html.escape(address).replace("@", "&#64;"),
    "HTML in hex": lambda address: address.replace("@", "&#x40;"),
    "JSON": lambda address: address.replace("@", "\\u0040"),
    "full width": lambda address: address.replace("@", "\uff20"),
    "full width in a URL": lambda address: _percent(1)(address.replace("@", "\uff20")),
}
