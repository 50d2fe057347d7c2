"""The policies that a decision point could switch to, and with what chance each of them chooses an arm.

Not here: what they are worth (`pipeline.analysis.statistics.policy_values`), and the policy that explores
(`selection`).
"""

import numpy as np
import polars as pl

from pipeline.analysis.statistics import Array, Mask

RULES = "rules"
"""Choice by rules, priority and weight alone."""
LEARNT = "learnt"
"""Choice of the arm that a learning policy expects most of, without exploring."""
_ALWAYS = "always "


def always(arm: str) -> str:
    """The name of the policy that chooses one arm wherever it is eligible, and what the rules say elsewhere."""
    return f"{_ALWAYS}{arm}"


def policies(arms: list[str]) -> list[str]:
    """Every policy that can be valued at a decision point with these arms."""
    return [RULES, LEARNT, *(always(arm) for arm in arms)]


def chosen_by(model_version: str, arms: list[str]) -> tuple[str | None, str | None]:
    """What a logged decision was chosen by: the policy switched to, and the hash of the learning policy behind it.

    Args:
        model_version: as the log has it.
        arms: names of the arms of the decision point.

    Returns:
        Either may be none. Where rules alone chose, and nothing was switched to, both are.

    >>> chosen_by("learnt 0123456789abcdef", ["a"])
    ('learnt', '0123456789abcdef')
    """
    if model_version.startswith(f"{LEARNT} "):
        return LEARNT, model_version.removeprefix(f"{LEARNT} ")
    if model_version in policies(arms):
        return model_version, None
    return None, model_version


def target_chances(policy: str, arms: list[str], eligible: Mask, by_rules: Array, expected: Array | None) -> Array:
    """With what chance a policy chooses each arm.

    Args:
        policy: one of `policies`.
        arms: names of the arms.
        eligible: which arms each subscriber may have, shape (subscribers, arms).
        by_rules: chance of each arm by rules, priority and weight alone, of the same shape.
        expected: expected outcome of each arm, of the same shape; none without a learning policy.

    Returns:
        Chances of the same shape. A row is all 0 if no arm is eligible.

    Raises:
        ValueError: if there is no such policy at this decision point.
    """
    if policy == RULES:
        return by_rules
    if policy == LEARNT and expected is not None:
        return _only(np.where(eligible, expected, -np.inf).argmax(axis=1), len(arms)) * eligible
    if policy.startswith(_ALWAYS) and (arm := policy.removeprefix(_ALWAYS)) in arms:
        number = arms.index(arm)
        chosen: Array = np.where(eligible[:, [number]], _only(np.full(len(eligible), number), len(arms)), by_rules)
        return chosen
    raise ValueError(f"'{policy}' is no policy of a decision point with the arms {', '.join(arms)}.")


def better_policies(values: pl.DataFrame) -> pl.DataFrame:
    """The policy to switch to at each decision point: of those that surely gain, the one that surely gains most.

    Args:
        values: rows of `policy_values`.

    Returns:
        Those rows, one per decision point at most. Where both estimators are there the doubly robust one counts,
        because it is the more precise.
    """
    keys = ["decision_point_id", "policy"]
    by_method = values.sort(*keys, pl.col("method") == "doubly robust", descending=[False, False, True])
    counted = by_method.unique(keys, keep="first", maintain_order=True)
    surely = counted.filter((pl.col("status") == "ok") & (pl.col("gain_low") > 0))
    best = surely.sort("decision_point_id", "gain_low", "policy", descending=[False, True, False])
    return best.unique("decision_point_id", keep="first", maintain_order=True)


def _only(numbers: Array, arms: int) -> Array:
    """Chance 1 for one arm of each row."""
    chosen: Array = np.eye(arms)[numbers]
    return chosen
