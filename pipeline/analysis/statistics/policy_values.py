"""What a policy would have earned, estimated from decisions that were logged under another policy.

Not here: the policies, and the log of decisions.
"""

from datetime import date

import polars as pl

from pipeline.analysis.statistics.intervals import NORMAL_95

FEWEST_EFFECTIVE = 100.0
"""Below this many effective samples a few decisions would decide the estimate, so none is given."""


def policy_values(log: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """Value of each target policy at each decision point, compared with the policy that was logged.

    Args:
        log: one row per matured decision and target policy: `decision_point_id`, `policy` (name of the target),
            `subscriber_key`, `outcome` (0/1 or an amount), `choice_probability` (of the arm taken, as logged, in
            (0, 1]), `target_probability` (of the same arm under the target), `expected_taken` and `expected_target`
            (modelled outcome of the arm taken, and of the target policy; null = no model).
        as_of_day: tonight.

    Returns:
        One row per decision point, policy and method ('SNIPS', 'doubly robust'), in the columns of `policy_values`:
        mean outcome per decision under the target (`value_mean`) and under the logged policy (`logged_mean`), their
        difference (`gain`), 95% intervals, and `effective_samples`. Where there are too few of them, value and gain are
        null and `status` says how many are missing.

    The methods are self-normalised importance sampling (Swaminathan and Joachims, 2015), and the doubly robust
    estimator with self-normalised weights (Dudik, Langford and Li, 2011). Intervals are by linearisation, with the
    decisions of one subscriber as a cluster.
    """
    keys = ["decision_point_id", "policy"]
    group = [*keys, "method"]
    modelled = log.filter(pl.col("expected_taken").is_not_null().all().over(keys))
    unmodelled = log.with_columns(expected_taken=pl.lit(0.0), expected_target=pl.lit(0.0))
    influence = (
        pl.concat(
            [
                unmodelled.with_columns(method=pl.lit("SNIPS")),
                modelled.with_columns(method=pl.lit("doubly robust")),
            ],
            how="diagonal_relaxed",
        )
        .with_columns(weight=pl.col("target_probability") / pl.col("choice_probability"))
        .with_columns(total=pl.col("weight").mean().over(group))
        .with_columns(share=pl.when(pl.col("total") > 0).then(pl.col("weight") / pl.col("total")))
        .with_columns(correction=pl.col("share") * (pl.col("outcome") - pl.col("expected_taken")))
        .with_columns(
            mean=(pl.col("expected_target") + pl.col("correction")).mean().over(group),
            logged=pl.col("outcome").mean().over(group),
        )
        .with_columns(
            # The last term is the part of the error that dividing by the sum of the drawn weights removes.
            of_value=pl.col("expected_target")
            + pl.col("correction")
            - pl.col("mean")
            + pl.col("correction").mean().over(group) * (1 - pl.col("share")),
            of_logged=pl.col("outcome") - pl.col("logged"),
        )
    )
    clusters = influence.group_by(*group, "subscriber_key").agg(
        pl.col("of_value").sum(),
        of_gain=(pl.col("of_value") - pl.col("of_logged")).sum(),
        decisions=pl.len(),
        weight=pl.col("weight").sum(),
        mean=pl.col("mean").first(),
        logged=pl.col("logged").first(),
    )
    summary = clusters.group_by(group).agg(
        decisions=pl.col("decisions").sum().cast(pl.Int64),
        subscribers=pl.len().cast(pl.Int64),
        value_mean=pl.col("mean").first(),
        logged_mean=pl.col("logged").first(),
        value_error=pl.col("of_value").pow(2).sum().sqrt() / pl.col("decisions").sum(),
        gain_error=pl.col("of_gain").pow(2).sum().sqrt() / pl.col("decisions").sum(),
        effective_samples=pl.when(pl.col("weight").pow(2).sum() > 0)
        .then(pl.col("weight").sum() ** 2 / pl.col("weight").pow(2).sum())
        .otherwise(0.0),
    )
    shown = pl.col("effective_samples") >= FEWEST_EFFECTIVE
    gain = pl.col("value_mean") - pl.col("logged_mean")
    return summary.select(
        *keys,
        "decisions",
        "subscribers",
        "effective_samples",
        "logged_mean",
        value_mean=pl.when(shown).then("value_mean"),
        value_mean_low=pl.when(shown).then(pl.col("value_mean") - NORMAL_95 * pl.col("value_error")),
        value_mean_high=pl.when(shown).then(pl.col("value_mean") + NORMAL_95 * pl.col("value_error")),
        gain=pl.when(shown).then(gain),
        gain_low=pl.when(shown).then(gain - NORMAL_95 * pl.col("gain_error")),
        gain_high=pl.when(shown).then(gain + NORMAL_95 * pl.col("gain_error")),
        status=pl.when(shown)
        .then(pl.lit("ok"))
        .otherwise(
            pl.format(
                "cannot be estimated: {} more effective samples needed",
                (FEWEST_EFFECTIVE - pl.col("effective_samples")).ceil().cast(pl.Int64),
            )
        ),
        as_of_day=pl.lit(as_of_day, dtype=pl.Date),
        method="method",
    ).sort(*keys, "method")
