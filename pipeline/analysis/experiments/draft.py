"""A test as its owner wrote it down, before any number of its step is known.

Here: the definition, and the metrics that it may name. Not here: sample sizes and the end of a test (`plan`), and data.
"""

from dataclasses import dataclass
from datetime import date

from pydantic import TypeAdapter

from pipeline.schemas.vocabulary import Assigner, GuardrailName, MetricKind, MetricName, MetricRole


@dataclass(frozen=True)
class Metric:
    """A metric of a test.

    Attributes:
        name: its name in the moments.
        kind: how it is computed.
        role: the primary metric decides; a secondary one shares the error with it (Holm); a guardrail can only veto.
        is_increase_good: false for unsubscribes and complaints.
    """

    name: str
    kind: MetricKind = MetricKind.RATE
    role: MetricRole = MetricRole.PRIMARY
    is_increase_good: bool = True


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a draft says and its plan keeps.

    Attributes:
        shares: (arm, declared share) pairs, the control first; the shares sum to 1.
        metrics: one primary metric, and any number of secondary ones and guardrails.
        minimum_lift: smallest relative change of the primary metric worth having, such as 0.1, in the good direction.
        window_days: an exposure is mature, and its outcome counted, this many days after it.
        alpha: two-sided error of the whole test.
        power: chance of finding the minimum lift.
        is_open_ended: whether the test has no planned end.
    """

    experiment_id: str
    workflow_id: str
    step_id: str
    hypothesis: str
    owner: str
    shares: tuple[tuple[str, float], ...]
    metrics: tuple[Metric, ...]
    minimum_lift: float
    window_days: int
    alpha: float
    power: float
    start_day: date
    is_open_ended: bool = False

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return self.shares[0][0]

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms compared with the control."""
        return tuple(arm for arm, _ in self.shares[1:])

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return next(metric for metric in self.metrics if metric.role is MetricRole.PRIMARY)

    @property
    def comparisons(self) -> int:
        """How many claims share the error: treatments times metrics other than guardrails."""
        return len(self.treatments) * sum(metric.role is not MetricRole.GUARDRAIL for metric in self.metrics)


@dataclass(frozen=True, kw_only=True)
class ExperimentDraft(Definition):
    """A test as defined.

    Attributes:
        end_day: last day of the test; none = the planned weeks and a quarter more.
        assigned_by: where the arms come from.
        arm_field: the means that holds the arm, written or read, as `pipeline.common.means` writes it; with events the
            one a winner is written to. Empty where nothing holds it.
        name, description: what people call the test, and what it is for.
    """

    end_day: date | None
    assigned_by: Assigner
    arm_field: str | None
    name: str | None = None
    description: str | None = None

    @property
    def salt(self) -> str:
        """Salt of the assignment: two tests never share a split."""
        return f"experiment/{self.experiment_id}"

    def has_begun(self, as_of_day: date) -> bool:
        """Whether tonight is the night before the start day, or a later one."""
        return as_of_day.toordinal() + 1 >= self.start_day.toordinal()


def metrics_of(
    primary: MetricName, secondary: tuple[MetricName, ...], guardrails: tuple[GuardrailName, ...]
) -> tuple[Metric, ...]:
    """The metrics of a test in the order in which they count."""
    return (
        Metric(primary, _kind(primary), MetricRole.PRIMARY),
        *(Metric(name, _kind(name), MetricRole.SECONDARY) for name in secondary),
        *(Metric(name, role=MetricRole.GUARDRAIL, is_increase_good=False) for name in guardrails),
    )


def _kind(name: MetricName) -> MetricKind:
    return MetricKind.MEAN if name is MetricName.REVENUE else MetricKind.RATE


DRAFT_TEXT = TypeAdapter(ExperimentDraft)
"""The draft to JSON and back."""
