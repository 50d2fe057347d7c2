"""What a record itself speaks against: its state and its kind say that nothing is to be written, or to be put back.

The account is not asked, and nothing here takes long to import. So a command asks here before it imports what writes;
who writes asks again under the lock.
"""

from pipeline.common.errors import LedgerError
from pipeline.optimizations.record import IN_EFFECT, Record
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status


class NotApplicableError(LedgerError):
    """The record cannot be applied; the message says why."""


def check_can_be_planned(record: Record) -> None:
    """Stop where it cannot be told beforehand what applying a record would write.

    Raises:
        NotApplicableError: if a person makes the change, or it lets people in.
    """
    _refuse_by_hand(record)
    if record.proposal.kind is Kind.RELEASE:
        raise NotApplicableError(
            f"Applying {record.optimization_id} writes nothing: it lets people in from then on. "
            "`driptune release --dry-run` shows when."
        )


def check_can_be_applied(record: Record) -> None:
    """Stop where a record is not to be applied, and where no application of it was cut short.

    Raises:
        NotApplicableError: if nobody approved it, or a person does all of it.
    """
    _refuse_by_hand(record)
    is_cut_short = record.status is Status.APPLYING and not record.is_holdout_set
    if record.status is not Status.APPROVED and not is_cut_short:
        raise NotApplicableError(f"{record.optimization_id} is {record.status}; only what is approved is applied.")


def can_go_back(record: Record) -> bool:
    """Whether driptune has something to put back for a record."""
    try:
        check_can_go_back(record)
    except NotApplicableError:
        return False
    return True


def check_can_go_back(record: Record) -> None:
    """Stop where driptune has nothing to put back.

    Raises:
        NotApplicableError: if the record is not in effect, was made by hand, or is itself a rollback.
    """
    name = record.optimization_id
    if record.proposal.kind is Kind.ROLLBACK:
        raise NotApplicableError(
            f"{name} is a rollback itself. To make the change once more, approve it when it is proposed again."
        )
    if record.status not in (Status.APPLYING, *IN_EFFECT, Status.ROLLING_BACK):
        raise NotApplicableError(f"{name} is {record.status}; only what was applied is rolled back.")
    if record.proposal.is_by_hand and record.status in IN_EFFECT:
        raise _made_by_hand(record)
    _refuse_by_hand(record)


def _refuse_by_hand(record: Record) -> None:
    """Stop where nothing of a change is driptune's to write."""
    if record.proposal.is_all_by_hand:
        raise _made_by_hand(record)


def _made_by_hand(record: Record) -> NotApplicableError:
    """Says that a person makes the change, and how to go on."""
    return NotApplicableError(
        f"{record.optimization_id} is made by hand. `driptune show {record.optimization_id}` lists the steps, "
        f"`driptune done {record.optimization_id}` says they were taken."
    )
