"""`driptune apply` and `driptune rollback`: approved changes are written to Mailchimp, and taken back."""

from datetime import UTC, datetime

import click

from pipeline.cli.decide import ACTOR
from pipeline.cli.output import tell
from pipeline.settings import Settings


@click.command("apply")
@click.argument("optimization_id", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
def apply_command(optimization_id: str | None, dry_run: bool) -> None:
    """Apply an approved change, or all of them without an ID.

    An application that was cut short is finished.
    """
    if dry_run and optimization_id is None:
        raise click.UsageError("--dry-run needs the id of a record.")
    settings, now = Settings(), datetime.now(UTC)
    from pipeline.optimizations.account.refusals import check_can_be_applied, check_can_be_planned
    from pipeline.optimizations.ledger import open_ledger

    with open_ledger(settings) as ledger:
        if optimization_id is not None:
            check = check_can_be_planned if dry_run else check_can_be_applied
            check(ledger.record(optimization_id))
        from pipeline.operations import applying

        if optimization_id is None:
            applying.apply_due(settings, ledger, now=now, tell=tell)
        elif dry_run:
            for line in applying.dry_run(settings, ledger, optimization_id).lines():
                tell(line)
        else:
            done = applying.apply_one(settings, ledger, optimization_id, now=now)
            tell(f"{optimization_id}: applied from {done.applied_day} on; {applying.written_in_words(done)}.")


@click.command()
@click.argument("optimization_id")
@click.option("--reason", required=True, help="The reason. It is kept in the ledger.")
@ACTOR
def rollback(optimization_id: str, reason: str, actor: str) -> None:
    """Put back what stood before a change was applied."""
    from pipeline.config.approvals import load_approvals
    from pipeline.optimizations.account.refusals import check_can_go_back
    from pipeline.optimizations.ledger import open_ledger
    from pipeline.optimizations.review import known_approver

    settings = Settings()
    known_approver(load_approvals(settings.definitions), actor)
    with open_ledger(settings) as ledger:
        check_can_go_back(ledger.record(optimization_id))
        from pipeline.operations import applying

        done = applying.roll_back(settings, ledger, optimization_id, actor=actor, reason=reason, now=datetime.now(UTC))
    tell(f"{optimization_id}: rolled back; {applying.put_back_in_words(done)}")
