"""The stand-in account night by night: tables, proposals and records by the product's own functions.

Each world holds what one loop needs of a night, in the order of the assets. What is true stands in `truth`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.analysis.experiments import exposures
from pipeline.analysis.experiments.draft import ExperimentDraft, metrics_of
from pipeline.analysis.send_time.evaluation import evaluate_send_times
from pipeline.analysis.send_time.exploration import assign_hours, logged_assignments, sent_as_assigned
from pipeline.analysis.send_time.inputs import activity_hours, engaged_sends
from pipeline.analysis.send_time.subscribers import SendTimes, analyse_send_times
from pipeline.common.time import HOUR_US, day_number
from pipeline.common.written import standing
from pipeline.config.constraints import Constraints
from pipeline.decisions import releases
from pipeline.decisions.definitions import Arm, DecisionDefinition, DecisionPoint
from pipeline.decisions.night import Facts
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account.releasing import Terms, release, releases_in_charge, still_planned
from pipeline.optimizations.account.written import written_values
from pipeline.optimizations.realised import in_a_word, realised_lift
from pipeline.optimizations.record import IN_EFFECT, Proposal, canonical
from pipeline.optimizations.review import Seen
from pipeline.sample.account.world import ONBOARDING, PLANTED, WINBACK
from pipeline.sample.reacting import Built
from pipeline.sample.server.journey_steps import RELEASE_EVENT
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreEdges, CoreZoneOffsets
from pipeline.schemas.decisions import WorkflowConflicts
from pipeline.schemas.experiments import Holdouts
from pipeline.schemas.lake import SendTimeAssignments as LoggedAssignments
from pipeline.schemas.timing import SubscriberSendTimes
from pipeline.schemas.vocabulary import Assigner, MetricName
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.optimizations.conftest import POLICY
from tests.worlds import served
from tests.worlds.published import nothing
from tests.worlds.stand_in import (
    StandIn,
    conversions_of,
    entries_of,
    hours_of,
    messages_of,
    subscribers_of,
    workflows_and_steps,
)

WINDOW_DAYS = 7
WAIT_FIELD = "WAIT"
SHORT, LONG = "0", "96"
HOURLY_CAP = 1_000
LATE_HOURS = 60
_UTC = {"zone": ["UTC"], "from_us": [0], "to_us": [2**62], "offset_us": [0]}


def facts_of(account: StandIn) -> Facts:
    """The core tables of the account as far as its world has come."""
    view = account.view
    workflows, steps = workflows_and_steps()
    return Facts(
        subscribers=subscribers_of(view).lazy(),
        messages=messages_of(view).lazy(),
        conversions=conversions_of(view).lazy(),
        subscriber_hours=hours_of(view).lazy(),
        step_entries=entries_of(view).lazy(),
        workflows=workflows,
        steps=steps,
        edges=empty(CoreEdges),
    )


def measured_facts(facts: Facts) -> exposures.Facts:
    """The tables that comparisons read."""
    return exposures.Facts(facts.steps, facts.workflows, facts.messages, facts.conversions, facts.subscribers)


class Sample(served.Branch):
    """A loop on the stand-in account. Nights may lie some days apart; in between the world lives on."""

    built: Built | None = None

    def settle_in(self, folder: Path) -> None:
        """The account, with its log in a folder."""
        self.account: StandIn = StandIn(folder, self.built)

    def live(self, day: date) -> None:
        self.account.live_until(day)

    def facts(self) -> Facts:
        return facts_of(self.account)

    def nights(self, first: date, last: date, every: int) -> Iterator[date]:
        """Nights from the first to the last day, so many days apart, each told once it is over."""
        for number in range(0, (last - first).days + 1, every):
            night = first + timedelta(days=number)
            self.live(night)
            self.close(night)
            yield night

    def wanted(self, is_wanted: Callable[[Proposal], bool]) -> bool:
        """Whether the tables of tonight propose it."""
        return any(is_wanted(made) for made in self.proposals())

    def realised(self, made: Proposal, as_of: date) -> dict[str, Any]:
        """Tonight's row of `realised_lift` of a record."""
        read = measured_facts(self.facts())
        written = written_values(self.ledger.journal.settled(), self.ledger.records())
        rows = realised_lift(self.ledger.records(), read, written, as_of_day=as_of)
        return in_a_word(rows).row(by_predicate=pl.col("optimization_id") == made.optimization_id, named=True)


