"""What happens to a record next, when, and who does it: the sentence that stands below every decision."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.common.means import condition
from pipeline.common.words import counted
from pipeline.optimizations.approval_policy import ApprovalPolicy
from pipeline.optimizations.record import Record
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import RecordStatus as Status


@dataclass(frozen=True)
class Timetable:
    """When driptune acts by itself while `driptune up` runs.

    Attributes:
        seconds_between_looks: how often it looks for what was approved or is to be taken back.
        next_night: when the nightly after an instant is due, in the zone of its schedule.
    """

    seconds_between_looks: int
    next_night: Callable[[datetime], datetime]


def next_step(record: Record, approval_policy: ApprovalPolicy, timetable: Timetable, now: datetime) -> str:
    """What happens next in words; empty where a record has ended and nothing follows.

    Args:
        record: the record as it stands.
        approval_policy: today's `approvals.yaml`.
        timetable: when driptune acts.
        now: the time.
    """
    soon = f"at its next look, within {counted(timetable.seconds_between_looks, 'second', 'seconds')},"
    night = f"The nightly of {timetable.next_night(now):%A, %-d %B, %H:%M %Z}"
    match record.status:
        case Status.PENDING:
            return _waits(record)
        case Status.APPROVED | Status.APPLYING:
            return _is_made(record, soon, night)
        case Status.APPLIED | Status.VERIFIED if record.proposal.holdout_share:
            return f"{night}, measures what it brings, against the people kept out, and so does every night after it."
        case Status.APPLIED | Status.VERIFIED:
            return "Nothing more happens. Nobody was kept out, so its effect is not measured."
        case Status.ROLLING_BACK:
            return f"driptune begins {soon} to put back what stood before. What somebody else has set since is left."
        case Status.REJECTED if record.decided_at is not None:
            day = record.decided_at + timedelta(days=approval_policy.cool_down_days)
            return f"The same is not proposed again before {day:%-d %B %Y}, and then only with other evidence."
    return ""


def _waits(record: Record) -> str:
    lapses = f"If nobody decides, it lapses on {record.expires_at:%-d %B %Y}."
    missing = record.approvals_required - len(record.approvals)
    if record.approvals:
        return f"It needs {counted(missing, 'more approval', 'more approvals')}, by somebody else. {lapses}"
    who = "somebody approves" if missing == 1 else f"{missing} people approve"
    return f"Nothing changes before {who} it. {lapses}"


def _is_made(record: Record, soon: str, night: str) -> str:
    made = record.proposal
    if record.awaits_hand or made.is_all_by_hand:
        lapses = f"An approval that nobody follows lapses on {record.expires_at:%-d %B %Y}."
        return f"A person makes this change: follow the steps below in Mailchimp, then tell it here. {lapses}"
    if made.is_by_hand:
        mark = condition(made.after["field"], made.after["holdout_value"])
        return (
            f"driptune begins {soon} to mark in Mailchimp the people who are kept out: {mark}. "
            "Then this page asks for the change; made earlier, nobody would be left to compare with."
        )
    if made.apply_kind is ApplyKind.RELEASE:
        return f"driptune takes the flow over {soon}, and lets people in from then on. {night}, shows who came in."
    does = "is writing it" if record.status is Status.APPLYING else f"begins {soon} to write it"
    return (
        f"driptune {does} to Mailchimp. What Mailchimp cannot take is tried again every hour. "
        f"{night}, shows the change as applied."
    )
