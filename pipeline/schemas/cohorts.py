"""Cohort marts: conversion by age, cohorts at equal age, and what can be said about them."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table

AS_OF = "tonight: the last day whose data were used"
METHOD = "how the row was estimated"
COHORT_TYPE = "what cohorts are formed by: signup_date, first_purchase, subscription_plan or a member field"
AGE = "week since entry, 0 = the first"
STATUS = "'ok', or why there is no estimate and how much is missing"
COHORT_KEY = ("cohort_type", "workflow_id", "cohort")


@table("marts.cohort_triangles", (*COHORT_KEY, "age_weeks"))
class CohortTriangles(Table):
    """Cohort and age: cumulative outcomes of the entrants whose week has closed, and what to expect of the others."""

    as_of_day: pl.Date = column(AS_OF)
    cohort_type: pl.String = column(COHORT_TYPE)
    cohort: pl.String = key("cohort")
    workflow_id: pl.String = key("workflow")
    age_weeks: pl.Int64 = column(AGE, "weeks", ge=0)
    entrants: pl.Int64 = count("entrants so far")
    followed: pl.Int64 = count("entrants whose week of this age has closed")
    conversions: pl.Int64 = count("those of them converted by the end of that week")
    exits: pl.Int64 = count("those of them who unsubscribed before converting")
    conversion_rate: pl.Float64 = share("conversions / followed; null where nobody is followed")
    conversion_rate_low: pl.Float64 = share("lower end of its 95% Wilson interval")
    conversion_rate_high: pl.Float64 = share("upper end of its 95% Wilson interval")
    incidence_rate: pl.Float64 = share("probability of having converted by this age, unsubscribing competing")
    incidence_rate_low: pl.Float64 = share("lower end of its 95% interval")
    incidence_rate_high: pl.Float64 = share("upper end of its 95% interval")
    at_risk: pl.Int64 = count("followed entrants neither converted nor gone before this week")
    is_mature: pl.Boolean = column("whether every entrant's week has closed")
    is_projected: pl.Boolean = column("whether `projected_rate` rests on a projection")
    projected_rate: pl.Float64 = share("conversions of all entrants by this age, the open weeks by chain ladder")
    projected_rate_low: pl.Float64 = share("lower end of its 95% prediction interval")
    projected_rate_high: pl.Float64 = share("upper end of its 95% prediction interval")
    status: pl.String = column(STATUS)
    method: pl.String = column(METHOD)


@table("marts.cohort_metrics", COHORT_KEY)
class CohortMetrics(Table):
    """Cohort: how far it is followed, what it did until then, and where it is heading."""

    as_of_day: pl.Date = column(AS_OF)
    cohort_type: pl.String = column(COHORT_TYPE)
    cohort: pl.String = key("cohort")
    workflow_id: pl.String = key("workflow")
    entrants: pl.Int64 = count("entrants so far")
    followed: pl.Int64 = count("entrants followed to the last complete age")
    last_complete_age_weeks: pl.Int64 = column("oldest week closed for every entrant", "weeks", nullable=True)
    conversions: pl.Int64 = count("converted by the end of that week")
    exits: pl.Int64 = count("unsubscribed before converting by the end of that week")
    conversion_rate: pl.Float64 = share("conversions / followed")
    conversion_rate_low: pl.Float64 = share("lower end of its 95% Wilson interval")
    conversion_rate_high: pl.Float64 = share("upper end of its 95% Wilson interval")
    exit_rate: pl.Float64 = share("exits / followed")
    exit_rate_low: pl.Float64 = share("lower end of its 95% Wilson interval")
    exit_rate_high: pl.Float64 = share("upper end of its 95% Wilson interval")
    is_mature: pl.Boolean = column("whether the oldest age of the triangle is complete")
    projected_age_weeks: pl.Int64 = column("age of the projection", "weeks", nullable=True)
    projected_rate: pl.Float64 = share("conversions of all entrants by that age, open weeks by chain ladder")
    projected_rate_low: pl.Float64 = share("lower end of its 95% prediction interval")
    projected_rate_high: pl.Float64 = share("upper end of its 95% prediction interval")
    is_projected: pl.Boolean = column("whether any of it is a projection")
    status: pl.String = column(STATUS)
    method: pl.String = column(METHOD)


@table("marts.cohort_comparison", COHORT_KEY)
class CohortComparison(Table):
    """Cohort at the age all are compared at: its rate, shrunk towards the others, against their mean."""

    as_of_day: pl.Date = column(AS_OF)
    cohort_type: pl.String = column(COHORT_TYPE)
    cohort: pl.String = key("cohort")
    workflow_id: pl.String = key("workflow")
    age_weeks: pl.Int64 = column("age compared at", "weeks", nullable=True)
    cohorts_compared: pl.Int64 = count("cohorts with enough entrants followed to that age")
    entrants: pl.Int64 = count("entrants so far")
    followed: pl.Int64 = count("entrants followed to that age")
    conversions: pl.Int64 = count("those of them converted")
    conversion_rate: pl.Float64 = share("conversions / followed")
    conversion_rate_low: pl.Float64 = share("lower end of its 95% Wilson interval")
    conversion_rate_high: pl.Float64 = share("upper end of its 95% Wilson interval")
    is_mature: pl.Boolean = column("whether every entrant is followed to that age")
    mean_rate: pl.Float64 = share("mean of the cohorts compared, weighted by entrants followed")
    shrunk_rate: pl.Float64 = share("posterior mean of the cohort's rate")
    shrunk_rate_low: pl.Float64 = share("lower end of its 95% interval")
    shrunk_rate_high: pl.Float64 = share("upper end of its 95% interval")
    relative_difference: pl.Float64 = column("rate / mean - 1, posterior mean", "ratio", nullable=True)
    relative_difference_low: pl.Float64 = column("lower end of its 95% interval", "ratio", nullable=True)
    relative_difference_high: pl.Float64 = column("upper end of its 95% interval", "ratio", nullable=True)
    above_probability: pl.Float64 = share("probability of lying more than a tenth above the mean")
    below_probability: pl.Float64 = share("probability of lying more than a tenth below the mean")
    status: pl.String = column(STATUS)
    method: pl.String = column(METHOD)


@table("marts.cohort_insights", ("insight_id",))
class CohortInsights(Table):
    """What can be said: a cohort off the mean, or a trend from cohort to cohort."""

    as_of_day: pl.Date = column(AS_OF)
    insight_id: pl.String = key("kind, cohort type, workflow and cohort")
    insight_kind: pl.String = column("what is said", isin=["above mean", "below mean", "rising", "falling"])
    cohort_type: pl.String = column(COHORT_TYPE)
    workflow_id: pl.String = key("workflow")
    cohort: pl.String = column("cohort; null for a trend", "id", nullable=True)
    age_weeks: pl.Int64 = column("age compared at", "weeks", ge=0)
    affected: pl.Int64 = count("people: entrants of the cohort, or of all cohorts for a trend")
    conversions: pl.Int64 = count("conversions among those followed")
    followed: pl.Int64 = count("entrants followed to that age")
    effect: pl.Float64 = column("relative to the mean; for a trend, of the odds from one cohort to the next", "ratio")
    effect_low: pl.Float64 = column("lower end of its 95% interval", "ratio")
    effect_high: pl.Float64 = column("upper end of its 95% interval", "ratio")
    insight_probability: pl.Float64 = share("probability of the statement; for a trend, 1 - its p-value")
    message: pl.String = column("the statement in words")
    method: pl.String = column(METHOD)
