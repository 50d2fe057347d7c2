"""The rates of steps and workflows, each declared once: what is counted, of how many, whether more is good, and bounds.

Tables, pages and the detector of anomalies take their rates from here. How a rate gets its interval is told in
`pipeline.analysis.statistics.intervals`.
"""

from typing import NamedTuple


class Bound(NamedTuple):
    """The highest rate that asks for nothing, with its reason: nobody should wonder who has drawn the line, and why.

    Attributes:
        warning: a rate above it asks for a look.
        whose: who has set it.
        why: the reason, as one or two sentences.
        stop: the rate from which no more should be sent; none = nobody names one.
    """

    warning: float
    whose: str
    why: str
    stop: float | None = None


class Rate(NamedTuple):
    """A share of two counts that `step_metrics_daily` holds.

    Attributes:
        name: its column, and its value in the column `metric` of other tables.
        numerator: column of what is counted.
        denominator: column of what it is a share of.
        is_gain: whether more is better.
        final_after_days: days after which the rate of a day no longer changes; none = once the day is mature.
        bound: what the rate should keep to; none = there is no such line.
    """

    name: str
    numerator: str
    denominator: str
    is_gain: bool = True
    final_after_days: int | None = None
    bound: Bound | None = None


_HUMAN_CLICK = Rate("human_click_rate", "unique_human_clicks", "delivered")
# Clicks within a day of sending are final a day later, so that a stop is told before the other rates are mature.
_PROMPT_HUMAN_CLICK = Rate("prompt_human_click_rate", "prompt_human_clicks", "delivered", final_after_days=1)

UNSUBSCRIBE_BOUND = Bound(
    0.005, "driptune's limit", "It is about twice what a healthy list shows. No mailbox service sets one."
)
COMPLAINT_BOUND = Bound(
    0.001,
    "Gmail's and Yahoo's rules for senders",
    "Gmail asks for less than 0.10%. Gmail and Yahoo both ask for less than 0.30%, and may refuse mail from there on.",
    stop=0.003,
)
HARD_BOUNCE_BOUND = Bound(
    0.05,
    "Amazon's rule for senders",
    "Amazon's mail service reviews a sender from 5% on, and may stop one from 10% on. Others have similar rules.",
)

_OUTCOMES = (
    Rate("conversion_rate", "conversions", "delivered"),
    Rate("unsubscribe_rate", "unsubscribes", "delivered", is_gain=False, bound=UNSUBSCRIBE_BOUND),
    Rate("complaint_rate", "complaints", "delivered", is_gain=False, bound=COMPLAINT_BOUND),
    Rate("hard_bounce_rate", "hard_bounces", "sent", is_gain=False, bound=HARD_BOUNCE_BOUND),
)

HEADLINE_RATES = (_HUMAN_CLICK, *_OUTCOMES)
"""The rates of the tiles, compared with those of four weeks before."""

WATCHED_RATES = (_PROMPT_HUMAN_CLICK, *_OUTCOMES)
"""The rates of which every night is compared with its forecast."""

WATCHED_VOLUMES = ("entries", "sent")
"""The counts of which every night is compared with its forecast."""

STEP_RATES = (
    *HEADLINE_RATES,
    Rate("delivery_rate", "delivered", "sent"),
    Rate("soft_bounce_rate", "soft_bounces", "sent", is_gain=False),
    Rate("open_rate", "unique_opens", "delivered"),
    Rate("unmarked_open_rate", "unique_human_opens", "delivered"),
    Rate("click_rate", "unique_clicks", "delivered"),
)
"""The rates of `step_metrics` and `workflow_metrics`."""
