"""Monitoring marts: what each night was expected to be, which nights differ, trends of metrics, and opportunities."""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import STEP, WORKFLOW, Table, table
from pipeline.schemas.columns import SHARE, column, count, key, method_name, share, tonight, utc_day, word

VALUE = "share of the denominator, or events a day"
SCORE = "standard deviations"
METRIC = "Rate or volume that is watched."
DAY = "Day of sending; of entry for the metric `entries`."
NUMERATOR = "Events of the day. Null if they are not known."
DENOMINATOR = "Messages that the events are counted among. Null for a volume."
OBSERVED = "What was observed: numerator / denominator, or the numerator of a volume."
FORECAST = "Forecast of `value` from the days before. Null if the day is not scored."
BAND = "95%, of single days"


class _Metric(Table):
    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key(STEP)
    metric: pl.String = column(METRIC)
    metric_kind: pl.String = word("Whether the metric is a rate or a volume.", vocabulary.SeriesKind)
    numerator: pl.Int64 = count(NUMERATOR, nullable=True)
    denominator: pl.Int64 = count(DENOMINATOR, nullable=True)
    value: pl.Float64 = column(OBSERVED, VALUE, nullable=True, ge=0.0)


class _Day(Table):
    as_of_day: pl.Date = tonight()
    day: pl.Date = utc_day(DAY)


@table("marts.anomaly_baselines", ("workflow_id", "step_id", "metric", "day"))
class AnomalyBaselines(_Metric, _Day):
    """One row per day, step and metric: the forecast from the days before it alone, and how the day compares."""

    expected_value: pl.Float64 = column(FORECAST, VALUE, nullable=True, ge=0.0, interval=BAND)
    expected_events: pl.Float64 = column("Forecast of `numerator`.", "count", nullable=True, ge=0.0)
    dispersion: pl.Float64 = column(
        "Squared coefficient of variation of the forecast, from variation between days and the error of the level.",
        "ratio",
        nullable=True,
        ge=0.0,
    )
    baseline_days: pl.Int64 = count("Usable days that the forecast rests on.")
    days_needed: pl.Int64 = count("Usable days still missing before days are scored.")
    night_score: pl.Float64 = column("How far this night alone lies from its forecast.", SCORE, nullable=True)
    score: pl.Float64 = column("The same for the window of nights with the strongest evidence.", SCORE, nullable=True)
    window_nights: pl.Int64 = column("Nights of that window, which ends with this night.", "nights", ge=1)
    tail_probability: pl.Float64 = share("Chance of evidence as strong on a normal night, over all windows tried.")
    direction: pl.String = word("Side of the forecast on which the evidence lies.", vocabulary.Direction)
    is_adverse: pl.Boolean = column("That side is the harmful one for this metric.")
    is_anomaly: pl.Boolean = column("The night differs from its forecast by more than chance.")
    change: pl.String = word("Lasting change. Null without one.", vocabulary.LevelChange, nullable=True)
    status: pl.String = word("Whether the day is scored, and why not.", vocabulary.NightStatus)
    method: pl.String = method_name()


