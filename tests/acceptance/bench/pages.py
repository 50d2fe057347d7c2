"""P16: the pages of an account of many flows, drawn from nothing, and once more with nothing changed.

Run as a process of its own (`python -m tests.acceptance.bench.pages`), it prints wall and CPU seconds of both.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.reports.pages.site import write_pages
from tests.acceptance.bench.rows import Row
from tests.worlds.published import ADDRESS, TONIGHT, Tables, account, row

FLOWS, STEPS, METRICS, DAYS, COHORTS, WEEKS, DELAYS = 500, 5, 6, 180, 26, 26, 5
MOST_SECONDS = 120.0


def pages_of_many_flows() -> Row:
    """P16 in a fresh process."""
    command = [sys.executable, "-m", "tests.acceptance.bench.pages"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured = json.loads(told.splitlines()[-1])
    return Row(
        "P16",
        f"pages of {FLOWS} flows, {measured['figures']:,} figures ({measured['cpu']:.0f} CPU-s; with nothing changed "
        f"{measured['again']:.1f} s)",
        f"{measured['seconds']:.0f} s",
        f"<= {MOST_SECONDS:.0f} s on 2 cores",
        measured["seconds"] <= MOST_SECONDS,
    )


def many_flows() -> Tables:
    """Published tables of an account of which no two flows look alike."""
    random = np.random.default_rng(16)
    flows = [f"flow-{number:03}" for number in range(FLOWS)]
    tables = account([(flow, f"Flow {flow[-3:]}") for flow in flows])
    steps = [f"step-{number}" for number in range(STEPS)]
    chain = pl.DataFrame({"from_step_id": steps[:-1], "to_step_id": steps[1:], "step_id": steps[:-1]})
    each = pl.DataFrame({"workflow_id": flows})

    def many(table: str, cells: pl.DataFrame, **given: object) -> pl.DataFrame:
        """Rows of a table for these cells; what is not given stands at the least that its type allows."""
        named = [name for name in row(table).columns if name in cells.columns]
        rest = row(table, **given).drop(named)
        return cells.select(named).join(rest, how="cross").select(row(table).columns)

    def drawn(cells: pl.DataFrame, **scales: float) -> pl.DataFrame:
        return cells.with_columns(
            *(pl.Series(name, random.random(cells.height) * scale) for name, scale in scales.items())
        )

    moves = drawn(each.join(chain, how="cross"), rate=0.4)
    lost = (pl.col("rate") * 1_000).cast(pl.Int64)
    moves = moves.with_columns(drop_off_rate="rate", lost=lost, advanced=900 - lost, entrants=pl.lit(1_000))
    tables["funnel"] = many("funnel", moves.drop("rate", "step_id"), waiting=100, median_hours=24.0)
    days = pl.DataFrame({"day": [TONIGHT - timedelta(days=ago) for ago in range(DAYS)]})
    sent = each.join(pl.DataFrame({"step_id": steps}), how="cross").join(days, how="cross")
    sent = drawn(sent, clicked=300).with_columns(unique_human_clicks=pl.col("clicked").cast(pl.Int64))
    tables["step_metrics_daily"] = many("step_metrics_daily", sent, sent=1_000, delivered=990, is_mature=True)
    metrics = pl.DataFrame({"metric": ["prompt_human_click_rate", *(f"metric {one}" for one in range(METRICS - 1))]})
    course = each.join(pl.DataFrame({"step_id": steps}), how="cross").join(metrics, how="cross")
    course = drawn(course.join(days, how="cross"), value=0.3).with_columns(
        change_marker=pl.when(pl.col("value") > 0.29).then(pl.lit("anomaly"))
    )
    normal = {"expected_value": 0.15, "expected_value_low": 0.05, "expected_value_high": 0.25}
    tables["metric_trends"] = many("metric_trends", course, metric_kind="rate", denominator=1_000, **normal)
    waits = pl.DataFrame({"delay_hours": [24.0 * (1 + one) for one in range(DELAYS)]})
    curve = drawn(moves.select("workflow_id", "from_step_id", "to_step_id").join(waits, how="cross"), middle=0.3)
    ends = {
        f"conversion_rate{end}": pl.col("middle") + more for end, more in (("", 0.1), ("_low", 0.0), ("_high", 0.2))
    }
    curve = curve.with_columns(**ends, is_current=pl.col("delay_hours") == 48)
    tables["delay_curves"] = many("delay_curves", curve.drop("middle"), better_probability=0.9, entrants=500)
    week = pl.DataFrame({"hour": range(168)}).select(local_weekday=pl.col("hour") // 24, local_hour=pl.col("hour") % 24)
    engaged = drawn(each.join(week, how="cross"), shrunk_click_rate=0.3)
    tables["engagement_hours"] = many("engagement_hours", engaged, delivered=1_000, unique_human_clicks=150)
    ages = pl.DataFrame({"age_weeks": range(WEEKS)})
    cohorts = pl.DataFrame({"cohort": [f"2026-{one:02}" for one in range(COHORTS)]})
    triangle = drawn(each.join(cohorts, how="cross").join(ages, how="cross"), projected_rate=0.3)
    triangle = triangle.with_columns(conversion_rate="projected_rate")
    tables["cohort_triangles"] = many("cohort_triangles", triangle, cohort_type="signup_date", followed=900)
    return tables


def _spent() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Measure both."""
    tables = many_flows()
    with tempfile.TemporaryDirectory(prefix="driptune-bench-") as folder:
        target = Path(folder) / "reports"
        before, started = _spent(), time.perf_counter()
        write_pages(tables, [], target, ADDRESS)
        measured = {"seconds": time.perf_counter() - started, "cpu": _spent() - before}
        measured["figures"] = sum(page.read_text().count("data-drawn=") for page in target.glob("*.html"))
        measured["largest_kb"] = max(page.stat().st_size for page in target.glob("*.html")) / 1_000
        started = time.perf_counter()
        write_pages(tables, [], target, ADDRESS)
        measured["again"] = time.perf_counter() - started
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
