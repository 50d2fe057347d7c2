"""A small chart of a step: a bar for what each week sent, and a line through the rate of what came of it.

Vega takes about as long to draw one figure as a page may take as a whole, and there is one for each step. So these are
written at once. Pointing at a week tells its numbers, by a title of SVG. The page's style gives the colours.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 260, 64, 6
LEAST_SCALE = 0.02
"""Rates that all lie below it are drawn near the ground, so that no chart blows up what is next to nothing."""


@dataclass(frozen=True)
class Week:
    """A week: how much was sent, the rate of what came of it (none where nothing arrived), and both in words.

    A week that is not closed may still change.
    """

    sent: int
    rate: float | None
    words: str
    is_closed: bool


def weeks_chart(weeks: Sequence[Week], label: str) -> str:
    """The weeks from left to right as SVG, with a label for readers who cannot see it."""
    most = max((week.sent for week in weeks), default=0) or 1
    highest = max([LEAST_SCALE, *(week.rate for week in weeks if week.rate is not None)])
    slot = (WIDTH - 2 * MARGIN) / max(len(weeks), 1)
    ground = HEIGHT - MARGIN

    def height(part: float) -> float:
        return ground - part * (HEIGHT - 2 * MARGIN)

    bars, dots, line = [], [], []
    for place, week in enumerate(weeks):
        middle, top = MARGIN + slot * (place + 0.5), height(week.sent / most)
        told = f"<title>{html.escape(week.words)}</title>"
        kind = "sent" if week.is_closed else "sent open"
        left, wide, tall = middle - slot * 0.4, slot * 0.8, max(ground - top, 0.5)
        bars.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{ground - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
            # The whole height of a week answers to the pointer, however low its bar is.
            f'<rect class="reach" x="{middle - slot / 2:.1f}" y="0" width="{slot:.1f}" height="{HEIGHT}">{told}</rect>'
        )
        if week.rate is not None:
            point = f"{middle:.1f},{height(week.rate / highest):.1f}"
            line.append(point)
            x, y = point.split(",")
            kind = "rate" if week.is_closed else "rate open"
            dots.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="2.4">{told}</circle>')
    path = f'<polyline class="rate" points="{" ".join(line)}"/>' if len(line) > 1 else ""
    start = f'<svg class="weeks" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">'
    return f"{start}{''.join(bars)}{path}{''.join(dots)}</svg>"
