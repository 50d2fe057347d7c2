"""The world of the sample account: its flows, its planted phenomena and their sizes. Numbers only, no drawing.

`data/definitions/flows.yaml` describes the same flows as a user would; a test keeps the two equal.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.common.time import DAY_US, SECOND_US, start_of_day_us
from pipeline.settings import SAMPLE_FIRST_DAY, SAMPLE_TONIGHT

Array: TypeAlias = npt.NDArray[Any]

NEVER_US = 2**42 * SECOND_US  # beyond every instant, and whole seconds like all of them

DAYS_SEEN = (SAMPLE_TONIGHT - SAMPLE_FIRST_DAY).days + 1
DAYS_AHEAD = 60
FIRST_US = start_of_day_us(SAMPLE_FIRST_DAY)
LAST_US = FIRST_US + (DAYS_SEEN + DAYS_AHEAD) * DAY_US

AUDIENCE_ID = "5a3b1e7f90"
STORE_ID = "northwind-outdoor"
CURRENCY = "USD"
OTHER_CURRENCY = "EUR"


def us(text: str) -> int:
    """Epoch microseconds of an ISO date or time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US


def mailchimp_id(name: str) -> str:
    """Ten hex digits, as Mailchimp names campaigns and automations."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:10]


@dataclass(frozen=True)
class Step:
    """A step of a flow as the world runs it; `loss` is the share lost on the way to the next step."""

    step_id: str
    name: str
    delay_hours: int = 0
    grace_hours: int = 48
    position: int = 0
    kind: str = "email"
    status: str = "active"
    loss: float = 0.05
    open_rate: float = 0.42
    click_rate: float = 0.34
    direct_purchase: float = 0.0
    assigned_delays: tuple[int, ...] = ()


@dataclass(frozen=True)
class Flow:
    """A journey whose steps events tell ('flow') or not ('journey'), a classic automation, or a one-off campaign."""

    workflow_id: str
    name: str
    kind: str
    category: str
    priority: int
    trigger: str
    goal: str | None
    steps: tuple[Step, ...]
    sent_at_us: int | None = None
    created_us: int = us("2025-11-03")

    def campaign_id(self, step: Step) -> str | None:
        """The report id of a step; a classic automation's step id is its report id."""
        if step.kind != "email":
            return None
        return step.step_id if self.kind != "flow" else mailchimp_id(f"{self.workflow_id}/{step.step_id}")

    @property
    def length(self) -> int:
        """Steps on the longest path."""
        return max(step.position for step in self.steps) + 1


def _chain(*steps: Step) -> tuple[Step, ...]:
    return tuple(
        Step(**{**vars(step), "position": index}) if not step.position else step for index, step in enumerate(steps)
    )


