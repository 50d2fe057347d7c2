"""Life tables with competing outcomes, in whole units of time, for people who are still followed tonight.

The drop-off between steps and the time to the next step are estimated from these tables.
"""

import polars as pl

OUTCOMES = ("advanced", "goal", "lost")


def life_table(transitions: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Aalen-Johansen increments of each outcome. Whoever has no known outcome tonight is censored.

    Args:
        transitions: counts `subscribers` by `keys`, `outcome` (advanced, goal, lost, timeout), `elapsed` (whole units
            from entry to outcome) and `observed` (the last unit that had fully passed by tonight; negative = none).
            An outcome later than `observed` is unknown tonight.
        keys: the columns that make a group.

    Returns:
        One row per group and unit of time with an event: `elapsed`, the number `at_risk`, the counts `advanced`, `goal`
        and `lost` (timeouts included), `survival_before` = S(t-), and `advanced_increment`, `goal_increment` and
        `lost_increment` = S(t-) d/Y, whose running sums are the cumulative incidences (Aalen and Johansen, 1978).
    """
    known = pl.col("elapsed") <= pl.col("observed")
    outcome = pl.when(pl.col("outcome") == "timeout").then(pl.lit("lost")).otherwise("outcome")
    table = (
        transitions.filter(pl.col("observed") >= 0)
        .with_columns(
            outcome=pl.when(known).then(outcome).otherwise(pl.lit("waiting")),
            elapsed=pl.min_horizontal("elapsed", "observed"),
        )
        .group_by(*keys, "elapsed")
        .agg(
            pl.col("subscribers").filter(pl.col("outcome") == name).sum().alias(name) for name in (*OUTCOMES, "waiting")
        )
        .sort(*keys, "elapsed")
    )
    events = pl.sum_horizontal(OUTCOMES)
    survival = (1 - events / pl.col("at_risk")).cum_prod().over(keys)
    return (
        table.with_columns(at_risk=(events + pl.col("waiting")).cum_sum(reverse=True).over(keys))
        .with_columns(survival_before=survival.shift(1, fill_value=1.0).over(keys))
        .with_columns(
            (pl.col("survival_before") * pl.col(name) / pl.col("at_risk")).alias(f"{name}_increment")
            for name in OUTCOMES
        )
        .filter(events > 0)
        .drop("waiting")
    )


def incidences(table: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Cumulative incidences at the end of each group's follow-up, and the variance of the incidence of loss.

    Args:
        table: what `life_table` returns.
        keys: the columns that make a group.

    Returns:
        One row per group: `advance_rate`, `goal_rate`, `drop_off_rate`, `drop_off_variance`, and `undecided`, the
        estimated share of entrants that have no outcome at the end of follow-up.

    The variance comes from multinomial hazards in discrete time by the delta method, like Greenwood's formula; without
    censoring it equals p (1 - p) / n.
    """
    lost = pl.col("lost") / pl.col("at_risk")
    other = (pl.col("advanced") + pl.col("goal")) / pl.col("at_risk")
    later = (pl.col("lost_increment").cum_sum(reverse=True).over(keys) - pl.col("lost_increment")) / (1 - lost - other)
    # Where nobody stays at risk, no later event is possible.
    effect_other = (
        -pl.when(pl.col("advanced") + pl.col("goal") + pl.col("lost") < pl.col("at_risk")).then(later).otherwise(0.0)
    )
    effect_lost = pl.col("survival_before") + effect_other
    variance = (
        effect_lost**2 * lost * (1 - lost)
        + effect_other**2 * other * (1 - other)
        - 2 * effect_lost * effect_other * lost * other
    ) / pl.col("at_risk")
    return (
        table.with_columns(variance=variance)
        .group_by(keys)
        .agg(
            advance_rate=pl.col("advanced_increment").sum(),
            goal_rate=pl.col("goal_increment").sum(),
            drop_off_rate=pl.col("lost_increment").sum(),
            drop_off_variance=pl.col("variance").sum().clip(lower_bound=0.0),
        )
        .with_columns(undecided=(1 - pl.sum_horizontal("advance_rate", "goal_rate", "drop_off_rate")).clip(0.0, 1.0))
    )
