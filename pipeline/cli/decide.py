"""`driptune pending | show | approve | reject | withdraw | undo | done`: the ledger at a terminal."""

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from pipeline.cli.output import AS_JSON, console, print_json, tell
from pipeline.common.words import lift, share, worth
from pipeline.settings import Settings

ACTOR = click.option(
    "--as", "actor", default=getpass.getuser, show_default="your login", help="Your name in approvals.yaml."
)
REVISION = click.option(
    "--revision",
    type=click.IntRange(min=1),
    help="The revision that you saw. A record that has changed since is left alone.",
)
EVIDENCE = click.option(
    "--evidence", "evidence_hash", help="The start of the evidence hash that you saw. `show` prints it."
)

APPLIED = {
    "api_patch": "driptune changes the e-mail in Mailchimp",
    "member_fields": "driptune writes a field of each member",
    "manual": "a person makes the change by hand",
    "release": "driptune lets people into the flow, and mail to them starts",
}


@click.command()
@AS_JSON
def pending(as_json: bool) -> None:
    """List the proposals that wait for a decision.

    Alarms come first, then the proposal with the largest expected gain.
    """
    from pipeline.optimizations.ledger import open_ledger
    from pipeline.optimizations.record import most_urgent_first, severity
    from pipeline.schemas.vocabulary import RecordStatus as Status

    with open_ledger(Settings()) as ledger:
        records = most_urgent_first(ledger.records(Status.PENDING))
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
        return
    if not records:
        tell("Nothing waits for a decision.")
        return
    for record in records:
        made = record.proposal
        gain = "" if made.expected_gain is None else f", {worth(made.expected_gain)}"
        tell(f"{record.optimization_id}  {made.title}")
        day = made.evidence.get("answer_day")
        alarm = severity(made)
        told = f"{alarm} alarm; " if alarm else ""
        told += f"{made.kind.replace('_', ' ')}, {made.risk} risk{gain}; lapses {record.expires_at:%Y-%m-%d}"
        told += f"; answer expected by {day}" if day else ""
        console.print(f"{'':<18}{told}", style="dim", markup=False)
    tell("\n`driptune show ID` gives the evidence. `driptune approve ID` and `driptune reject ID` decide.")


@click.command()
@click.argument("optimization_id")
@AS_JSON
def show(optimization_id: str, as_json: bool) -> None:
    """Show a proposal, its evidence and its history."""
    from pipeline.optimizations.ledger import open_ledger

    settings = Settings()
    with open_ledger(settings) as ledger:
        record, events = ledger.record(optimization_id), ledger.history(optimization_id)
    made = record.proposal
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    from pipeline.optimizations.realised import answer_in_words, in_a_word
    from pipeline.published.reader import published_table
    from pipeline.schemas.loop import RealisedLift

    evidence = dict(made.evidence)
    console.print(f"{made.title}\n", style="bold", markup=False)
    _line("record", f"{optimization_id}, revision {record.revision}, {record.status}")
    _line("kind", f"{made.kind} at {made.target}; {made.risk} risk; {APPLIED[made.apply_kind]}")
    _line("now", json.dumps(dict(made.before), ensure_ascii=False))
    change = dict(made.after)
    instructions = change.pop("instructions", [])
    if change:
        _line("proposed", json.dumps(change, ensure_ascii=False))
    for number, instruction in enumerate(instructions, 1):
        _line(f"by hand, {number}", instruction)
    _line("because", str(evidence.get("summary", "")))
    if made.expected_lift is not None:
        _line("promised", lift(made.expected_lift, made.expected_lift_low, made.expected_lift_high))
    if evidence.get("answer") and made.holdout_share:
        _line("measured", f"{evidence['answer']} Kept out now: {share(record.holdout_share)}.")
    tonight = in_a_word(published_table(settings.published_dir, RealisedLift))
    for row in tonight.filter(optimization_id=optimization_id).iter_rows(named=True):
        found = [row[f"realised_lift{end}"] for end in ("", "_low", "_high")]
        told = row["status"] if found[0] is None else f"{lift(*found)} of {row['metric']}: {row['outcome']}"
        _line("realised", told)
        _line("answer", answer_in_words(row))
    for name in ("n", "method", "identification", "window", "source", "as_of_day", "data_version"):
        if evidence.get(name) is not None:
            _line(name.replace("_", " "), str(evidence[name]))
    for guardrail in evidence.get("guardrails", []):
        _line("guardrail", f"{guardrail['name']}: {guardrail['status']} ({guardrail['detail']})")
    _line("approvals", f"{len(record.approvals)} of {record.approvals_required}; lapses {record.expires_at:%Y-%m-%d}")
    _line("evidence", made.evidence_hash[:16])
    tell("\nHistory")
    for event in events:
        reason = event.payload.get("reason")
        told = f"  {event.occurred_at:%Y-%m-%d %H:%M} {event.event_type.replace('_', ' ')} by {event.actor}"
        tell(told + (f": {reason}" if reason else ""))