def is_kind(kind: Kind, **after: Any) -> Callable[[Proposal], bool]:
    """Proposals of a kind whose change says so; None stands for what it must not say."""
    return partial(_is_kind, kind, after)


def _is_kind(kind: Kind, after: dict[str, Any], made: Proposal) -> bool:
    return made.kind is kind and all(made.after.get(name) == value for name, value in after.items())


def route() -> DecisionDefinition:
    """The branch of onboarding, open to everybody, which explores."""
    arms = (Arm("nudge", priority=1, target_step_id="nudge"), Arm("power", target_step_id="power"))
    point = DecisionPoint("onboarding-route", arms, "nudge", "route")
    return DecisionDefinition(point, ONBOARDING.workflow_id, "route", "evaluate", means=PLANTED.route[2])


class Paths(Sample):
    """The branch of onboarding."""

    def learnt_of_route(self) -> pl.DataFrame:
        """The decisions of the log that were served, by tonight."""
        assert self.tonight is not None
        return self.tonight.learnt["onboarding-route"]


class Drawn(Sample, served.TestedStep):
    """A test of the e-mail 'tips', whose arms driptune draws."""

    def close(self, as_of: date) -> None:
        served.TestedStep.close(self, as_of)


def draft(
    workflow_id: str, step_id: str, means: str, arms: Sequence[str], start_day: date, *, minimum_lift: float
) -> ExperimentDraft:
    """A test of two arms, the control first."""
    return ExperimentDraft(
        experiment_id=f"{step_id}-test",
        workflow_id=workflow_id,
        step_id=step_id,
        hypothesis="More buy.",
        owner="ann",
        shares=tuple((arm, 1 / len(arms)) for arm in arms),
        metrics=metrics_of(MetricName.CONVERSION, (), ()),
        minimum_lift=minimum_lift,
        window_days=WINDOW_DAYS,
        alpha=0.05,
        power=0.9,
        start_day=start_day,
        end_day=None,
        assigned_by=Assigner.DRIPTUNE,
        arm_field=means,
    )


class Released(Drawn):
    """Win-back, into which driptune lets people, with a test of the wait before it."""

    wait_fields = (WAIT_FIELD,)

    def close(self, as_of: date) -> None:
        super().close(as_of)
        start = releases.FlowStart(
            WINBACK.workflow_id, canonical({"event": RELEASE_EVENT}), 0, 100 * HOURLY_CAP, WAIT_FIELD
        )
        facts = self.facts()
        released = releases.released_steps([start], facts.steps)
        limits = Constraints(quiet_hours=None).of_steps(released)
        entries = facts.step_entries.filter(pl.col("subscriber_key").is_in(self.account.people))
        people = releases.waiting(entries, facts.messages, released, standing(self.written, as_of))
        subscribers = facts.subscribers.with_columns(zone=pl.lit("UTC"))
        plan = releases.release_plan(
            people, empty(SubscriberSendTimes), limits, subscribers,
            pl.DataFrame(_UTC, schema=empty(CoreZoneOffsets).schema), empty(WorkflowConflicts), people.head(0),
            empty(Holdouts), as_of=as_of, late_hours=LATE_HOURS, are_late_spread=False,
        )  # fmt: skip
        starts = releases.release_starts(released, plan, limits, as_of=as_of)
        self.tables = {**self.tables, "release_plan": plan, "release_starts": starts}

    def let_in(self, as_of: date, days: int) -> None:
        """A look of `driptune release` in the morning of each day after a night, until the next one."""
        for day in range(days):
            now = self._morning(as_of) + timedelta(days=day)
            self.account.clock = now
            for record in releases_in_charge(self.ledger.records(*IN_EFFECT)):
                plan = still_planned(self.tables["release_plan"], self.ledger.journal.settled(WAIT_FIELD))
                terms = Terms(plan, HOURLY_CAP, lambda: False)
                release(self.ledger, record.optimization_id, lambda record, people: self.account, terms, now=now)

    def take_release(self, as_of: date) -> Proposal:
        """Approve the release by the two people whom its risk takes, and apply it."""
        now = self._morning(as_of)
        standing_now = self.proposals()
        [made] = [one for one in standing_now if one.kind is Kind.RELEASE]
        self.ledger.propose(standing_now, now=now, approval_policy=POLICY)
        for actor in ("noor", "lia"):
            seen = Seen.of(self.ledger.record(made.optimization_id))
            review.approve(self.ledger, POLICY, seen, actor=actor, now=now)
        self.account.clock = now
        applications.apply(
            self.ledger, made.optimization_id, self.account, self.tables,
            approval_policy=POLICY, standing=standing_now, first_day=as_of + timedelta(days=1), now=now,
        )  # fmt: skip
        return made


