"""R11 and R12: what foreign text holds besides text, people and code."""

from collections.abc import Iterator

from tests.acceptance.torture import Row
from tests.acceptance.torture.suites.texts import canaries, injections


def measure(quick: bool) -> Iterator[Row]:
    """Search for people, then for names that are more than text."""
    yield from canaries.measure(quick)
    yield from injections.measure(quick)
