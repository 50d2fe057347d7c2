"""Which of the records that wait are to be looked at first, for the command line, the inbox and the pages alike."""

from collections.abc import Iterable

from pipeline.optimizations.record import Proposal, Record
from pipeline.schemas.vocabulary import AnomalySeverity, words
from pipeline.schemas.vocabulary import ProposalKind as Kind

SEVERITIES = words(AnomalySeverity)


def severity(proposal: Proposal) -> str | None:
    """How grave the alarm is that a proposal is about; none for a proposal that is about no alarm."""
    told = {row.get("severity") for row in proposal.evidence.get("rows", [])}
    return next((one for one in reversed(SEVERITIES) if one in told), None) if proposal.kind is Kind.ANOMALY else None


def most_urgent_first(records: Iterable[Record]) -> list[Record]:
    """The records: alarms first, the gravest before the others, then what promises most."""
    return sorted(records, key=_rank)


def _rank(record: Record) -> tuple[int, float, float]:
    made = record.proposal
    alarm = severity(made)
    return -SEVERITIES.index(alarm) if alarm else 1, -(made.expected_value or 0), -(made.expected_lift or 0)
