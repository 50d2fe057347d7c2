"""How far a long step has come: lines for whoever watches the run. They hold counts and times, and name nobody."""

import logging

# Whoever runs a night in a terminal listens to it. Nobody else does.
PROGRESS = logging.getLogger("driptune.progress")
PROGRESS.setLevel(logging.INFO)


def minutes_left(done: float, total: float, seconds: float) -> str:
    """In words how long the rest takes at the pace so far: `done` of `total` took so many seconds."""
    if not done:
        return "the time left is not known yet"
    left = seconds * (total - done) / done / 60
    return "less than a minute left" if left < 1 else f"about {left:.0f} minutes left"