@click.command()
@click.argument("optimization_id")
@ACTOR
@REVISION
@EVIDENCE
def approve(optimization_id: str, actor: str, revision: int | None, evidence_hash: str | None) -> None:
    """Approve a proposal.

    Nothing is changed before everybody whose approval is needed has given it.
    """
    from pipeline.optimizations import review

    _decide(optimization_id, revision, evidence_hash, review.approve, "approved", actor=actor)


@click.command()
@click.argument("optimization_id")
@click.option("--reason", required=True, help="The reason. It is shown when the target comes up again.")
@ACTOR
@REVISION
@EVIDENCE
def reject(optimization_id: str, reason: str, actor: str, revision: int | None, evidence_hash: str | None) -> None:
    """Reject a proposal, and say why."""
    from pipeline.optimizations import review

    _decide(optimization_id, revision, evidence_hash, review.reject, "rejected", actor=actor, reason=reason)


@click.command()
@click.argument("optimization_id")
@click.option("--reason", required=True, help="The reason. It is kept in the ledger.")
@ACTOR
def withdraw(optimization_id: str, reason: str, actor: str) -> None:
    """Withdraw a proposal that nobody has decided."""
    from pipeline.optimizations import review

    _decide(optimization_id, None, None, review.withdraw, "withdrawn", actor=actor, reason=reason)


@click.command()
@click.argument("optimization_id")
@ACTOR
def undo(optimization_id: str, actor: str) -> None:
    """Take back your decision while nothing is written."""
    from pipeline.optimizations import review

    _decide(optimization_id, None, None, review.undo, "waits for a decision again", actor=actor)


@click.command()
@click.argument("optimization_id")
@ACTOR
def done(optimization_id: str, actor: str) -> None:
    """Record that a person has made an approved change by hand."""
    from pipeline.optimizations import review

    _decide(optimization_id, None, None, review.mark_done, "applied", actor=actor)


def _decide(
    optimization_id: str,
    revision: int | None,
    evidence_hash: str | None,
    decide: Callable[..., Any],
    done_word: str,
    **terms: str,
) -> None:
    from pipeline.config.approvals import load_approvals
    from pipeline.optimizations.ledger import open_ledger
    from pipeline.optimizations.review import Seen

    if evidence_hash == "":
        raise click.UsageError("--evidence is empty. `show` prints the start of the hash.")
    settings = Settings()
    with open_ledger(settings) as ledger:
        stands = Seen.of(ledger.record(optimization_id))
        if evidence_hash and stands.evidence_hash.startswith(evidence_hash):
            evidence_hash = stands.evidence_hash
        seen = Seen(optimization_id, revision or stands.revision, evidence_hash or stands.evidence_hash)
        policy = load_approvals(settings.definitions)
        record = decide(ledger, policy, seen, now=datetime.now(UTC), **terms)
    missing = record.approvals_required - len(record.approvals)
    if record.status == "pending" and missing and done_word == "approved":
        tell(f"{optimization_id}: your approval is recorded. It needs {missing} more, by another person.")
    else:
        tell(f"{optimization_id}: {done_word}.")


def _line(name: str, text: str) -> None:
    tell(f"  {name:<16}{text}")


decide_commands = (pending, show, approve, reject, withdraw, undo, done)