@table("marts.anomalies", ("anomaly_id",))
class Anomalies(Table):
    """One row per day and metric that differs from its forecast, of a step or the whole account, with its cause."""

    as_of_day: pl.Date = tonight()
    anomaly_id: pl.String = key("Scope, metric, day and kind of the anomaly.")
    day: pl.Date = utc_day(DAY)
    scope: pl.String = word("One step, or the median of all steps of the account.", vocabulary.AnomalyScope)
    workflow_id: pl.String = key("Workflow. Null for the account.", nullable=True)
    step_id: pl.String = key("Step. Null for the account.", nullable=True)
    metric: pl.String = column(METRIC)
    metric_kind: pl.String = word("Whether the metric is a rate or a volume.", vocabulary.SeriesKind)
    anomaly_kind: pl.String = word("What the evidence consists of.", vocabulary.AnomalyKind)
    numerator: pl.Int64 = count(NUMERATOR, nullable=True)
    denominator: pl.Int64 = count(DENOMINATOR, nullable=True)
    value: pl.Float64 = column(OBSERVED, VALUE, nullable=True)
    expected_value: pl.Float64 = column(
        "Forecast of `value` from the days before.", VALUE, nullable=True, interval=f"{BAND}, unknown for the account"
    )
    score: pl.Float64 = column("How far the evidence lies from the forecast.", SCORE, nullable=True)
    window_nights: pl.Int64 = column("Nights that the evidence comes from.", "nights", ge=1)
    tail_probability: pl.Float64 = share("Chance of evidence as strong on a normal night.")
    direction: pl.String = word("Side of the forecast on which the evidence lies.", vocabulary.Direction)
    is_adverse: pl.Boolean = column("That side is the harmful one for this metric.")
    severity: pl.String = word("How improbable the evidence is on a normal night.", vocabulary.AnomalySeverity)
    affected: pl.Int64 = count("Messages of the day; for a volume, events missing or in excess.")
    incident_id: pl.String = key("Run of days of one metric of one step.")
    incident_first_day: pl.Date = utc_day("First day of that run.")
    cause_id: pl.String = key("What is taken for one cause. Each cause is reported once.")
    cause_scope: pl.String = word("How far the cause reaches.", vocabulary.CauseScope)
    cause_first_day: pl.Date = utc_day("First day of the cause.")
    is_latest: pl.Boolean = column(
        "The anomaly still goes on: its day is the last scored for this metric; for a drift one of the last 7, or 28."
    )
    is_muted: pl.Boolean = column("A mute of mutes.yaml applies on this day.")
    muted_until: pl.Date = utc_day("Last day of that mute. Null without one.", nullable=True)
    method: pl.String = method_name()


@table("marts.metric_trends", ("workflow_id", "step_id", "metric", "day"))
class MetricTrends(_Metric, _Day):
    """One row per day, step and metric: its course, the expected band, and the days on which something changed."""

    smoothed_value: pl.Float64 = column("`value` over the last seven days together.", VALUE, nullable=True)
    expected_value: pl.Float64 = column(FORECAST, VALUE, nullable=True, interval=BAND)
    change_marker: pl.String = word("What marks the day. Null if nothing.", vocabulary.ChangeMarker, nullable=True)
    status: pl.String = word("Whether the day is scored, and why not.", vocabulary.NightStatus)
    method: pl.String = method_name()


@table("marts.opportunities", ("opportunity_id",))
class Opportunities(Table):
    """One row per opportunity of any analysis, ranked by the gain expected in four weeks. Gains do not add up."""

    as_of_day: pl.Date = tonight()
    opportunity_id: pl.String = key("Kind and target of the opportunity.")
    rank: pl.Int64 = column(
        "1 = largest expected gain. Gains in conversions come first, unknown ones last.", "rank", ge=1
    )
    kind: pl.String = word("Analysis that found the opportunity.", vocabulary.OpportunityKind)
    workflow_id: pl.String = key("Workflow to act on. Null if several.", nullable=True)
    step_id: pl.String = key("Step to act on. Null if several or none.", nullable=True)
    expected_gain: pl.Float64 = column(
        "What four weeks would bring that would not come otherwise, if the whole difference is won. Null if unknown.",
        "see gain_unit",
        nullable=True,
        ge=0.0,
        interval="95%",
    )
    gain_unit: pl.String = word("What is gained.", vocabulary.GainUnit)
    volume: pl.Int64 = count("Entries, messages or events that the opportunity concerns in four weeks.")
    since_day: pl.Date = utc_day(
        "Day of the first alarm of what goes on. Null if the opportunity is no alarm.", nullable=True
    )
    former_rate: pl.Float64 = column("The rate from which a rate has decayed. Null if none has.", SHARE, nullable=True)
    present_rate: pl.Float64 = column(
        "The rate of the last four weeks, to which it has decayed. Null if none has.", SHARE, nullable=True
    )
    identification: pl.String = word("What the gain rests on.", vocabulary.Identification)
    evidence: pl.String = column("Table and rows that show the opportunity.")
    message: pl.String = column("The opportunity in words.")
    status: pl.String = column("'ok', or why the gain is not known.")
    method: pl.String = method_name()


@table("marts.analysis_failures", ("table_name",))
class AnalysisFailures(Table):
    """One row per table whose analysis failed tonight, so that it holds the rows of an earlier night. Mostly empty."""

    as_of_day: pl.Date = tonight()
    table_name: pl.String = column("Table that was not computed.", "name")
    error: pl.String = column("Kind of the error. The log of the step says where it was raised.")
    rows_of_day: pl.Date = utc_day(
        "The night whose rows the table holds. Null if it was never computed.", nullable=True
    )
