"""`driptune replay`: the logged decisions of a night, made again from what was known then."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.common.names import with_nearest
from pipeline.common.time import day_number, numbered_day
from pipeline.lake.store import Lake
from pipeline.schemas.lake import Decisions, PolicyModels
from pipeline.settings import Settings

NIGHTS_SHOWN = 5
"""Nights that are named where another was asked for."""
REPEATED = ("arm", "is_default", "choice_probability")
"""What of a decision must come out as it was logged."""
_CLOSE = 1e-9


@dataclass(frozen=True)
class Replayed:
    """What came of making logged decisions again.

    Attributes:
        decisions: number of logged decisions.
        differing: those that came out otherwise: `subscriber_key`, `arm` and `choice_probability` as logged, and the
            same with the ending `_again`.
        arms: number of decisions by arm, as logged.
    """

    decisions: int
    differing: pl.DataFrame
    arms: dict[str, int]


def replay_night(settings: Settings, point_id: str, night: date) -> Replayed:
    """Make every decision of a night at a decision point or content block again.

    Raises:
        SourceError: if nothing was logged there for that night, or a policy of that night is missing.
    """
    lake = Lake(settings.lake_dir)
    log = lake.latest(Decisions)
    logged = log.filter((pl.col("decision_point_id") == point_id) & (pl.col("night") == day_number(night))).collect()
    if logged.is_empty():
        raise _nothing_logged(log.select("decision_point_id", "night").unique().collect(), point_id, night)
    models = lake.latest(PolicyModels).filter(pl.col("decision_point_id") == point_id).collect()
    texts = dict(models.select("model_version", "model").iter_rows())
    again = pl.concat(_made_again(logged, texts))
    both = logged.join(again.select("subscriber_key", *REPEATED), on="subscriber_key", suffix="_again")
    is_other = (
        (pl.col("arm") != pl.col("arm_again"))
        | (pl.col("is_default") != pl.col("is_default_again"))
        | ((pl.col("choice_probability") - pl.col("choice_probability_again")).abs() > _CLOSE)
    )
    columns = ("subscriber_key", "arm", "arm_again", "choice_probability", "choice_probability_again")
    arms = logged.group_by("arm").len().sort("len", "arm", descending=[True, False])
    return Replayed(logged.height, both.filter(is_other).select(columns), dict(arms.iter_rows()))


def _made_again(logged: pl.DataFrame, texts: dict[str, str]) -> Iterator[pl.DataFrame]:
    # What decides takes long to import, and a name or a night that is unknown is refused without it.
    from pipeline.decisions.log import model_from_text, point_from_text, replay
    from pipeline.decisions.targets import chosen_by

    for (version, definition), rows in logged.partition_by("model_version", "definition", as_dict=True).items():
        _, learnt = chosen_by(str(version), [arm.arm for arm in point_from_text(str(definition)).arms])
        if learnt is not None and learnt not in texts:
            raise SourceError("the lake", f"the policy {learnt} is missing", "Restore the lake from a backup.")
        yield replay(rows, None if learnt is None else model_from_text(texts[learnt]))


def _nothing_logged(known: pl.DataFrame, point_id: str, night: date) -> SourceError:
    points = known["decision_point_id"].unique().sort().to_list()
    if point_id not in points:
        listed = ", ".join(points) or "none"
        return SourceError("POINT", f"nothing was ever logged at {with_nearest(point_id, points)}", f"Known: {listed}.")
    nights = known.filter(pl.col("decision_point_id") == point_id)["night"].to_list()
    nearest = sorted(sorted(nights, key=lambda one: abs(one - day_number(night)))[:NIGHTS_SHOWN])
    listed = ", ".join(str(numbered_day(one)) for one in nearest)
    return SourceError("DATE", f"nothing was logged at '{point_id}' on {night}", f"The nearest nights are {listed}.")
