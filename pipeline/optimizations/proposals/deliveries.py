"""Decisions that can be delivered: tonight's choice written where the sender's flow reads it, every night.

What a delivery brings is not known before, so nothing is promised. Better policies than the one that is delivered
belong to `policies`.
"""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.charts.figures import decision_chart
from pipeline.common.means import LONGEST_FIELD, condition, in_words
from pipeline.common.words import counted
from pipeline.optimizations.proposals.evidence import HELD_OUT, Publication
from pipeline.optimizations.record import Measure, Proposal
from pipeline.schemas.vocabulary import ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind

KINDS = {"path": Kind.PATH_POLICY, "content": Kind.CONTENT_POLICY}
TABLES = {"path": "path_decisions", "content": "content_decisions"}
FILES = {"path": "decision_points.yaml", "content": "content_blocks.yaml"}


def delivery_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per decision point and content block without a fault. Without a means it says what to do first."""
    faulty = publication["decision_lint"].filter(pl.col("severity") == "error")["decision_point_id"]
    points = publication["decision_points"].filter(~pl.col("decision_point_id").is_in(faulty.implode()))
    for point in points.sort("decision_point_id").iter_rows(named=True):
        yield _delivery(publication, point)


def change_of(point: dict[str, Any]) -> dict[str, Any]:
    """What every record that writes the arms of a point says of the change: the means, and the arms that may come."""
    return {"field": point["means"], "values": json.loads(point["arms"]), "column": "arm"}


def measure_of(point: dict[str, Any]) -> Measure:
    """By what every record about a point is judged: the goal of the workflow, as the learning policy counts it."""
    steps = tuple(json.loads(point["mailed_step_ids"]))
    return Measure(metric=MetricName.CONVERSION, window_days=point["outcome_days"], step_ids=steps)


def suggested_field(name: str) -> str:
    """A name for a merge field that people can read, of what it is for.

    >>> suggested_field("onboarding-route")
    'ONBOARDING'
    >>> suggested_field("2nd hello")
    'F_2ND_HELL'
    """
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.upper())
    begun = letters if letters[:1].isalpha() else f"F_{letters}"
    return begun[:LONGEST_FIELD].rstrip("_")


def first_a_means(thing: str, file: str, name: str) -> list[str]:
    """What to do before anything can be delivered, for somebody who marks nothing as done."""
    field = suggested_field(name)
    return [
        f"Write into {file}, at '{name}', how the flow is to learn of it: `deliver: {{field: {field}}}` for a merge "
        f'field, or `deliver: {{tag: "{name}"}}` for tags.',
        f"After the next night this record gives way to one that writes {thing}, with the steps to build the flow.",
    ]


def _delivery(publication: Publication, point: dict[str, Any]) -> Proposal:
    name, kind, default = point["decision_point_id"], point["kind"], point["default_arm"]
    called, arms = point["name"] or name, json.loads(point["arms"])
    decided = publication[TABLES[kind]].filter(pl.col("decision_point_id") == name)
    workflow, step, means = point["workflow_id"], point["step_id"], point["means"]
    place = f"{publication.workflow_name(workflow)}, {publication.step_name(workflow, step)}"
    by_arm = decided.group_by("arm").agg(subscribers=pl.len(), mean_chance=pl.col("choice_probability").mean())
    by_arm = by_arm.sort("arm")
    chosen = ", ".join(f"{arm} for {count:,}" for arm, count, _ in by_arm.iter_rows())
    shown = "path" if kind == "path" else "content"
    if means is None:
        apply_kind = ApplyKind.MANUAL
        after: dict[str, Any] = {"instructions": first_a_means("tonight's choice", FILES[kind], name)}
        title = f"{place}: say how '{called}' reaches the flow, then its {shown} can be delivered"
    else:
        apply_kind = ApplyKind.MEMBER_FIELDS
        after = {
            **change_of(point),
            "source": TABLES[kind],
            "where": {"decision_point_id": name},
            "holdout_value": default,
            "instructions": _steps(publication, point, arms),
        }
        title = f"{place}: deliver the {shown} of '{called}' by {in_words(means)}"
    return Proposal(
        kind=KINDS[kind],
        target=name,
        title=title,
        workflow_id=workflow,
        step_id=step,
        before={"delivered": "nothing: what is chosen reaches nobody"},
        after=after,
        apply_kind=apply_kind,
        base_version="deliver",
        evidence=publication.evidence(
            summary=f"Tonight {counted(decided.height, 'person has', 'people have')} a choice: {chosen}. This mails "
            "nobody: it holds for those who come to the step. No lift is promised: what the choice brings is known "
            f"only once it is served, against those kept out, who stay with '{default}'.",
            source=f"marts.{TABLES[kind]} where decision_point_id = '{name}'",
            rows=by_arm,
            chart=decision_chart(decided),
            at=(workflow, step),
            n=decided.height,
            effect=None,
            method=f"mode {point['mode']}",
            identification="not identified",
            window="tonight",
        ),
        holdout_share=HELD_OUT if means else 0.0,
        measure=measure_of(point) if means else None,
        risk=Risk.MEDIUM,
    )


def _steps(publication: Publication, point: dict[str, Any], arms: list[str]) -> list[str]:
    """How to build the flow. The steps stand in the record before anybody approves it."""
    means, default = point["means"], point["default_arm"]
    step = publication.step_name(point["workflow_id"], point["step_id"])
    is_path = point["kind"] == "path"
    # The arms of a path are the steps that it leads to.
    names = {arm: publication.step_name(point["workflow_id"], arm) if is_path else arm for arm in arms}
    each = "; ".join(f"'{name}' if {condition(means, arm)}" for arm, name in names.items() if arm != default)
    build = (
        f"In the flow, let the branch at '{step}' lead to {each}; and to '{names[default]}' for everybody else."
        if is_path
        else f"In the e-mail of '{step}', show {each}; and '{default}' to everybody else."
    )
    return [
        build,
        "Build this before you approve. driptune then writes tonight's choice, every night, and for newcomers.",
    ]
