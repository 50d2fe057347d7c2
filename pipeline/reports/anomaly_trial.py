"""What `driptune simulate anomalies` prints: the trial of the detector on the user's own history, in words."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from pipeline.analysis.anomalies.history import watched_history
from pipeline.analysis.anomalies.trial import NIGHTS, trial_on_history
from pipeline.common.rates import WATCHED_RATES

# A higher value of these metrics is worse, so a trial that takes events away plants no incident.
HARMS = {rate.name for rate in WATCHED_RATES if not rate.is_gain}


def trial_lines(tables: Mapping[str, pl.DataFrame], holidays: Sequence[date]) -> list[str]:
    """A line for every metric with its rate of alarms, and the share of planted incidents found after some nights.

    Args:
        tables: `step_metrics_daily`, `workflows` and `manifest` of a publication.
        holidays: days left out.
    """
    as_of = date.fromisoformat(str(tables["manifest"].item(0, "as_of")))
    history = watched_history(tables["step_metrics_daily"], tables["workflows"], as_of_day=as_of)
    tried = trial_on_history(history, as_of_day=as_of, holidays=holidays)
    known = tried.filter((pl.col("status") == "ok") & pl.col("step_days").is_not_null())
    if known.is_empty():
        return [f"Up to {as_of} there is not enough history to try the detector: it has judged no step yet."]
    heads = "".join(f"{f'by night {nights}':>13}" for nights in NIGHTS)
    lines = [
        f"The detector on your own history up to {as_of}.",
        "Alarms per 1,000 step-days are at least the false alarms, because real incidents are among them.",
        "By night N: share of steps where an incident planted into the last week was found by its Nth night.",
        "",
        f"{'metric':<26}{'step-days':>10}{'alarms':>8}{'per 1,000':>11}  {'planted':<9}{'steps':>6}{heads}",
    ]
    for row in known.filter(~pl.col("metric").is_in(HARMS) | (pl.col("effect") == "stop")).iter_rows(named=True):
        line = f"{row['metric']:<26}{row['step_days']:>10,}{row['alarms']:>8}{row['alarms_per_thousand']:>11.2f}"
        if row["metric"] not in HARMS:
            found = "".join(f"{row[f'found_{nights}_rate']:>13.0%}" for nights in NIGHTS)
            line += f"  {row['effect']:<9}{row['series']:>6}{found}"
        lines.append(line)
    days, alarms = known.unique("metric").select(pl.col("step_days", "alarms").sum()).row(0)
    return [*lines, "", f"Altogether {alarms} alarms in {days:,} step-days: {1000 * alarms / days:.2f} per 1,000."]
