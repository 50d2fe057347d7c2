"""Monitoring marts: what each night was expected to be, which nights were not, and the course of every metric."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table

AS_OF = "tonight: the last day whose data were used"
METHOD = "how the row was estimated"
KINDS = ["rate", "volume"]
DIRECTIONS = ["up", "down", "none"]
STATUSES = ["ok", "not enough data", "holiday", "not mature", "unknown", "nothing sent"]
SCOPES = ["account", "workflow", "step"]
SEVERITIES = ["low", "medium", "high", "critical"]
CHANGES = ["new level", "former level", "drift"]
OPPORTUNITIES = ["bottleneck", "anomaly", "cohort", "delay"]
IDENTIFICATIONS = ["randomised", "observational", "not identified"]
VALUE_UNIT = "share of the denominator, or count a day"


@table("marts.anomaly_baselines", ("workflow_id", "step_id", "metric", "day"))
class AnomalyBaselines(Table):
    """Day, step and metric: the forecast made from the days before it alone, and how the day compares."""

    as_of_day: pl.Date = column(AS_OF)
    day: pl.Date = column("day of sending")
    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step")
    metric: pl.String = column("rate or volume")
    metric_kind: pl.String = column("'rate' or 'volume'", isin=KINDS)
    numerator: pl.Int64 = count("events of the day; null = unknown", nullable=True)
    denominator: pl.Int64 = count("trials of the day; null for volumes", nullable=True)
    value: pl.Float64 = column("what was observed", VALUE_UNIT, nullable=True, ge=0.0)
    expected_value: pl.Float64 = column("forecast", VALUE_UNIT, nullable=True, ge=0.0)
    expected_value_low: pl.Float64 = column("lower end of its 95% band for a day", VALUE_UNIT, nullable=True, ge=0.0)
    expected_value_high: pl.Float64 = column("upper end of its 95% band for a day", VALUE_UNIT, nullable=True, ge=0.0)
    expected_events: pl.Float64 = column("forecast of the numerator", "count", nullable=True, ge=0.0)
    dispersion: pl.Float64 = column(
        "squared coefficient of variation of the forecast: the day's own variation and the error of the level",
        nullable=True,
        ge=0.0,
    )
    baseline_days: pl.Int64 = count("usable days the forecast rests on")
    days_needed: pl.Int64 = count("usable days still missing before days are scored")
    night_score: pl.Float64 = column("normal score of this night alone", "standard deviations", nullable=True)
    score: pl.Float64 = column(
        "normal score of the window with the strongest evidence", "standard deviations", nullable=True
    )
    window_nights: pl.Int64 = column("nights of that window", "nights", ge=1)
    tail_probability: pl.Float64 = share("chance of evidence as strong on a normal night, all windows paid for")
    direction: pl.String = column("side of the forecast", isin=DIRECTIONS)
    is_adverse: pl.Boolean = column("whether that side harms")
    is_anomaly: pl.Boolean = column("whether the night is out of line")
    change: pl.String = column(
        "'new level' confirmed, 'former level' back, slow 'drift', or null", nullable=True, isin=CHANGES
    )
    status: pl.String = column("'ok', or why the day is not scored", isin=STATUSES)
    method: pl.String = column(METHOD)


@table("marts.anomalies", ("anomaly_id",))
class Anomalies(Table):
    """Day and metric out of line, of a step or of the whole account, with the incident and the cause it belongs to."""

    as_of_day: pl.Date = column(AS_OF)
    anomaly_id: pl.String = key("scope, metric and day")
    day: pl.Date = column("day of sending")
    scope: pl.String = column("'account' (the fleet's median moved) or 'step'", isin=SCOPES)
    workflow_id: pl.String = column("workflow; null for the account", "id", nullable=True)
    step_id: pl.String = column("step; null for the account", "id", nullable=True)
    metric: pl.String = column("rate or volume")
    metric_kind: pl.String = column("'rate' or 'volume'", isin=KINDS)
    anomaly_kind: pl.String = column(
        "'night', 'nights' (a window), 'silence' (volume of zero) or 'drift'",
        isin=["night", "nights", "silence", "drift"],
    )
    numerator: pl.Int64 = count("events of the day", nullable=True)
    denominator: pl.Int64 = count("trials of the day: people affected; null for volumes", nullable=True)
    value: pl.Float64 = column("what was observed", VALUE_UNIT, nullable=True)
    expected_value: pl.Float64 = column("forecast", VALUE_UNIT, nullable=True)
    expected_value_low: pl.Float64 = column("lower end of its 95% band for a day", VALUE_UNIT, nullable=True)
    expected_value_high: pl.Float64 = column("upper end of its 95% band for a day", VALUE_UNIT, nullable=True)
    score: pl.Float64 = column("normal score of the evidence", "standard deviations", nullable=True)
    window_nights: pl.Int64 = column("nights the evidence comes from", "nights", ge=1)
    tail_probability: pl.Float64 = share("chance of evidence as strong on a normal night")
    direction: pl.String = column("side of the forecast", isin=DIRECTIONS)
    is_adverse: pl.Boolean = column("whether that side harms")
    severity: pl.String = column("from the tail probability", isin=SEVERITIES)
    affected: pl.Int64 = count("messages of the day, or events missing or in excess for a volume")
    incident_id: pl.String = key("run of days of one metric of one step")
    incident_first_day: pl.Date = column("first day of that run")
    cause_id: pl.String = key("what is taken for one cause; one notification each")
    cause_scope: pl.String = column("reach of the cause", isin=SCOPES)
    cause_first_day: pl.Date = column("first day of the cause")
    is_latest: pl.Boolean = column("on the last day for which this metric is scored: still going on")
    is_muted: pl.Boolean = column("silenced by a mute that has not expired")
    muted_until: pl.Date = column("last day of the mute", nullable=True)
    method: pl.String = column(METHOD)


@table("marts.metric_trends", ("workflow_id", "step_id", "metric", "day"))
class MetricTrends(Table):
    """Day, step and metric: the course with its expected band and the days on which something changed."""

    as_of_day: pl.Date = column(AS_OF)
    day: pl.Date = column("day of sending")
    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step")
    metric: pl.String = column("rate or volume")
    metric_kind: pl.String = column("'rate' or 'volume'", isin=KINDS)
    numerator: pl.Int64 = count("events of the day; null = unknown", nullable=True)
    denominator: pl.Int64 = count("trials of the day; null for volumes", nullable=True)
    value: pl.Float64 = column("what was observed", VALUE_UNIT, nullable=True)
    smoothed_value: pl.Float64 = column("last seven days pooled", VALUE_UNIT, nullable=True)
    expected_value: pl.Float64 = column("forecast", VALUE_UNIT, nullable=True)
    expected_value_low: pl.Float64 = column("lower end of its 95% band for a day", VALUE_UNIT, nullable=True)
    expected_value_high: pl.Float64 = column("upper end of its 95% band for a day", VALUE_UNIT, nullable=True)
    change_marker: pl.String = column(
        "'anomaly', 'new level', 'former level', 'drift', 'holiday' or null",
        nullable=True,
        isin=["anomaly", "holiday", *CHANGES],
    )
    status: pl.String = column("'ok', or why there is no band", isin=STATUSES)
    method: pl.String = column(METHOD)


@table("marts.opportunities", ("opportunity_id",))
class Opportunities(Table):
    """What could be won, ranked over all analyses by expected gain in four weeks; gains overlap and do not add up."""

    as_of_day: pl.Date = column(AS_OF)
    opportunity_id: pl.String = key("kind and target")
    rank: pl.Int64 = column("1 = largest expected gain; without one, last", "rank", ge=1)
    kind: pl.String = column("analysis it comes from", isin=OPPORTUNITIES)
    workflow_id: pl.String = column("workflow; null where several", "id", nullable=True)
    step_id: pl.String = column("step to act on; null where several or none", "id", nullable=True)
    expected_gain: pl.Float64 = column(
        "more in four weeks, if all of the difference can be won", "see gain_unit", nullable=True, ge=0.0
    )
    expected_gain_low: pl.Float64 = column("lower end of its 95% interval", "see gain_unit", nullable=True, ge=0.0)
    expected_gain_high: pl.Float64 = column("upper end of its 95% interval", "see gain_unit", nullable=True, ge=0.0)
    gain_unit: pl.String = column("of the gain; conversions rank first", isin=["conversions", "completions"])
    volume: pl.Int64 = count("people or messages concerned in four weeks")
    identification: pl.String = column(
        "what the gain rests on: a lottery, a comparison with others or before, or an assumption", isin=IDENTIFICATIONS
    )
    evidence: pl.String = column("table and rows that show it")
    message: pl.String = column("the opportunity in words")
    status: pl.String = column("'ok', or why no gain can be told")
    method: pl.String = column(METHOD)
