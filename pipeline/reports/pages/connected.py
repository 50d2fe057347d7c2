"""Whether anything is connected that tells of conversions and revenue, so that none of them is a true zero."""

from dataclasses import dataclass

from pipeline.analysis.performance.announced import METRIC
from pipeline.published.reader import Tables


@dataclass(frozen=True)
class Connected:
    """What the account tells of, beyond mail. A conversion is credited to any message, so this holds for all workflows.

    Attributes:
        conversions: whether a goal, a store or events tell who converted.
        revenue: whether a store or events tell what was bought.
    """

    conversions: bool
    revenue: bool

    @classmethod
    def of(cls, tables: Tables) -> "Connected":
        """What the published tables show to be connected."""
        credited = tables["workflow_metrics"]
        has_store = bool((tables["reconciliation"]["metric"] == METRIC["store"]).any())
        revenue = has_store or bool((credited["revenue_amount"] > 0).any())
        has_goal = tables["workflows"]["goal_event_type"].count() > 0
        return cls(revenue or has_goal or bool((credited["conversions"] > 0).any()), revenue)
