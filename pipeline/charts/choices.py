"""Which series, transition, test or change a chart shows, of those that a table holds.

The words beside a chart are of the same rows, so pages choose here too. What is chosen once stays chosen.
"""

import polars as pl

from pipeline.analysis.delays.recommendations import ACT_PROBABILITY

SERIES = ["workflow_id", "step_id", "metric"]
TRANSITION = ["workflow_id", "from_step_id", "to_step_id"]
USUAL_METRIC = "prompt_human_click_rate"


def telling_series(trends: pl.DataFrame) -> pl.DataFrame:
    """Of `metric_trends`, the series that changed last; where none has, the clicks of the step with most mail."""
    changed = trends.filter(~pl.col("change_marker").is_in(["holiday", "new version"]))
    expected = trends.filter((pl.col("metric") == USUAL_METRIC) & pl.col("expected_value").is_not_null())
    largest = expected.group_by(SERIES).agg(pl.col("denominator").sum()).sort("denominator", *SERIES).tail(1)
    last = changed.sort("day", *SERIES).tail(1)
    return _of(trends, last if last.height else largest, SERIES)


def telling_transition(curves: pl.DataFrame) -> pl.DataFrame:
    """Of `delay_curves`, the transition whose delays differ most surely; where none can tell, that of most entrants."""
    known = curves.filter(pl.col("conversion_rate").is_not_null())
    sizes = known.group_by(TRANSITION).agg(pl.col("better_probability").max(), pl.col("entrants").sum())
    order = ["better_probability", "entrants", *TRANSITION]
    best = sizes.sort(order, descending=[True, True, False, False, False], nulls_last=True).head(1)
    return _of(curves, best, TRANSITION)


def largest_test(results: pl.DataFrame) -> pl.DataFrame:
    """Of `experiment_results`, the nights of the test with most people, of its primary metric."""
    primary = results.filter(pl.col("role") == "primary")
    largest = primary.sort("exposures", "experiment_id", descending=[True, False]).head(1)
    return _of(primary, largest, ["experiment_id"])


def largest_change(nights: pl.DataFrame) -> pl.DataFrame:
    """Of `realised_lift`, the nights of the change with most people, of the metric that it promised to raise."""
    order = [pl.col("role") == "primary", "exposures", "optimization_id", "metric"]
    largest = nights.sort(order, descending=[True, True, False, False], nulls_last=True).head(1)
    return _of(nights, largest, ["optimization_id", "metric"])


def marked_delays(curve: pl.DataFrame) -> pl.DataFrame:
    """Rows of one transition of `delay_curves` with `mark`: 'now', 'proposed' for the surely better delay, or null."""
    is_best = pl.col("best_probability") == pl.col("best_probability").max()
    is_proposed = is_best & (pl.col("better_probability") > ACT_PROBABILITY)
    mark = pl.when("is_current").then(pl.lit("now")).when(is_proposed).then(pl.lit("proposed"))
    return curve.sort("delay_hours").with_columns(mark=mark)


def _of(rows: pl.DataFrame, one: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    return rows.join(one.select(columns), on=columns, how="semi")
