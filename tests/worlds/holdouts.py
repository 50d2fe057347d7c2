"""The hold-outs of a holdouts.yaml, as a night without any purchase publishes them."""

from datetime import date

import polars as pl

from pipeline.analysis.experiments.holdouts import Holdout, RevenueFacts, holdout_results, trigger_moments
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreConversions, CoreCredits, CoreMessages, CoreSubscribers, CoreWorkflows
from pipeline.schemas.lake import Events
from tests.worlds.facts import rows


def holdouts(*defined: Holdout, flow: str = "flow", as_of: date = date(2026, 6, 29)) -> pl.DataFrame:
    """Rows of `holdouts` for the hold-outs that are defined in an account with one flow."""
    empty_facts = (empty(model).lazy() for model in (CoreSubscribers, CoreMessages, CoreConversions, CoreCredits))
    workflows = rows(CoreWorkflows, {"workflow_key": 1, "workflow_id": flow, "kind": "flow", "status": "active"})
    facts = RevenueFacts(*empty_facts, workflows)
    triggered = trigger_moments(defined, workflows, facts.subscribers, empty(Events).lazy())
    return holdout_results(defined, facts, triggered, as_of=as_of, currency="USD")
