"""`experiments.yaml`: the user's tests.

Only shape and sense are checked here. Everything that needs the data of the step (sample, removed steps, unknown ends)
is checked in `pipeline/analysis/experiments/registry.py`, so that one impossible test does not stop the others.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipeline.analysis.experiments.draft import ExperimentDraft, metrics_of
from pipeline.common.means import in_words
from pipeline.config.delivery import Deliver, Described, FieldName, value_mistakes
from pipeline.config.reader import Definition, Mistake, Name, load_definition, repeated_ids
from pipeline.schemas.vocabulary import Assigner, GuardrailName, MetricName

EXPERIMENTS_FILE = "experiments.yaml"


class ExperimentDefinition(Described):
    """One test: two or more arms inside one step, the control first."""

    id: Name
    hypothesis: Name
    owner: Name
    workflow: Name
    step: Name
    arms: dict[Name, Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=2)
    primary_metric: MetricName
    secondary_metrics: tuple[MetricName, ...] = ()
    guardrails: tuple[GuardrailName, ...] = tuple(GuardrailName)
    minimum_lift: float = Field(gt=0, le=10)
    window_days: int = Field(ge=1, le=60)
    alpha: float = Field(default=0.05, ge=0.001, le=0.2)
    power: float = Field(default=0.9, ge=0.5, le=0.99)
    start: date
    end: date | None = None
    open_ended: bool = False
    assigned_by: Assigner = Assigner.DRIPTUNE
    arm_field: FieldName | None = None
    deliver: Deliver | None = None

    @property
    def means(self) -> str | None:
        """What holds the arm; none if the test names nothing."""
        return self.deliver.means if self.deliver else self.arm_field

    def draft(self) -> ExperimentDraft:
        """The test as the analyses read it."""
        return ExperimentDraft(
            experiment_id=self.id,
            workflow_id=self.workflow,
            step_id=self.step,
            hypothesis=self.hypothesis,
            owner=self.owner,
            shares=tuple(self.arms.items()),
            metrics=metrics_of(self.primary_metric, self.secondary_metrics, self.guardrails),
            minimum_lift=self.minimum_lift,
            window_days=self.window_days,
            alpha=self.alpha,
            power=self.power,
            start_day=self.start,
            end_day=self.end,
            is_open_ended=self.open_ended,
            assigned_by=self.assigned_by,
            arm_field=self.means,
            name=self.name,
            description=self.description,
        )

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Shares, metrics, days and fields that do not fit together."""
        total = sum(self.arms.values())
        if abs(total - 1) > 1e-9:
            yield ("arms",), f"the shares sum to {total:g}. Let them sum to 1."
        if self.primary_metric in self.secondary_metrics:
            yield ("secondary_metrics",), f"'{self.primary_metric}' is the primary metric. Name it once."
        for name in ("secondary_metrics", "guardrails"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                yield (name,), "names a metric twice. Name it once."
        if self.end is not None and self.end < self.start:
            yield ("end",), f"{self.end} is before the start {self.start}. Write a later day."
        if self.end is not None and self.open_ended:
            yield ("end",), "an open-ended test has no end. Remove one of the two."
        yield from value_mistakes((), self.deliver, self.arms)
        if self.deliver is not None and self.arm_field is not None:
            yield ("arm_field",), "says the same as deliver. Remove it."
        if self.assigned_by is Assigner.FIELD and self.arm_field is None:
            yield ("arm_field",), "is missing. Name the merge field in which the sender holds the arm."


class ExperimentDefinitions(Definition):
    """The file: a list under `experiments`, which may be empty."""

    experiments: tuple[ExperimentDefinition, ...] = ()

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Tests with one id, on one step at one time, or with one merge field."""
        yield from repeated_ids(self.experiments, "experiments")
        for index, one in enumerate(self.experiments):
            for other in self.experiments[:index]:
                if other.id != one.id and _meet(one, other):
                    text = f"'{other.id}' runs on the same step at that time. Let one start after the other has ended."
                    yield ("experiments", index, "start"), text
                if Assigner.DRIPTUNE is one.assigned_by is other.assigned_by and one.means and one.means == other.means:
                    where = ("experiments", index, "arm_field" if one.arm_field else "deliver")
                    yield where, f"'{other.id}' uses {in_words(one.means)} already. Name another one."


def _meet(one: ExperimentDefinition, other: ExperimentDefinition) -> bool:
    """Whether both run on one step on the same day, as far as the file says. An open end is planned later."""
    if (one.workflow, one.step) != (other.workflow, other.step):
        return False
    first, second = sorted((one, other), key=lambda test: test.start)
    return first.open_ended or first.start == second.start or (first.end is not None and first.end >= second.start)


def load_experiments(folder: Path) -> tuple[ExperimentDraft, ...]:
    """The tests of a definitions folder; none without a file.

    Raises:
        DefinitionsError: names every mistake with file, line and field.
    """
    found = load_definition(folder / EXPERIMENTS_FILE, ExperimentDefinitions)
    return tuple(one.draft() for one in found.experiments)
