"""The closed words of the contract. Each set of words is declared once, here, as a type.

A column takes its check and the list in the data dictionary from the set (see `columns.word`); code takes its type.
A set is a `StrEnum` where code branches on its members, otherwise a `Literal`. `docs/glossary.md` says what each word
means. Open sets do not belong here: the event types that a user invents, Mailchimp's own states, names and ids.
"""

from enum import EnumType, StrEnum
from typing import Any, Literal, get_args

# Workflows and steps.
WorkflowKind = Literal["flow", "journey", "automation", "campaign"]
WorkflowStatus = Literal["active", "paused", "archived"]
StepKind = Literal["email", "branch", "wait"]
StepStatus = Literal["active", "paused", "deleted"]
JourneyStepKind = Literal["trigger", "delay", "email", "action", "branch"]
JourneyFinding = Literal[
    "paused step with a queue",
    "paused journey with a queue",
    "lost trigger tag",
    "no trigger",
    "deleted audience",
    "re-entry",
    "no exit condition",
    "unknown delay",
    "shared e-mail",
    "differs from the map",
    "not in the map",
    "not in Mailchimp",
]
EdgeSource = Literal["map", "mailchimp", "observed"]
ZoneSource = Literal["member", "gmtoff", "default"]

# Messages and what people and machines do with them.
# A time is 'computed' where the recipient's feed does not tell it, and 'unread' if the feed was not to be read.
SentAtSource = Literal["campaign", "feed", "computed", "unread"]
# A feed is 'declined' if feeds were not to be read. Of two states of one night the one later in the alphabet counts.
FeedState = Literal["awaited", "declined", "read"]
BounceKind = Literal["hard", "soft", "syntax"]
SendStatus = Literal["sent", BounceKind]
EngagementAction = Literal["click", "open"]
ActivityAction = Literal[EngagementAction, "bounce"]
MachineCause = Literal[
    "proxy",
    "bot_filter",
    "image_proxy",
    "before_delivery",
    "too_fast",
    "early_run",
    "all_links",
    "shared_ip",
    "with_clicks",
    "rush",
    "unsubscribe_link",
]
AttributionView = Literal["report", "mailchimp_compat"]

# Entries into steps and what becomes of them.
EntryEventType = Literal["step_entered", "entry"]
ClaimSource = Literal["event", "store"]
EntrySource = Literal["event", "queue", "sent_to"]
TransitionOutcome = Literal["advanced", "goal", "lost", "timeout"]
EntryOutcome = Literal[TransitionOutcome, "completed"]
# In order of precedence: of reasons at one instant the first is written down.
ExitReason = Literal[
    "completed",
    "goal",
    "unsubscribed",
    "complaint",
    "hard_bounce",
    "filtered",
    "capped",
    "conflict",
    "removed",
    "step_deleted",
    "error",
    "stuck",
    "unknown",
]
# In order of precedence.
StuckCause = Literal["deleted target", "paused step", "bounced", "loop", "failed filter", "queue stall", "unknown"]

# Performance.
Window = Literal["7d", "28d", "90d", "all"]
FunnelStatus = Literal["ok", "no entrants", "nobody followed to planned wait + grace yet"]
TransitionTimeStatus = Literal["ok", "nobody has advanced yet"]
BottleneckStatus = Literal[
    FunnelStatus,
    "no other transition to compare with",
    "not yet known what becomes of those who reach the next step",
]
LossUnit = Literal["goals", "completions"]
ComparedRate = Literal["human_click_rate", "conversion_rate", "unsubscribe_rate", "complaint_rate", "hard_bounce_rate"]
IndustryRate = Literal["open_rate", "click_rate", "bounce_rate", "unsubscribe_rate", "complaint_rate"]
IndustryComparison = Literal["above", "below", "no clear difference"]
RateChange = Literal["up", "down", "no clear change", "not comparable"]
# What Mailchimp's reports count, and what its listings announce.
ReconciledMetric = Literal[
    "sent",
    "hard_bounces",
    "soft_bounces",
    "unsubscribes",
    "complaints",
    "unique_opens",
    "unique_clicks",
    "opens",
    "clicks",
    "click_rate",
    "members",
    "recipients",
    "feeds",
    "emails",
    "queue",
    "journeys",
    "steps",
    "started",
    "completed",
    "queued",
    "orders",
    "table",
    "changed addresses",
    "members without address",
    "orders of guests",
]
SourceKind = Literal[
    "audience", "campaign", "feeds", "automation", "automation e-mail", "journey list", "journey", "store", "table"
]
# Of what went away, a listing no longer holds what is 'unlisted', while what is 'gone' is listed and answers 404.
SourceState = Literal["read", "failed", "unlisted", "gone"]
RunStatus = Literal["success", "failure"]

