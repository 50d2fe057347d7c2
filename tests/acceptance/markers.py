"""Figures that a command measured, written into a page between the markers of their name."""

from pathlib import Path

from tests.checkout import PROJECT_ROOT

MEASURED = PROJECT_ROOT / "docs" / "measured.md"


def write_between_markers(name: str, text: str, path: Path) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        ValueError: if the file has no such markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    head, found_start, rest = path.read_text(encoding="utf-8").partition(start)
    _, found_end, tail = rest.partition(end)
    if not found_start or not found_end:
        raise ValueError(f"{path.name} has no '{start}' followed by '{end}'. Add both lines.")
    path.write_text(f"{head}{start}\n{text}\n{end}{tail}", encoding="utf-8")
