"""The one way to write a share, a relative change, a number or time of things, and foreign text in Markdown."""

import logging
import re
from collections.abc import Iterable

NOT_KNOWN = "not known"
# How far a long step has come. A command that runs a night listens, nobody else does. The lines name nobody.
PROGRESS = logging.getLogger("driptune.progress")
PROGRESS.setLevel(logging.INFO)


def share(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share or rate, with its interval where both ends are known: '20.1% (15.0% to 26.0%)', or '0.42%'."""
    if value is None:
        return NOT_KNOWN
    told = f"{value:.1%}" if value >= 0.01 or value == 0 else f"{value:.2%}"
    return told if low is None or high is None else f"{told} ({share(low)} to {share(high)})"


def lift(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A relative change, with its interval where both ends are known: '+32% (+3% to +70%)', or '-2.1%'."""
    if value is None:
        return NOT_KNOWN
    # Of a change below ten percent, whole numbers would hide too much.
    decimals = 0 if abs(value) >= 0.0995 else 1
    told = f"{value:+.{decimals}%}"
    return told if low is None or high is None else f"{told} ({low:+.{decimals}%} to {high:+.{decimals}%})"


def worth(conversions: float) -> str:
    """What a change is worth: '+1,200 conversions in four weeks'."""
    return f"{conversions:+,.0f} conversions in four weeks"


def counted(number: int, one: str, many: str) -> str:
    """How many things there are: "1 proposal waits", or "1,200 proposals wait"."""
    return f"{number:,} {one if number == 1 else many}"


def minutes_left(done: float, total: float, seconds: float) -> str:
    """In words how long the rest takes at the pace so far: `done` of `total` took so many seconds."""
    if not done:
        return "the time left is not known yet"
    left = seconds * (total - done) / done / 60
    return "less than a minute left" if left < 1 else f"about {left:.0f} minutes left"


METRIC_NOUNS = {
    "sent": "messages",
    "entries": "entries",
    "prompt_human_click_rate": "clicks",
    "human_click_rate": "clicks",
    "human_open_rate": "opens",
    "conversion_rate": "conversions",
    "unsubscribe_rate": "unsubscribes",
    "complaint_rate": "complaints",
    "hard_bounce_rate": "hard bounces",
}
"""What people call the watched metrics."""


def metric_noun(metric: str) -> str:
    """What people call a metric: 'clicks' for 'prompt_human_click_rate'."""
    return METRIC_NOUNS.get(metric, metric.replace("_", " "))


def metric_nouns(metrics: Iterable[str]) -> str:
    """What people call several metrics: 'clicks and messages'."""
    return " and ".join(sorted({metric_noun(metric) for metric in metrics}))


_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def markdown_text(text: str) -> str:
    """Foreign text that Markdown shows as it is, in one line.

    Markdown from a name could fetch an image of a foreign host, hold HTML, or break a table. CommonMark (section 2.4)
    takes a punctuation mark behind a backslash for itself, so every one gets a backslash.
    """
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))
