"""Timing marts: when subscribers engage and when steps should be sent; what delays between steps convert."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table

AS_OF = "tonight: the last day whose data were used"
METHOD = "how the row was estimated"
IDENTIFICATION = "'randomised', 'observational' or 'not identified'"


@table("marts.delay_curves", ("workflow_id", "from_step_id", "to_step_id", "delay_hours"))
class DelayCurves(Table):
    """Transition and delay that was used: conversion standardised over segments and four-week blocks."""

    as_of_day: pl.Date = column(AS_OF)
    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step the delay starts at")
    to_step_id: pl.String = key("step the delay leads to")
    delay_hours: pl.Float64 = column("assigned delay", "hours", ge=0)
    is_current: pl.Boolean = column("whether this is the delay in use now")
    entrants: pl.Int64 = count("matured entrants with this assigned delay")
    conversions: pl.Int64 = count("entrants converted within the fixed horizon")
    conversion_rate: pl.Float64 = share("standardised conversion rate, posterior mean")
    conversion_rate_low: pl.Float64 = share("lower end of its 95% interval")
    conversion_rate_high: pl.Float64 = share("upper end of its 95% interval")
    ratio_to_current: pl.Float64 = column(
        "conversion relative to the delay in use, posterior mean", "ratio", nullable=True
    )
    ratio_to_current_low: pl.Float64 = column("lower end of its 95% interval", "ratio", nullable=True)
    ratio_to_current_high: pl.Float64 = column("upper end of its 95% interval", "ratio", nullable=True)
    best_probability: pl.Float64 = share("probability that this delay converts best of those compared")
    better_probability: pl.Float64 = share("probability that it converts better than now; null for the current delay")
    is_mature: pl.Boolean = column("whether the horizon of every entrant has closed")
    identification: pl.String = column(IDENTIFICATION, isin=["randomised", "observational", "not identified"])
    status: pl.String = column("'ok', or why there is no estimate")
    method: pl.String = column(METHOD)


@table("marts.delay_recommendations", ("workflow_id", "from_step_id", "to_step_id"))
class DelayRecommendations(Table):
    """Transition: the best delay among those used, what it would bring, and how well that is known."""

    as_of_day: pl.Date = column(AS_OF)
    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step the delay starts at")
    to_step_id: pl.String = key("step the delay leads to")
    current_delay_hours: pl.Float64 = column("delay in use now", "hours", nullable=True)
    recommended_delay_hours: pl.Float64 = column("delay with the highest expected conversion", "hours", nullable=True)
    delays_compared: pl.Int64 = count("delays comparable with the current one, itself included")
    entrants: pl.Int64 = count("matured entrants used")
    conversions: pl.Int64 = count("entrants converted within the fixed horizon")
    improvement: pl.Float64 = column("conversion against now, less one: posterior mean", "ratio", nullable=True)
    improvement_low: pl.Float64 = column("lower end of its 95% interval", "ratio", nullable=True)
    improvement_high: pl.Float64 = column("upper end of its 95% interval", "ratio", nullable=True)
    best_probability: pl.Float64 = share("probability that it is the best of the delays compared")
    better_probability: pl.Float64 = share("probability that it is better than now; null where it is the current one")
    action: pl.String = column(
        "'change', 'test' (not sure enough), 'keep' or 'wait'", isin=["change", "test", "keep", "wait"]
    )
    identification: pl.String = column(IDENTIFICATION, isin=["randomised", "observational", "not identified"])
    status: pl.String = column("'ok', or why there is no estimate")
    entrants_needed: pl.Int64 = count("further matured entrants until something can be said")
    method: pl.String = column(METHOD)