WELCOME = Flow(
    mailchimp_id("automation welcome"),
    "Welcome series",
    "journey",
    "lifecycle",
    10,
    "signup",
    None,
    _chain(
        Step(mailchimp_id("welcome 1"), "Hello", 0, loss=0.0, open_rate=0.55, click_rate=0.36),
        Step(mailchimp_id("welcome 2"), "Our story", 48, loss=0.0),
        Step(mailchimp_id("welcome 3"), "Best sellers", 72, loss=0.0, open_rate=0.38),
        Step(mailchimp_id("welcome 4"), "Invite a friend", 120, loss=0.0, open_rate=0.33, click_rate=0.28),
    ),
)
CART = Flow(
    mailchimp_id("automation abandoned cart"),
    "Abandoned cart",
    "journey",
    "transactional",
    30,
    "cart_abandoned",
    "purchase",
    _chain(
        Step(mailchimp_id("cart 1"), "You left something", 4, loss=0.0, open_rate=0.52, click_rate=0.46),
        Step(mailchimp_id("cart 2"), "Others love it", 24, loss=0.0, open_rate=0.44),
        Step(mailchimp_id("cart 3"), "Ten percent off", 48, loss=0.0, open_rate=0.42, click_rate=0.4),
    ),
)
ONBOARDING = Flow(
    "onboarding",
    "Onboarding",
    "flow",
    "lifecycle",
    20,
    "signup",
    "purchase",
    (
        Step("start", "Get started", 0, loss=0.24, open_rate=0.5, direct_purchase=0.03, assigned_delays=(24, 48)),
        Step(
            "setup",
            "Set up your profile",
            24,
            48,
            1,
            loss=0.06,
            direct_purchase=0.05,
            assigned_delays=(24, 48, 72, 120),
        ),
        Step("tips", "Three tips", 72, 72, 2, loss=0.06, direct_purchase=0.02),
        Step("route", "Active enough?", 24, 48, 3, kind="branch", loss=0.03),
        Step("power", "For power users", 24, 48, 4, loss=0.05, open_rate=0.55, click_rate=0.42),
        Step("nudge", "A gentle nudge", 24, 48, 4, loss=0.14, open_rate=0.24, click_rate=0.2),
        Step("webinar", "Webinar (retired)", 24, 48, 4, status="deleted", loss=0.0),
        Step("offer", "A first offer", 96, 48, 5, loss=0.0, open_rate=0.45, click_rate=0.42),
    ),
)
WINBACK = Flow(
    "win-back",
    "Win-back",
    "flow",
    "promotional",
    5,
    "inactive_45_days",
    "purchase",
    (
        Step("miss-you", "We miss you", 0, 48, 0, loss=0.07, open_rate=0.3, assigned_delays=(48, 96, 144)),
        Step("segment", "Worth a call?", 96, 72, 1, kind="branch", loss=0.02),
        Step("voucher", "A voucher", 24, 48, 2, loss=0.08, open_rate=0.33, click_rate=0.36),
        Step("call-offer", "We call you", 24, 48, 2, status="paused", loss=0.0),
        Step("last-call", "Last call", 120, 168, 3, loss=0.0, open_rate=0.26, click_rate=0.26),
    ),
)
CAMPAIGN_TIMES = (
    "2026-01-14T15:00",
    "2026-02-05T10:00",
    "2026-02-26T17:00",
    "2026-03-19T13:00",
    "2026-04-16T16:00",
    "2026-05-07T09:00",
    "2026-05-28T18:00",
    "2026-06-18T14:00",
    "2026-07-09T15:00",
    "2026-08-06T10:00",
)
CAMPAIGNS = tuple(
    Flow(
        mailchimp_id(f"campaign {number}"),
        f"Newsletter {number}",
        "campaign",
        "newsletter",
        1,
        "manual",
        None,
        (
            Step(
                mailchimp_id(f"campaign {number}"),
                f"Newsletter {number}",
                loss=0.0,
                open_rate=0.32,
                click_rate=0.22,
            ),
        ),
        us(time),
        us(time) - 2 * DAY_US,
    )
    for number, time in enumerate(CAMPAIGN_TIMES, 1)
)
SERIES = (WELCOME, CART, ONBOARDING, WINBACK)
FLOWS = SERIES + CAMPAIGNS
# What was in use before journeys. Its history lies before the world begins, and nothing of the world depends on it.
REMINDER = Flow(
    mailchimp_id("automation cart reminder"),
    "Cart reminder of 2025",
    "automation",
    "transactional",
    0,
    "cart_abandoned",
    None,
    _chain(
        Step(mailchimp_id("reminder 1"), "Still interested?", 4, loss=0.0),
        Step(mailchimp_id("reminder 2"), "Last chance", 48, loss=0.0, open_rate=0.36),
    ),
    created_us=us("2025-09-15"),
)
EVERY_FLOW = (*FLOWS, REMINDER)


@dataclass(frozen=True)
class Reaction:
    """What an e-mail shows to those of whom a means says one of the values: each value sells with a chance of its own.

    The means is a merge field, or 'tag ' and the prefix of tags.
    """

    workflow_id: str
    step_id: str
    means: str
    purchase: dict[str, float]


