"""A test as its owner wrote it down, before any number of the step is known.

Here: the draft, the metrics it may name, its canonical text. Not here: sample sizes (`experiment_plan.py`) or data.
"""

from dataclasses import dataclass
from datetime import date

from pydantic import TypeAdapter

from pipeline.analysis.experiments.plan import Metric
from pipeline.schemas.vocabulary import Assigner, GuardrailName, MetricKind, MetricName, MetricRole


@dataclass(frozen=True)
class ExperimentDraft:
    """A test as defined; fields as in `ExperimentPlan`.

    Attributes:
        end_day: calendar end; none = the planned weeks and a quarter more.
        assigned_by: where the arms come from.
        arm_field: merge field that holds the arm, written or read; with events the one a winner is written to, or none.
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
    end_day: date | None
    is_open_ended: bool
    assigned_by: Assigner
    arm_field: str | None

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return next(metric for metric in self.metrics if metric.role is MetricRole.PRIMARY)

    @property
    def salt(self) -> str:
        """Salt of the assignment: two tests never share a split."""
        return f"experiment/{self.experiment_id}"

    def has_begun(self, as_of_day: date) -> bool:
        """Whether the night that opens the start day, or a later one, is tonight."""
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
