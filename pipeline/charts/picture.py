"""A chart and the first rows of its table as one image, for places that show an image and no page."""

import html
import re
from collections.abc import Sequence

MOST_ROWS = 12
LETTER_WIDTH, LINE_HEIGHT, GAP = 7.2, 22, 18
"""Pixels that a letter, a line and the space between two columns take at the font size of 12."""
LONGEST_CELL = 60
_VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


def with_table(chart: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An SVG of its own paper, because an image cannot take the colours of the page around it.

    Args:
        chart: an SVG with a view box that begins at 0 0.
        header: what stands above each column.
        rows: the texts of the table; those beyond `MOST_ROWS` are counted.

    Returns:
        The SVG of chart and table, as wide as the wider of both.
    """
    view_box = _VIEW_BOX.search(chart)
    assert view_box is not None
    chart_width, chart_height = (float(side) for side in view_box.groups())
    lines = [[_cut(text) for text in line] for line in (header, *rows[:MOST_ROWS])]
    widths = [GAP + LETTER_WIDTH * max(map(len, column)) for column in zip(*lines, strict=True)]
    starts = [GAP + sum(widths[:place]) for place in range(len(widths))]
    texts = [
        _text(start, chart_height + (number + 1) * LINE_HEIGHT, text, is_head=number == 0)
        for number, line in enumerate(lines)
        for start, text in zip(starts, line, strict=True)
    ]
    if (left := len(rows) - MOST_ROWS) > 0:
        texts.append(_text(0, chart_height + (len(lines) + 1) * LINE_HEIGHT, f"and {left:,} more rows", is_head=False))
    width, height = max(chart_width, GAP + sum(widths)), chart_height + (len(lines) + 2) * LINE_HEIGHT
    placed = chart.replace("<svg", f'<svg width="{chart_width:g}" height="{chart_height:g}"', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" style="background: white" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12">{placed}{"".join(texts)}</svg>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _text(left: float, bottom: float, text: str, *, is_head: bool) -> str:
    weight = ' font-weight="bold"' if is_head else ""
    return f'<text x="{left:g}" y="{bottom:g}"{weight}>{html.escape(text)}</text>'
