"""What every proposal's evidence has in common: where it comes from, its guardrails, its rows and its chart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.charts.vega import Figure
from pipeline.common.means import of_tag
from pipeline.common.rates import COMPLAINT_BOUND, UNSUBSCRIBE_BOUND, Bound
from pipeline.common.words import share

WINDOW = "28d"
#: Share of people kept out, where driptune itself writes to each member, and where a person changes the flow for all.
HELD_OUT, BY_HAND = 0.1, 0.0
#: Days after a message in which an outcome counts, where no test has said how many.
OUTCOME_DAYS = 7
MOST_ROWS = 12
KEPT_OUT = "kept out"


def hold_out(change: str) -> dict[str, str]:
    """The tag by which those are known who are kept out of a change made by hand.

    >>> hold_out("delay welcome/hello/tips")
    {'field': 'tag delay welcome/hello/tips', 'holdout_value': 'kept out'}
    """
    return {"field": of_tag(change), "holdout_value": KEPT_OUT}


@dataclass(frozen=True)
class Publication:
    """The published tables, and which publication and code they are of."""

    tables: Mapping[str, pl.DataFrame]
    data_version: str
    code_version: str

    def __getitem__(self, name: str) -> pl.DataFrame:
        """The table of that name."""
        return self.tables[name]

    def workflow_name(self, workflow_id: str) -> str:
        """What people call the workflow."""
        return _name(self["workflows"].filter(pl.col("workflow_id") == workflow_id), workflow_id)

    def step_name(self, workflow_id: str, step_id: str) -> str:
        """What people call the step."""
        return _name(self["steps"].filter(_at(workflow_id, step_id)), step_id)

    def way_to(self, workflow_id: str, step_id: str | None) -> str:
        """The instruction that leads a person to the step, or to the workflow where the whole of it is meant."""
        step = f"the step '{self.step_name(workflow_id, step_id)}' of " if step_id else ""
        return f"Open {step}'{self.workflow_name(workflow_id)}' in your sender."

    def is_classic_automation(self, workflow_id: str) -> bool:
        """Whether Mailchimp's API can start and pause the workflow's e-mails."""
        found = self["workflows"].filter(pl.col("workflow_id") == workflow_id)
        return not found.is_empty() and found.item(0, "kind") == "automation"

    def evidence(
        self,
        *,
        summary: str,
        source: str,
        rows: pl.DataFrame,
        chart: Figure | None = None,
        at: tuple[str, str] | None = None,
        **figures: Any,
    ) -> dict[str, Any]:
        """Evidence as JSON.

        Args:
            summary: the reason in one or two sentences.
            source: table and rows it rests on, as SQL would name them.
            rows: those rows; the first are kept.
            chart: picture of them.
            at: workflow and step whose guardrails are shown.
            figures: n, effect with its interval and unit, method, identification, window.
        """
        return {
            "summary": summary,
            "source": source,
            "rows": [_plain(row) for row in rows.head(MOST_ROWS).iter_rows(named=True)],
            "chart": None if chart is None else dict(chart.specification),
            "guardrails": self._guardrails(*at) if at else [],
            "data_version": self.data_version,
            "code_version": self.code_version,
            **_plain(figures),
        }

    def _guardrails(self, workflow_id: str, step_id: str) -> list[dict[str, str]]:
        metrics = self["step_metrics"].filter(_at(workflow_id, step_id) & (pl.col("window") == WINDOW))
        if metrics.is_empty() or not metrics.item(0, "delivered"):
            return []
        row = metrics.row(0, named=True)
        bounds = {"complaint": COMPLAINT_BOUND, "unsubscribe": UNSUBSCRIBE_BOUND}
        return [_guardrail(row, name, bound) for name, bound in bounds.items()]


def _guardrail(row: Mapping[str, Any], name: str, bound: Bound) -> dict[str, str]:
    rate = row[f"{name}_rate"]
    status = "ok" if rate < bound.warning else "warning" if bound.stop is None or rate < bound.stop else "stop"
    told = share(rate, row[f"{name}_rate_low"], row[f"{name}_rate_high"])
    limits = f"warning from {share(bound.warning)}" + (f", stop from {share(bound.stop)}" if bound.stop else "")
    detail = f"{told} of {row['delivered']:,} delivered in 28 days; {limits}, by {bound.whose}. {bound.why}"
    return {"name": name, "status": status, "detail": detail}


def _at(workflow_id: str, step_id: str) -> pl.Expr:
    return (pl.col("workflow_id") == workflow_id) & (pl.col("step_id") == step_id)


def _name(found: pl.DataFrame, otherwise: str) -> str:
    return otherwise if found.is_empty() else str(found.item(0, "name"))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if hasattr(value, "isoformat") else value for name, value in row.items()}