@dataclass
class Timing:
    """What the send times of a night are made of."""

    share: float
    days: int
    followed_from: date | None = None


class Hours(Sample):
    """Hours of sending, of which a share is drawn by lot."""

    timing: Timing = Timing(share=0.2, days=180)

    def settle_in(self, folder: Path) -> None:
        super().settle_in(folder)
        self.assigned = empty(LoggedAssignments)
        self.learnt_before: SendTimes | None = None

    def learnt(self, facts: Facts, as_of: date) -> SendTimes:
        """Hours and clusters as known on a night."""
        days = self.timing.days
        activity = activity_hours(facts.subscriber_hours, as_of=as_of, days=days)
        sends = engaged_sends(facts.messages, as_of=as_of, days=days)
        return analyse_send_times([(activity, sends)], as_of_day=as_of)

    def close(self, as_of: date) -> None:
        facts = self.facts()
        found = self.learnt(facts, as_of)
        self.written = written_values(self.ledger.journal.settled(), self.ledger.records())
        mailable = found.subscribers.filter(pl.col("subscriber_key").is_in(self.account.people))
        stands = standing(self.written, as_of)
        hours = assign_hours(mailable, stands, share=self.timing.share, allowed=range(24), as_of_day=as_of)
        night = pl.lit(day_number(as_of), dtype=pl.Int64)
        logged = logged_assignments(hours).with_columns(as_of_day=night).select(self.assigned.columns)
        once = ["subscriber_key", "period", "assigned_local_hour"]
        self.assigned = pl.concat([self.assigned, logged]).unique(once, keep="first", maintain_order=True)
        since = self.timing.followed_from
        steps = facts.steps.filter(pl.col("kind") == "email").select("step_key", followed_from=pl.lit(since, pl.Date))
        followed = steps.drop_nulls()
        sends = engaged_sends(facts.messages, as_of=as_of, days=self.timing.days)
        drawn = sent_as_assigned(sends, self.assigned, self.written, followed=followed)
        learnt = self.learnt_before or found
        self.tables = {
            **nothing(),
            "send_time_clusters": found.clusters,
            "send_time_profiles": found.profiles,
            "subscriber_send_times": mailable,
            "send_time_assignments": hours,
            "send_time_lift": evaluate_send_times(drawn, learnt.subscribers, learnt.profiles, as_of_day=as_of),
        }
        self.write(as_of)


def instant_us(moment: datetime) -> int:
    """Epoch microseconds."""
    return int(moment.timestamp()) * 1_000_000


def hours_later(moment_us: int, hours: float) -> int:
    """So many hours later, in microseconds."""
    return moment_us + int(hours * HOUR_US)
