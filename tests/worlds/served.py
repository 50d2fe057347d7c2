"""A flow whose branch and whose e-mail follow what driptune writes, night after night, with a known truth.

Everything between the people and their purchases is the product's own: decisions, log, proposals, ledger, journal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl

from pipeline.analysis.experiments import exposures, registry
from pipeline.analysis.experiments.draft import ExperimentDraft, metrics_of
from pipeline.analysis.experiments.holdouts import Holdout
from pipeline.analysis.experiments.nights import looks
from pipeline.common.time import DAY_US, HOUR_US, day_number, start_of_day_us
from pipeline.decisions import night as nights
from pipeline.decisions.definitions import Arm, DecisionDefinition, DecisionDefinitions, DecisionPoint
from pipeline.decisions.night import DecisionNight, Delivered, Facts
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account.written import written_values
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals import proposals_from
from pipeline.optimizations.published import optimizations
from pipeline.optimizations.record import IN_EFFECT, Proposal, in_charge
from pipeline.optimizations.review import Seen
from pipeline.schemas.base import empty, find
from pipeline.schemas.core import CoreConversions, CoreMessages, CoreStepEntries, CoreSubscribers
from pipeline.schemas.lake import Decisions, ExperimentPlans
from pipeline.schemas.vocabulary import Assigner, DecisionMode, MetricName
from tests.optimizations.conftest import POLICY
from tests.worlds.facts import linear_flow, rows
from tests.worlds.holdouts import holdouts
from tests.worlds.published import Tables, nothing
from tests.worlds.writing import InMemoryAccount

FIRST_NIGHT = date(2026, 3, 1)
FORK, LEFT, RIGHT = 1, 2, 3
DEFAULT, BETTER = "a", "b"
WINDOW_DAYS = 3
WRITE_HOUR, ENTRY_HOUR, MAIL_HOUR = 4, 10, 12


def definition(mode: DecisionMode = "evaluate", means: str | None = "ROUTE") -> DecisionDefinition:
    """A branch to two steps, open to everybody."""
    arms = (Arm(DEFAULT, priority=1, target_step_id="left"), Arm(BETTER, target_step_id="right"))
    point = DecisionPoint("route", arms, DEFAULT, "fork")
    return DecisionDefinition(point, "flow", "fork", mode, means=means)


@dataclass
class Branch:
    """People who enter the branch each day, are mailed a day later by what they hold then, and perhaps buy.

    Attributes:
        ledger: the ledger that the world is changed by.
        rates: chance of a purchase after the mail, by the arm that was held.
        per_day: people who enter each day.
        one: the decision point.
        holdouts: the hold-outs of holdouts.yaml.
        writes_until: the last night after which the account is written to, as if `driptune apply` stopped then.
    """

    ledger: Ledger
    rates: Mapping[str, float]
    per_day: int = 60
    one: DecisionDefinition = field(default_factory=definition)
    holdouts: Sequence[Holdout] = ()
    writes_until: date = date.max
    seed: int = 1

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.account: Any = InMemoryAccount(0)
        self.people: list[dict[str, Any]] = []
        self.mailed: list[dict[str, Any]] = []
        self.bought: list[dict[str, Any]] = []
        self.entered: list[dict[str, Any]] = []
        self.log = empty(Decisions)
        self.tables: Tables = {}
        self.tonight: DecisionNight | None = None

    def held(self, key: int) -> str:
        """What the flow reads of a person."""
        field_name = self.one.means or ""
        return self.account.fields.get(field_name, {}).get(key, "")

    def step_of(self, arm: str) -> int:
        """The step whose mail somebody with the arm gets."""
        return RIGHT if arm == BETTER else LEFT

    def days_until_mail(self, key: int) -> int:
        """How many days after their entry somebody is mailed."""
        return 1

    def live(self, day: date) -> None:
        """A day: the account is written to in the morning, people are mailed at noon, others enter before."""
        mailed = {one["subscriber_key"] for one in self.mailed}
        for key, entered in [(one["subscriber_key"], one["day"]) for one in self.entered]:
            if key not in mailed and entered == day_number(day) - self.days_until_mail(key):
                self._mail(key, day)
        first = len(self.people)
        for key in range(first, first + self.per_day):
            self.people.append({"subscriber_key": key, "signup_us": start_of_day_us(day) - 5 * DAY_US})
            self.entered.append({"subscriber_key": key, "day": day_number(day)})
        self.account.people = range(len(self.people))

    def _mail(self, key: int, day: date) -> None:
        arm = self.held(key) if self.held(key) in self.rates else DEFAULT
        sent_us = start_of_day_us(day) + MAIL_HOUR * HOUR_US
        step = self.step_of(arm)
        self.mailed.append({"subscriber_key": key, "step_key": step, "sent_us": sent_us, "day": day_number(day)})
        if self._rng.random() < self.rates[arm]:
            moment = sent_us + 6 * HOUR_US
            bought = {"subscriber_key": key, "occurred_us": moment, "day": moment // DAY_US}
            self.bought.append({**bought, "conversion_id": f"order:{key}"})

    def facts(self) -> Facts:
        """The core tables of the world so far."""
        workflows, steps = linear_flow("fork", "left", "right")
        entries = [
            {
                "subscriber_key": one["subscriber_key"],
                "step_key": FORK,
                "entered_us": one["day"] * DAY_US + ENTRY_HOUR * HOUR_US,
                "outcome_us": (one["day"] + 1) * DAY_US + MAIL_HOUR * HOUR_US,
                "day": one["day"],
            }
            for one in self.entered
        ]
        bought = rows(CoreConversions, *self.bought, event_type="purchase", is_order=True, net_cents=5_000)
        people = rows(CoreSubscribers, *self.people, status="subscribed", zone="UTC", merge_fields="{}", tags="[]")
        return Facts(
            subscribers=people.lazy(),
            messages=rows(CoreMessages, *self.mailed, workflow_key=1).lazy(),
            conversions=bought.lazy(),
            subscriber_hours=empty(find("reductions", "subscriber_hours")).lazy(),
            step_entries=rows(CoreStepEntries, *entries, workflow_key=1).lazy(),
            workflows=workflows,
            steps=steps,
            edges=empty(find("core", "edges")),
        )

    def close(self, as_of: date) -> None:
        """The night: decide, log, value and publish; the proposals are recorded, and what is in effect is written."""
        facts = self.facts()
        records = self.ledger.records()
        self.written = written_values(self.ledger.journal.settled(), records)
        delivered = Delivered(optimizations(records), self.written)
        definitions = DecisionDefinitions((), (self.one,), ())
        tonight = nights.decision_night(definitions, facts, self.log, delivered, as_of=as_of, window_days=WINDOW_DAYS)
        values = nights.values(tonight)
        [profiles] = nights.profiles_in_blocks(facts, as_of=as_of)
        coverage = nights.coverage(tonight, [nights.matches(tonight, profiles)])
        self.tonight = tonight
        self.tables = {
            **nothing(),
            "holdouts": holdouts(*self.holdouts, as_of=as_of),
            "decision_points": nights.decision_points(tonight),
            "path_decisions": nights.path_decisions(tonight, profiles),
            "content_decisions": nights.content_decisions(tonight, profiles),
            "decision_lint": nights.lint(tonight, facts, coverage),
            "policy_values": values,
            "policy_choices": nights.policy_choices(tonight, values, profiles),
        }
        logged = nights.log_rows(tonight, facts, profiles)
        logged = logged.with_columns(as_of_day=pl.lit(day_number(as_of), dtype=pl.Int64))
        self.log = pl.concat([self.log, logged.select(self.log.columns)])
        if as_of < self.writes_until:
            self.write(as_of)

    def write(self, as_of: date) -> None:
        """What `driptune apply` does in the morning after a night."""
        now = self._morning(as_of)
        self._set_clock(now)
        for record in in_charge(self.ledger.records(*IN_EFFECT)):
            applications.keep_in_step(self.ledger, record.optimization_id, self.account, self.tables, now=now)

    def proposals(self) -> list[Proposal]:
        """What the tables of the last night suggest."""
        found, failures = proposals_from(self.tables, data_version="d", code_version="c")
        assert failures == []
        return found

    def take(self, wanted: Callable[[Proposal], bool], as_of: date) -> Proposal:
        """Approve the one proposal that is wanted, and apply it in the morning after the night."""
        now = self._morning(as_of)
        standing = self.proposals()
        [made] = [one for one in standing if wanted(one)]
        self.ledger.propose(standing, now=now, approval_policy=POLICY)
        review.approve(self.ledger, POLICY, Seen.of(self.ledger.record(made.optimization_id)), actor="mara", now=now)
        self._set_clock(now)
        applications.apply(
            self.ledger,
            made.optimization_id,
            self.account,
            self.tables,
            approval_policy=POLICY,
            standing=standing,
            first_day=as_of + timedelta(days=1),
            now=now,
        )
        return made

    def run(self, first: date, days: int) -> date:
        """So many days with their nights; returns the last night."""
        for number in range(days):
            self.live(first + timedelta(days=number))
            self.close(first + timedelta(days=number))
        return first + timedelta(days=days - 1)

    def _set_clock(self, now: datetime) -> None:
        """An account in memory has a clock to be set; any other one has its own."""
        if isinstance(self.account, InMemoryAccount):
            self.account.clock = now

    def _morning(self, as_of: date) -> datetime:
        return datetime.combine(as_of + timedelta(days=1), time(WRITE_HOUR), UTC)


def draft(means: str | None = "SETUP_TEST") -> ExperimentDraft:
    """A test of both arms in the mail of one step, drawn by driptune."""
    return ExperimentDraft(
        experiment_id="setup",
        workflow_id="flow",
        step_id="left",
        hypothesis="More buy.",
        owner="ann",
        shares=((DEFAULT, 0.5), (BETTER, 0.5)),
        metrics=metrics_of(MetricName.CONVERSION, (), ()),
        minimum_lift=1.0,
        window_days=WINDOW_DAYS,
        alpha=0.05,
        power=0.9,
        start_day=FIRST_NIGHT,
        end_day=None,
        assigned_by=Assigner.DRIPTUNE,
        arm_field=means,
    )


class TestedStep(Branch):
    """The same people, all mailed by one step, whose mail follows the arm of a test."""

    __test__ = False
    wait_fields: tuple[str, ...] = ()
    """Merge fields that hold how many hours people wait before their flow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.draft = draft()
        self.one = definition(means=self.draft.arm_field)
        self.plans = empty(ExperimentPlans)

    def step_of(self, arm: str) -> int:
        return LEFT

    def close(self, as_of: date) -> None:
        """The night of tests, in the order of the assets."""
        core = self.facts()
        facts = exposures.Facts(core.steps, core.workflows, core.messages, core.conversions, core.subscribers)
        records = self.ledger.records()
        self.written = written_values(self.ledger.journal.settled(), records)
        started = registry.start_days(optimizations(records), as_of_day=as_of)
        tests = registry.register((self.draft,), self.plans, facts, started, baseline_days=56, as_of_day=as_of)
        night_number = pl.lit(day_number(as_of), dtype=pl.Int64)
        frozen = registry.frozen_plans(tests).with_columns(as_of_day=night_number).select(self.plans.columns)
        self.plans = pl.concat([self.plans, frozen]).unique("experiment_id", keep="first")
        drafts = [one.draft for one in tests if one.is_frozen or one.can_be_started]
        told = pl.DataFrame(schema={"source": pl.String, "subscriber_key": pl.Int64, "arm": pl.String})
        arms = exposures.assignments(drafts, facts, told, self.written, as_of_day=as_of)
        results, verdicts = looks(tests, arms, facts, self.written, wait_fields=self.wait_fields, as_of_day=as_of)
        self.tables = {
            **nothing(),
            "experiments": registry.experiment_table(tests, as_of_day=as_of),
            "experiment_assignments": arms,
            "experiment_results": results,
            "experiment_verdicts": verdicts,
            "member_field_values": registry.field_values(tests, arms, facts),
        }
        if as_of < self.writes_until:
            self.write(as_of)
