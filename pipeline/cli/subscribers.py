"""`driptune decide | explain | replay`: what a person gets and why, and whether a past night comes out again."""

from datetime import datetime

import click

from pipeline.cli.output import need_publication
from pipeline.common.words import counted, share
from pipeline.settings import Settings

SUBSCRIBER = click.argument("subscriber")
DIFFERING_SHOWN = 10
"""Decisions that are shown where a replay came out otherwise."""


@click.command()
@SUBSCRIBER
@click.argument("point")
def decide(subscriber: str, point: str) -> None:
    """Show what SUBSCRIBER gets at the decision point POINT.

    SUBSCRIBER is an e-mail address, a Mailchimp member id or a subscriber_key. POINT is an id of decision_points.yaml
    or content_blocks.yaml. The answer is made now from what the last night knew.
    """
    settings = Settings()
    need_publication(settings)
    from pipeline.config.decisions import load_decisions

    load_decisions(settings.definitions).point(point)  # an unknown one is refused before what answers is imported
    from pipeline.operations.one_subscriber import LastNight

    night = LastNight(settings)
    answer = night.decide(night.find(subscriber), point)
    row = answer.now
    click.echo(f"{point}: {row['arm']}, as of {night.as_of}")
    _line("default", "yes" if row["is_default"] else "no")
    _line("chance", share(row["choice_probability"]))
    if row["confidence_probability"] is not None:
        _line("is best", f"with probability {row['confidence_probability']:.2f}")
    _line("eligible", row["eligible_arms"] or "no arm")
    _line("because", row["reasoning"])
    if row["rule_errors"]:
        _line("errors", row["rule_errors"])
    _line("policy", row["model_version"])
    if not answer.is_equal:
        _line("the night", f"said {answer.of_night['arm']}; the definitions have changed since")


@click.command()
@SUBSCRIBER
@click.argument("rule")
def explain(subscriber: str, rule: str) -> None:
    """Show why RULE holds for SUBSCRIBER, or does not.

    SUBSCRIBER is an e-mail address, a Mailchimp member id or a subscriber_key. RULE is an id of rules.yaml.
    """
    settings = Settings()
    need_publication(settings)
    from pipeline.config.decisions import load_decisions

    load_decisions(settings.definitions).rule(rule)  # an unknown one is refused before what answers is imported
    from pipeline.operations.one_subscriber import LastNight

    night = LastNight(settings)
    found = night.explain(night.find(subscriber), rule)
    click.echo(f"{rule}: {'holds' if found.is_match else 'does not hold'}, as of {night.as_of}")
    for row in found.conditions.iter_rows(named=True):
        actual = "nothing" if row["actual"] is None else row["actual"]
        unit = f" {row['unit']}" if row["unit"] else ""
        told = f"{row['field']} {row['operator']} {row['expected']}{unit}; it is {actual}"
        click.echo(f"  {row['condition']}  {'yes' if row['matches'] else 'no':<4} {told}")
        if row["error"]:
            click.echo(f"     error: {row['error']}")


@click.command()
@click.argument("point")
@click.argument("date", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]))
def replay(point: str, date: datetime) -> None:
    """Make the decisions of a past night again.

    POINT is a decision point or content block. DATE is the night. Every logged decision is made again from what was
    known then, and compared with the log.
    """
    from pipeline.common.errors import DriptuneError
    from pipeline.operations.replaying import replay_night

    found = replay_night(Settings(), point, date.date())
    arms = ", ".join(f"{arm} {people:,}" for arm, people in found.arms.items())
    click.echo(f"{point}, {date:%Y-%m-%d}: {counted(found.decisions, 'decision', 'decisions')} ({arms})")
    for row in found.differing.head(DIFFERING_SHOWN).iter_rows(named=True):
        _line("otherwise", f"{row['subscriber_key']}: {row['arm']} was logged, {row['arm_again']} comes out")
    if found.differing.height:
        raise DriptuneError(
            f"{found.differing.height:,} of {found.decisions:,} come out otherwise. Either the log was edited "
            "(driptune verify), or this release decides otherwise than that of the night."
        )
    click.echo("All come out as they were logged.")


def _line(name: str, text: str) -> None:
    click.echo(f"  {name:<12}{text}")