@dataclass(frozen=True)
class Planted:
    """Every phenomenon put into the world on purpose, with the size that an analysis should find."""

    proxy_share: float = 0.45
    image_proxy_share: float = 0.05
    scanner_shares: dict[str, float] = field(
        default_factory=lambda: {"too_fast": 0.025, "all_links": 0.025, "shared_ip": 0.03}
    )
    bottleneck: tuple[str, str, str] = (ONBOARDING.workflow_id, "start", "setup")
    stuck: dict[str, int] = field(
        default_factory=lambda: {
            "paused step": 7,
            "bounced": 6,
            "failed filter": 6,
            "deleted target": 5,
            "queue stall": 6,
            "loop": 5,
        }
    )
    collisions: int = 30
    removed: int = 6
    deleted_members: int = 4
    archived_members: int = 40
    delay_that_matters: tuple[str, str, str] = (ONBOARDING.workflow_id, "setup", "tips")
    delay_purchase: dict[int, float] = field(default_factory=lambda: {24: 0.03, 48: 0.18, 72: 0.08, 120: 0.02})
    # Whole days apart: half a day would move the next mail to another hour, and that does matter.
    delay_that_does_not: tuple[str, str, str] = (ONBOARDING.workflow_id, "start", "setup")
    delay_of_too_few: tuple[str, str, str] = (WINBACK.workflow_id, "miss-you", "segment")
    outage_step: tuple[str, str] = (WELCOME.workflow_id, WELCOME.steps[1].step_id)
    outage_days: tuple[str, str] = ("2026-06-10", "2026-06-12")
    silent_step: tuple[str, str] = (WINBACK.workflow_id, "last-call")
    silent_days: tuple[str, str] = ("2026-06-26", "2026-06-30")
    decay_step: tuple[str, str] = (ONBOARDING.workflow_id, "tips")
    decay_from: str = "2026-04-01"
    decay_share_lost_per_30_days: float = 0.28
    cohort_month: str = "2026-03"
    cohort_lift: float = 2.0
    plan_lift: dict[str, float] = field(default_factory=lambda: {"free": 1.0, "basic": 1.0, "pro": 1.9})
    experiment: tuple[str, str, str] = (ONBOARDING.workflow_id, "setup", "setup-subject")
    experiment_from: str = "2026-05-01"
    experiment_purchase: dict[str, float] = field(default_factory=lambda: {"A": 0.05, "B": 0.22})
    experiment_field: str = "SUBJECT"
    # The branch leads to the step that the field names. Whom it names none for takes the way planned for them.
    route: tuple[str, str, str] = (ONBOARDING.workflow_id, "route", "ROUTE")
    reactions: tuple[Reaction, ...] = (
        Reaction(ONBOARDING.workflow_id, "power", "ROUTE", {"power": 0.2}),
        Reaction(ONBOARDING.workflow_id, "nudge", "ROUTE", {"nudge": 0.06}),
        Reaction(ONBOARDING.workflow_id, "tips", "TIPS", {"three": 0.05, "one": 0.2}),
        Reaction(CART.workflow_id, CART.steps[0].step_id, "tag cart hero", {"loyalty": 0.12, "plain": 0.06}),
    )
    hour_field: str = "SENDHOUR"
    # Of those who are let into win-back by a start: the chance of a purchase after a short wait, and after a long one.
    wait_purchase: tuple[float, float] = (0.06, 0.2)
    wait_that_matters_hours: int = 72
    aa_field: str = "AATEST"
    aa_from: str = "2026-05-01"


PLANTED = Planted()
PROFILES = ("morning", "lunch", "evening", "night", "flat")
PROFILE_SHARES = (0.26, 0.16, 0.28, 0.12, 0.18)
_PEAKS = (7.5, 12.5, 19.5, 23.0)


def hour_weights() -> Array:
    """Preference of each profile for each local hour: 5 x 24, each row with mean 1."""
    hours = np.arange(24) + 0.5
    rows = []
    for peak in _PEAKS:
        distance = np.abs((hours - peak + 12) % 24 - 12)
        rows.append(0.25 + np.exp(-0.5 * (distance / 2.0) ** 2) * 4.0)
    rows.append(np.ones(24))
    weights = np.array(rows)
    scaled: np.ndarray = weights / weights.mean(axis=1, keepdims=True)
    return scaled
