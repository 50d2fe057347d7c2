"""Cohort marts: conversion by age, cohorts compared at equal age, and what can be said about them."""

import polars as pl

from pipeline.schemas.base import WORKFLOW, Table, table
from pipeline.schemas.columns import WILSON, column, count, key, method_name, share, tonight, word
from pipeline.schemas.vocabulary import CohortType, InsightKind

COHORT = "Cohort: a month such as 2026-03, a subscription plan, or a value of the member field."
ENTRANTS = "Entries into the workflow by members of the cohort, up to tonight."
STATUS = "'ok', or why the row has no estimate and how many entrants are missing."
PREDICTION = "95%, of predictions"
POSTERIOR = "95%, posterior"
COHORT_KEY = ("cohort_type", "workflow_id", "cohort")


class _Cohort(Table):
    as_of_day: pl.Date = tonight()
    cohort_type: pl.String = word("What the cohorts are formed by.", CohortType)
    cohort: pl.String = key(COHORT)
    workflow_id: pl.String = key(WORKFLOW)


@table("marts.cohort_triangles", (*COHORT_KEY, "age_weeks"))
class CohortTriangles(_Cohort):
    """One row per cohort and week since entry: what its entrants did by then, and what to expect of the open weeks."""

    age_weeks: pl.Int64 = column("Week since entry into the workflow, 0 = the first.", "weeks", ge=0)
    entrants: pl.Int64 = count(ENTRANTS)
    followed: pl.Int64 = count("Entrants for whom this week since entry has closed.")
    conversions: pl.Int64 = count("Those of `followed` who converted by the end of this week.")
    exits: pl.Int64 = count("Those of `followed` who unsubscribed or complained by then, without converting before.")
    conversion_rate: pl.Float64 = share("conversions / followed. Null if nobody is followed.", interval=WILSON)
    incidence_rate: pl.Float64 = share(
        "Probability of converting by this week, with exits as a competing risk.", interval="95%"
    )
    at_risk: pl.Int64 = count("Those of `followed` who had neither converted nor left before this week.")
    is_mature: pl.Boolean = column("This week has closed for every entrant.")
    is_projected: pl.Boolean = column("`projected_rate` contains weeks that are still open.")
    projected_rate: pl.Float64 = share(
        "Expected conversions of all entrants by this week / entrants; chain ladder.", interval=PREDICTION
    )
    status: pl.String = column(STATUS)
    method: pl.String = method_name()


@table("marts.cohort_metrics", COHORT_KEY)
class CohortMetrics(_Cohort):
    """One row per cohort: how far it has been followed, what it did until then, and where it is heading."""

    entrants: pl.Int64 = count(ENTRANTS)
    followed: pl.Int64 = count("Entrants followed to the end of `last_complete_age_weeks`.")
    last_complete_age_weeks: pl.Int64 = column("Oldest week closed for every entrant.", "weeks", nullable=True)
    conversions: pl.Int64 = count("Those of `followed` who converted by the end of that week.")
    exits: pl.Int64 = count("Those of `followed` who unsubscribed or complained by then, without converting before.")
    conversion_rate: pl.Float64 = share("conversions / followed. Null if nobody is followed.", interval=WILSON)
    exit_rate: pl.Float64 = share("exits / followed. Null if nobody is followed.", interval=WILSON)
    is_mature: pl.Boolean = column("Every entrant has been followed to the last week of the triangle.")
    projected_age_weeks: pl.Int64 = column("Week that `projected_rate` speaks of.", "weeks", nullable=True)
    projected_rate: pl.Float64 = share(
        "Expected conversions of all entrants by that week / entrants; chain ladder.", interval=PREDICTION
    )
    is_projected: pl.Boolean = column("`projected_rate` contains weeks that are still open.")
    status: pl.String = column(STATUS)
    method: pl.String = method_name()


@table("marts.cohort_comparison", COHORT_KEY)
class CohortComparison(_Cohort):
    """One row per cohort, at an age that it and others have reached: its rate against the median of the others."""

    age_weeks: pl.Int64 = column("Week since entry that is compared. Null if no week can be.", "weeks", nullable=True)
    cohorts_compared: pl.Int64 = count("Cohorts with enough entrants followed to that week.")
    entrants: pl.Int64 = count(ENTRANTS)
    followed: pl.Int64 = count("Entrants followed to the end of that week.")
    conversions: pl.Int64 = count("Those of `followed` who converted by then.")
    conversion_rate: pl.Float64 = share("conversions / followed. Null if nobody is followed.", interval=WILSON)
    is_mature: pl.Boolean = column("Every entrant is followed to that week.")
    others_rate: pl.Float64 = share("Median conversion rate of the other cohorts by that week.")
    shrunk_rate: pl.Float64 = share(
        "The cohort's rate, drawn towards the others: posterior median.", interval=POSTERIOR
    )
    relative_difference: pl.Float64 = column(
        "Rate / the others' median rate - 1: posterior median.", "ratio", nullable=True, interval=POSTERIOR
    )
    above_probability: pl.Float64 = share("Probability that the rate lies more than a tenth above the others.")
    below_probability: pl.Float64 = share("Probability that the rate lies more than a tenth below the others.")
    status: pl.String = column(STATUS)
    method: pl.String = method_name()


@table("marts.cohort_insights", ("insight_id",))
class CohortInsights(Table):
    """One row per statement: a cohort differs clearly from the others, or cohorts rise or fall from one to the next."""

    as_of_day: pl.Date = tonight()
    insight_id: pl.String = key("Insight kind, cohort type, workflow and cohort.")
    insight_kind: pl.String = word("What is said.", InsightKind)
    cohort_type: pl.String = word("What the cohorts are formed by.", CohortType)
    workflow_id: pl.String = key(WORKFLOW)
    cohort: pl.String = key("Cohort that the statement is about. Null for a trend over all cohorts.", nullable=True)
    age_weeks: pl.Int64 = column("Week since entry at which cohorts were compared.", "weeks", ge=0)
    affected: pl.Int64 = count("Entrants of the cohort; for a trend those of all cohorts.")
    conversions: pl.Int64 = count("Conversions among `followed`.")
    followed: pl.Int64 = count("Entrants followed to that week.")
    effect: pl.Float64 = column(
        "Rate / the others' rate - 1; for a trend, change of the odds from cohort to cohort.", "ratio", interval="95%"
    )
    insight_probability: pl.Float64 = share("Probability that the statement is true; for a trend, 1 - p-value.")
    message: pl.String = column("The statement in words.")
    method: pl.String = method_name()
