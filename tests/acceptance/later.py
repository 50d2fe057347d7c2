"""`make later`: what the sample account's nights still say long after something broke, when nobody mends it.

Two nights: the one by which the slow decay of a step's clicks must be told, and one 30 nights after the demo's, in a
world in which the silent step stays silent.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import polars as pl

from pipeline.analysis.cohorts.comparison import cohort_comparison, cohort_insights
from pipeline.analysis.opportunities.unit import PERIOD_DAYS
from pipeline.analysis.statistics import STATED_PROBABILITY
from pipeline.cli.nightly import run_night
from pipeline.common.words import lift
from pipeline.operations.after_publication import digest_lines, follow_publication
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.record import Proposal
from pipeline.published.reader import read_publication
from pipeline.sample.account import plans
from pipeline.sample.account.world import PLANTED
from pipeline.schemas.vocabulary import MetricRole, Verdict
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import SAMPLE_TONIGHT, Settings

NIGHTS = 30
DECAY = 0.5
"""A slow decay that halves a rate is to be grave."""
NIGHTS_AFTER_DECAY = 7
"""A decay that is complete after 21 nights is to be found by the 28th."""
Row = tuple[str, str, bool]
Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Morning:
    """What stands on the morning after a night: the published tables, the digest, and what waits for a decision."""

    tables: Tables
    digest: list[str]
    waiting: list[Proposal]


def decay_night() -> date:
    """The night by which the decay of the sample account must be told."""
    lost_after = DECAY / PLANTED.decay_share_lost_per_30_days * 30
    return date.fromisoformat(PLANTED.decay_from) + timedelta(days=int(lost_after) + NIGHTS_AFTER_DECAY)


def told(morning: Morning, place: tuple[str, str]) -> Iterator[Row]:
    """Whether the digest and the inbox tell of a step."""
    steps = morning.tables["steps"].filter(workflow_id=place[0], step_id=place[1])
    lines = [line.strip() for line in morning.digest if line.startswith("  alarms") and steps.item(0, "name") in line]
    yield "  in the digest", lines[0] if lines else "no", bool(lines)
    alarms = [one for one in morning.waiting if one.kind == Kind.ANOMALY]
    titles = [one.title for one in alarms if (one.workflow_id, one.step_id) == place]
    yield "  in the inbox", titles[0] if titles else "no", bool(titles)


def silence(tables: Tables, first: date, tonight: date) -> Row:
    """Nights since a step fell silent on which its mail was no alarm."""
    workflow, step = PLANTED.silent_step
    alarms = tables["anomalies"].filter(workflow_id=workflow, step_id=step, metric="sent")
    nights = pl.date_range(first, tonight, eager=True)
    missing = [night for night in nights if night not in set(alarms["day"])]
    severity = alarms.sort("day")["severity"].last()
    return (
        f"nights since {first} on which the silence of {workflow}, {step} is no incident",
        f"{len(missing)} of {len(nights)}; severity tonight: {severity}",
        not missing and severity in ("high", "critical"),
    )


def winner(tables: Tables) -> Row:
    """The place of the winner among what could be won, beside the place where its promise puts it."""
    won = tables["experiment_verdicts"].filter(verdict=str(Verdict.WINNER)).row(0, named=True)
    results = tables["experiment_results"].filter(
        experiment_id=won["experiment_id"], arm=won["winner_arm"], role=str(MetricRole.PRIMARY)
    )
    base = results.sort("as_of_day")["control_metric_mean"].last()
    tonight = tables["opportunities"]["as_of_day"].max()
    recent = tables["step_metrics_daily"].filter(
        (pl.col("workflow_id") == won["workflow_id"])
        & (pl.col("step_id") == won["step_id"])
        & (pl.col("day") > tonight - timedelta(days=PERIOD_DAYS))
    )
    control = won["control_exposures"] / (won["control_exposures"] + won["exposures"])
    promise = won["shrunk_lift"] * base * control * recent["delivered"].sum()
    listed = tables["opportunities"].filter(pl.col("expected_gain").is_not_null())
    place = listed.row(by_predicate=pl.col("kind") == "winner", named=True)
    due = 1 + listed.filter(pl.col("kind") != "winner", pl.col("expected_gain") > promise).height
    promised = lift(won["shrunk_lift"], won["shrunk_lift_low"], won["shrunk_lift_high"])
    return (
        f"place of the winner, which promises {promised}, among {listed.height} valued opportunities",
        f"{place['rank']}, by {place['expected_gain']:.1f} conversions in four weeks; its promise makes {promise:.1f}",
        place["rank"] == due,
    )


def insights(tables: Tables) -> Row:
    """Insights on cohorts that are none any more where the other cohorts with an insight are left out."""
    triangles = tables["cohort_triangles"]
    tonight = triangles["as_of_day"][0]

    def found(rows: pl.DataFrame) -> list[tuple[str, str, str]]:
        said = cohort_insights(cohort_comparison(rows, as_of_day=tonight), as_of_day=tonight).drop_nulls("cohort")
        return said.select("cohort_type", "workflow_id", "cohort").rows()

    stated = found(triangles)
    lost = []
    for kind, workflow, cohort in stated:
        rows = triangles.filter(cohort_type=kind, workflow_id=workflow)
        others = [one for *group, one in stated if group == [kind, workflow] and one != cohort]
        if (kind, workflow, cohort) not in found(rows.filter(~pl.col("cohort").is_in(others))):
            lost.append(cohort)
    return (
        f"cohorts with an insight (P > {STATED_PROBABILITY}) only beside another cohort that has one",
        f"{len(lost)} of {len(stated)} {', '.join(lost)}",
        bool(stated) and not lost,
    )


def run(folder: Path) -> Iterator[Row]:
    """Play the two nights; what was seen, as (measure, reached, holds)."""
    settings = Settings(data_dir=folder, _env_file=None)
    tonight = SAMPLE_TONIGHT + timedelta(days=NIGHTS)
    first, _ = PLANTED.silent_days
    for_good = replace(PLANTED, silent_days=(first, str(tonight + timedelta(days=1))))
    with patch.object(plans, "PLANTED", for_good):
        decayed = _morning(settings, decay_night())
        later = _morning(settings, tonight)
    yield f"the decay of {', '.join(PLANTED.decay_step)}, told by {decay_night()}", "", True
    yield from told(decayed, PLANTED.decay_step)
    yield silence(later.tables, date.fromisoformat(first), tonight)
    yield from told(later, PLANTED.silent_step)
    yield winner(later.tables)
    yield insights(later.tables)


def _morning(settings: Settings, night: date) -> Morning:
    run_night(settings, night, lambda step, steps: None)
    with open_ledger(settings) as ledger:
        follow_publication(settings, ledger, now=datetime.combine(night + timedelta(days=1), time(6), UTC))
        waiting = [record.proposal for record in ledger.records(Status.PENDING)]
        return Morning(dict(read_publication(settings.published_dir)), digest_lines(settings, ledger), waiting)


def main() -> int:
    """Print what was seen; 1 if something did not hold."""
    missed = 0
    with TemporaryDirectory(prefix="driptune-later-") as folder:
        for measure, reached, holds in run(Path(folder)):
            missed += not holds
            print(f"{'ok  ' if holds else 'MISS'} {measure}\n       {reached}", flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