# Cohorts.
CohortType = Literal["signup_date", "first_purchase", "subscription_plan", "member_field"]
InsightKind = Literal["above others", "below others", "rising", "falling"]

# Monitoring.
SeriesKind = Literal["rate", "volume"]
NightStatus = Literal["ok", "not enough data", "holiday", "not mature", "unknown", "nothing sent"]
Direction = Literal["up", "down", "none"]
LevelChange = Literal["new level", "former level", "drift"]
ChangeMarker = Literal[LevelChange, "anomaly", "new version", "holiday"]
AnomalyKind = Literal["night", "nights", "silence", "drift"]
AnomalyScope = Literal["account", "step"]
CauseScope = Literal["account", "workflow", "step"]
AnomalySeverity = Literal["low", "medium", "high", "critical"]
OpportunityKind = Literal["bottleneck", "anomaly", "decay", "cohort", "delay", "winner", "policy", "send time"]
GainUnit = Literal["conversions", "completions"]
Identification = Literal["randomised", "observational", "not identified"]

# Timing.
DelayAction = Literal["change", "test", "keep", "wait"]
DelayStatus = Literal["ok", "not enough data", "single delay", "no current delay", "not identified"]
HourSource = Literal["subscriber", "current hour"]
ScheduleSource = Literal["cluster", "current hour"]
SendTimeStatus = Literal["ok", "not enough data", "no engagement", "unknown hours"]
ScheduleStatus = Literal["ok", "not enough data", "no allowed hour", "cap too small"]
FrequencyPeriod = Literal["7d", "28d"]
SendTimeEstimator = Literal["snips", "doubly robust"]
SendTimeLiftStatus = Literal["ok", "cannot be estimated"]

# Decisions and conflicts.
DecisionMode = Literal["rules", "learn", "evaluate"]
ChoiceKind = Literal["path", "content"]
RuleStatus = Literal["ok", "dead", "error", "no subscribers"]
LintFinding = Literal["missing default", "dead end", "loop", "unreachable", "dead rule", "rule in error", "overlapping"]
LintSeverity = Literal["error", "warning"]
PolicyEstimator = Literal["SNIPS", "doubly robust"]
ConflictSeverity = Literal["low", "medium", "high"]
Resolution = Literal["allow", "delay", "suppress", "replace"]

# Experiments.
FieldSource = Literal["experiment"]


class MetricName(StrEnum):
    """What a test may decide by: an outcome within the window after the exposure."""

    CLICK = "click"
    CONVERSION = "conversion"
    REVENUE = "revenue"


class GuardrailName(StrEnum):
    """What an arm must not raise."""

    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"


class MetricKind(StrEnum):
    """How a metric is computed from exposures."""

    RATE = "rate"
    MEAN = "mean"
    RATIO = "ratio"


class MetricRole(StrEnum):
    """What a metric decides."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARDRAIL = "guardrail"


RealisedRole = Literal[MetricRole.PRIMARY, MetricRole.GUARDRAIL]


class Assigner(StrEnum):
    """Who decided the arm of a subscriber."""

    DRIPTUNE = "driptune"
    FIELD = "field"
    EVENTS = "events"


class Verdict(StrEnum):
    """What a test says, in the order in which one prevails over another on the same night."""

    REFUSED = "refused"
    PLANNED = "planned"
    INVALID = "invalid"
    HARM = "harm"
    WINNER = "winner"
    NO_DIFFERENCE = "no difference"
    FUTILE = "futile"
    NO_ANSWER = "ended without an answer"
    PLAN_TOO_LONG = "plan too long"
    CONTINUE = "continue"


# Proposed changes and their records.
class ProposalKind(StrEnum):
    """What is to be changed."""

    SEND_TIME = "send_time"
    DELAY = "delay"
    EXPERIMENT_START = "experiment_start"
    EXPERIMENT_WINNER = "experiment_winner"
    PATH_POLICY = "path_policy"
    CONTENT_POLICY = "content_policy"
    COORDINATION = "coordination"
    STUCK = "stuck"
    ANOMALY = "anomaly"
    ROLLBACK = "rollback"
    RELEASE = "release"


class ApplyKind(StrEnum):
    """How a change reaches Mailchimp."""

    API_PATCH = "api_patch"
    MEMBER_FIELDS = "member_fields"
    MANUAL = "manual"
    RELEASE = "release"


class Risk(StrEnum):
    """How much harm a wrong change could do, from little to much."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    def exceeds(self, other: "Risk") -> bool:
        """Whether this risk is larger than the other."""
        order = list(Risk)
        return order.index(self) > order.index(other)


class RecordStatus(StrEnum):
    """Where a record stands."""

    PENDING = "pending"
    APPROVED = "approved"
    APPLYING = "applying"
    APPLIED = "applied"
    VERIFIED = "verified"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    STALE = "stale"


class LedgerEventType(StrEnum):
    """What can happen to a record, and one thing that happens to no record: an export of addresses."""

    PROPOSED = "proposed"
    EVIDENCE_RENEWED = "evidence_renewed"
    TERMS_CHANGED = "terms_changed"
    APPROVAL_GIVEN = "approval_given"
    APPROVED = "approved"
    APPROVAL_LAPSED = "approval_lapsed"
    REJECTED = "rejected"
    DECISION_UNDONE = "decision_undone"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    WENT_STALE = "went_stale"
    APPLICATION_STARTED = "application_started"
    HOLDOUT_SET = "holdout_set"
    APPLIED = "applied"
    KEPT_IN_STEP = "kept_in_step"
    VERIFIED = "verified"
    HOLDOUT_SHRUNK = "holdout_shrunk"
    ROLLBACK_STARTED = "rollback_started"
    ROLLED_BACK = "rolled_back"
    WRITES_INTENDED = "writes_intended"
    WRITES_SETTLED = "writes_settled"
    WRITES_FORGOTTEN = "writes_forgotten"
    JOURNAL_ADOPTED = "journal_adopted"
    EXPORTED = "exported"


ReleaseStatus = Literal["planned", "late", "conflict", "over the cap", "kept out"]


class ReleaseOutcome(StrEnum):
    """What became of somebody whom driptune is to let into a flow."""

    RELEASED = "released"
    WAITING = "waiting"
    KEPT_OUT = "kept out"
    LATE = "late"
    REFUSED = "refused"
    UNKNOWN = "unknown"


LearningSource = Literal["test", "change"]


class RealisedOutcome(StrEnum):
    """What became of a promise, in the order in which one prevails over another."""

    NOT_MEASURED = "not measured"
    HARM = "harm"
    LESS = "less than promised"
    WORKS = "works"
    MEASURING = "measuring"
    NO_ANSWER = "ended without an answer"


class MeasurementPhase(StrEnum):
    """By what a night of a realised lift is judged."""

    PLANNED = "planned"
    WATCHING = "watching"
    OPEN_ENDED = "open-ended"


def words(kind: Any) -> tuple[str, ...]:
    """The words of a closed set, in the order of their declaration.

    >>> words(LintSeverity)
    ('error', 'warning')
    >>> words(Risk)
    ('low', 'medium', 'high')
    """
    if isinstance(kind, str):
        return (str(kind),)
    parts = kind if isinstance(kind, EnumType) else get_args(kind)
    return tuple(word for part in parts for word in words(part))


SEVERITIES = words(AnomalySeverity)
"""How grave an alarm can be, the mildest first."""
