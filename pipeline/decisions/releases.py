"""Who waits for a flow that driptune releases, the moment decided for each, and who is due now.

Pure. Letting people in belongs to `pipeline/optimizations/account/releasing.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from pipeline.analysis.experiments.holdouts import kept_out
from pipeline.common.sticky_hash import is_held_out, uniform_hash
from pipeline.common.time import DAY_US, HOUR_US, end_of_day_us, to_timestamp
from pipeline.decisions.planned_sends import with_offsets
from pipeline.schemas.base import conform
from pipeline.schemas.loop import ReleasePlan, ReleaseStarts

METHOD = "planned wait, best hour, quiet hours and allowed days"
MOST_AN_HOUR = 1_000
"""People let in within an hour where constraints.yaml names no `hourly_cap`."""
_SPREAD = "late release"
_HOURS, _DAYS = 24, 7
_THURSDAY = 3
"""Weekday of 1970-01-01, Monday = 0."""


@dataclass(frozen=True)
class FlowStart:
    """A flow that driptune releases.

    Attributes:
        workflow_id: the flow.
        start: what lets a person in, as JSON.
        first_wait_hours: planned wait between the entry and the first step.
        most: most people let in by one approval.
        wait_field: merge field that holds the hours each person waits; none where everybody waits the planned time.
    """

    workflow_id: str
    start: str
    first_wait_hours: int
    most: int
    wait_field: str | None = None


def released_steps(starts: Sequence[FlowStart], steps: pl.DataFrame) -> pl.DataFrame:
    """The e-mail before which people wait, the first of each flow; none where it does not send now.

    Args:
        starts: the flows.
        steps: `core.steps`.

    Returns:
        The columns of `FlowStart` with `step_key`, `step_id` and `position`.
    """
    text, number = pl.String, pl.Int64
    schema = {"workflow_id": text, "start": text, "first_wait_hours": number, "most": number, "wait_field": text}
    rows = [(one.workflow_id, one.start, one.first_wait_hours, one.most, one.wait_field) for one in starts]
    flows = pl.DataFrame(rows, schema=schema, orient="row")
    mailing = steps.filter((pl.col("kind") == "email") & (pl.col("status") != "deleted")).sort("position")
    first = mailing.unique("workflow_id", keep="first", maintain_order=True).filter(pl.col("status") == "active")
    return flows.join(first.select("workflow_id", "step_key", "step_id", "position"), on="workflow_id", how="inner")


def waiting(
    entries: pl.LazyFrame, messages: pl.LazyFrame, released: pl.DataFrame, stands: pl.DataFrame
) -> pl.DataFrame:
    """Who came into a flow, by the user's events or to the step before the e-mail, and has not got the e-mail.

    Args:
        entries: `core.step_entries`.
        messages: `core.messages`.
        released: rows of `released_steps`.
        stands: the values that stand in the account tonight, as rows of `core.written_values`.

    Returns:
        One row per person and flow: `subscriber_key`, `workflow_id`, `step_id` and `planned_us`, the end of the wait
        after the newest entry. It takes the hours that the flow's `wait_field` holds for the person, such as those of
        a test of waits. For everybody else it is the planned wait.
    """
    # The last step of a flow is completed the moment it is entered, with its e-mail still to come.
    is_open = (pl.col("outcome") == "timeout") | (
        (pl.col("outcome") == "completed") & (pl.col("outcome_us") == pl.col("entered_us"))
    )
    known = entries.filter(is_open & (pl.col("entry_source") == "event")).collect()
    mailed = messages.filter(pl.col("step_key").is_in(released["step_key"].implode()))
    mailed_keys = mailed.select("step_key", "subscriber_key").collect()
    place = released.select("step_key", "workflow_id", "step_id", "position", "first_wait_hours", "wait_field")
    own_waits = stands.select(
        "subscriber_key",
        wait_field="means",
        own_hours=pl.col("value").cast(pl.UInt16, strict=False).cast(pl.Int64),
        told_us="from_us",
    ).drop_nulls("own_hours")
    begun = known.join(place.filter(pl.col("position") == 1), on="step_key").with_columns(hours="first_wait_hours")
    later = (
        known.drop("step_key")
        .rename({"to_step_key": "step_key"})
        .join(place, on="step_key")
        .with_columns(hours=pl.col("assigned_delay_hours").fill_null(0))
    )
    columns = ["subscriber_key", "step_key", "workflow_id", "step_id", "wait_field", "entered_us", "hours"]
    found = pl.concat([begun.select(columns), later.select(columns)]).sort("entered_us", "hours")
    newest = found.unique(["subscriber_key", "workflow_id"], keep="last", maintain_order=True)
    # A wait that was written after it would have been over is over when it was written, and nobody is late by it.
    over_us = pl.max_horizontal(pl.col("entered_us") + pl.coalesce("own_hours", "hours") * HOUR_US, "told_us")
    return (
        newest.join(mailed_keys, on=["step_key", "subscriber_key"], how="anti")
        .join(own_waits, on=["wait_field", "subscriber_key"], how="left", maintain_order="left")
        .select("subscriber_key", "workflow_id", "step_id", planned_us=over_us)
    )


def release_plan(
    people: pl.DataFrame,
    hours: pl.DataFrame,
    limits: pl.DataFrame,
    subscribers: pl.LazyFrame,
    zone_offsets: pl.DataFrame,
    conflicts: pl.DataFrame,
    over_cap: pl.DataFrame,
    holdouts: pl.DataFrame,
    *,
    as_of: date,
    late_hours: int,
    are_late_spread: bool,
) -> pl.DataFrame:
    """The moment at which everybody who waits is let in.

    Args:
        people: rows of `waiting`.
        hours: `subscriber_send_times`, for the best hour of those who have one of their own.
        limits: quiet hours and allowed days by step, as `Constraints.of_steps` gives them.
        subscribers: `core.subscribers`, for their zones.
        zone_offsets: `core.zone_offsets`.
        conflicts: tonight's `workflow_conflicts`. Who is in the yielding flow is held back.
        over_cap: `subscriber_key` of those who have got as many messages as the frequency cap allows.
        holdouts: tonight's `holdouts`. Whom one of them keeps out of the flow is not let in.
        as_of: tonight.
        late_hours: time after the decided moment from which on nobody is let in any more.
        are_late_spread: whether those who are late have a moment like all others. Otherwise they stay late, with a
            moment that holds once another approval lets them in.

    Returns:
        Rows of `release_plan`. Nobody is let in before tonight is over. Quiet hours and allowed days hold for those
        held out, too. Moments of those who are late are spread over 24 hours, so that they come in by no burst.
    """
    end_us = end_of_day_us(as_of)
    own = hours.filter(pl.col("fallback_level") == "subscriber")
    yielding = conflicts.filter(pl.col("resolution") != "allow").select("subscriber_key", "workflow_id").unique()
    rows = (
        people.join(subscribers.select("subscriber_key", "zone").collect(), on="subscriber_key")
        .join(own.select("subscriber_key", best="recommended_local_hour"), on="subscriber_key", how="left")
        .join(limits, on=["workflow_id", "step_id"], how="left")
        .join(yielding.with_columns(yields=True), on=["subscriber_key", "workflow_id"], how="left")
        .join(over_cap.select("subscriber_key").unique().with_columns(is_capped=True), on="subscriber_key", how="left")
    )
    planned = pl.col("planned_us") + pl.col("offset_us")
    spread = pl.Series("spread", (uniform_hash(rows["subscriber_key"], _SPREAD) * DAY_US).astype(np.int64))
    begin = (
        pl.when("is_late").then(end_us + pl.col("spread")).otherwise(pl.max_horizontal("planned_us", pl.lit(end_us)))
    ) + pl.col("offset_us")
    moments = (
        with_offsets(rows.with_columns(kept_out(rows, holdouts), spread), zone_offsets, "planned_us")
        .with_columns(is_late=_decided(planned) - pl.col("offset_us") + late_hours * HOUR_US < end_us)
        .with_columns(release=_decided(begin), plain=_opened(begin))
    )
    is_late = pl.col("is_late") & (not are_late_spread)
    status = (
        pl.when("is_kept_out").then(pl.lit("kept out"))
        .when("yields").then(pl.lit("conflict"))
        .when("is_capped").then(pl.lit("over the cap"))
        .when(is_late).then(pl.lit("late"))
        .otherwise(pl.lit("planned"))
    )  # fmt: skip
    bounded = moments.with_columns(
        status=status, release_end=_closing("release", late_hours), plain_end=_closing("plain", late_hours)
    )
    is_planned = pl.col("status") == "planned"
    has_moment = is_planned | (pl.col("status") == "late")
    in_utc = {
        "release_at": pl.when(has_moment).then("release"),
        "release_until": pl.when(has_moment).then("release_end"),
        "planned_at": pl.when(is_planned).then("plain").otherwise(planned),
        "planned_until": pl.when(is_planned).then("plain_end"),
    }
    told = bounded.with_columns(**{name: local - pl.col("offset_us") for name, local in in_utc.items()})
    return conform(
        told.with_columns(*(to_timestamp(name) for name in in_utc), as_of_day=pl.lit(as_of), method=pl.lit(METHOD))
        .sort("workflow_id", "planned_at", "subscriber_key"),
        ReleasePlan,
    )  # fmt: skip


def release_starts(released: pl.DataFrame, plan: pl.DataFrame, limits: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """The flows that driptune releases, with tonight's counts (rows of `release_starts`).

    Args:
        released: rows of `released_steps`.
        plan: rows of `release_plan`.
        limits: limits by step, as `Constraints.of_steps` gives them.
        as_of: tonight.
    """
    status = pl.col("status")
    counts = plan.group_by("workflow_id").agg(
        planned=(status == "planned").sum(),
        late=(status == "late").sum(),
        held_back=status.is_in(["conflict", "over the cap", "kept out"]).sum(),
    )
    rows = (
        released.join(counts, on="workflow_id", how="left")
        .join(limits.select("workflow_id", "step_id", "hourly_cap"), on=["workflow_id", "step_id"], how="left")
        .with_columns(pl.col("planned", "late", "held_back").fill_null(0), pl.col("hourly_cap").fill_null(MOST_AN_HOUR))
    )
    stamped = rows.with_columns(as_of_day=pl.lit(as_of), method=pl.lit(METHOD))
    return conform(stamped.sort("workflow_id"), ReleaseStarts)


def moments(
    plan: pl.DataFrame, optimization_id: str, holdout_share: float, late_until: date | None = None
) -> pl.DataFrame:
    """Everybody whom a record lets in, with the moment: the old planned one of those held out, else the decided one.

    Args:
        plan: rows of `release_plan` of one flow.
        optimization_id: the record, which says who is held out.
        holdout_share: share of people held out.
        late_until: where the record is about people who are late, the last day on which their moment was planned.

    Returns:
        `subscriber_key`, `at` and `until` (Datetime, UTC).
    """
    is_late = (pl.col("status") == "late") & (pl.col("planned_at").dt.date() <= pl.lit(late_until, dtype=pl.Date))
    planned = plan.filter(pl.col("status") == "planned" if late_until is None else is_late)
    out = is_held_out(planned["subscriber_key"], optimization_id, holdout_share)
    return planned.with_columns(out).select(
        "subscriber_key",
        at=pl.when("is_held_out").then("planned_at").otherwise("release_at"),
        until=pl.when("is_held_out").then("planned_until").otherwise("release_until"),
    )


def due(people: pl.DataFrame, taken: pl.Series, now: datetime) -> pl.DataFrame:
    """Who is to be let in now, the one who waits longest first.

    Args:
        people: rows of `moments`.
        taken: keys of everybody who was let in before, or perhaps was.
        now: the time, in UTC.

    Returns:
        `subscriber_key`, `at`, and `is_late` for those whose time has passed. These are not to be let in.
    """
    moment = pl.lit(now.replace(tzinfo=None))
    reached = people.filter(pl.col("at") <= moment)
    left = reached.join(pl.DataFrame({"subscriber_key": taken}), on="subscriber_key", how="anti")
    return left.select("subscriber_key", "at", is_late=pl.col("until") <= moment).sort("at", "subscriber_key")


def expected(people: pl.DataFrame, taken: pl.Series, now: datetime, *, hourly_cap: int, room: int) -> list[int]:
    """How many people would be let in within each of the next 24 hours, if the machine is never off.

    Args:
        people: rows of `moments`.
        taken: keys of everybody who was let in before, or perhaps was.
        now: the time, in UTC.
        hourly_cap: most people within an hour.
        room: most people in all.
    """
    begin = now.replace(tzinfo=None)
    left = people.join(pl.DataFrame({"subscriber_key": taken}), on="subscriber_key", how="anti")
    soon = left.filter((pl.col("until") > begin) & (pl.col("at") < begin + timedelta(hours=_HOURS)))
    hour = pl.max_horizontal((pl.col("at") - pl.lit(begin)).dt.total_hours(), pl.lit(0)).alias("hour")
    arriving = dict(soon.group_by(hour).len().iter_rows())
    found, queue = [], 0
    for number in range(_HOURS):
        queue += arriving.get(number, 0)
        released = min(queue, hourly_cap, room)
        queue, room = queue - released, room - released
        found.append(released)
    return found


def _decided(local: pl.Expr) -> pl.Expr:
    """The first moment from a local one on at the person's best hour; without one, or where it is quiet, `_opened`."""
    best = pl.col("best")
    is_now = (_hour(local) == best) & _is_open_day(local)
    at_best = pl.when(is_now).then(local).otherwise(_next(local, best))
    return pl.when(best.is_not_null() & ~_is_quiet(best)).then(at_best).otherwise(_opened(local))


def _opened(local: pl.Expr) -> pl.Expr:
    """The first moment from a local one on outside quiet hours, on an allowed day."""
    opening = pl.col("quiet_until_hour").fill_null(0)
    is_open = _is_open_day(local) & ~_is_quiet(_hour(local))
    return pl.when(is_open).then(local).otherwise(_next(local, opening))


def _closing(local: str, late_hours: int) -> pl.Expr:
    """When a local moment can no longer be kept: quiet hours begin, the last allowed day ends, or it is too late."""
    at, quiet = pl.col(local), pl.col("quiet_from_hour")
    quiet_at = at // DAY_US * DAY_US + quiet * HOUR_US
    next_quiet = pl.when(quiet_at > at).then(quiet_at).otherwise(quiet_at + DAY_US)
    midnight = pl.when(pl.col("allowed_weekdays").list.len() < _DAYS).then((at // DAY_US + 1) * DAY_US)
    return pl.min_horizontal(at + late_hours * HOUR_US, next_quiet, midnight)


def _next(local: pl.Expr, hour: pl.Expr) -> pl.Expr:
    """The first full `hour` of an allowed day that is not before a local moment."""
    today = local // DAY_US * DAY_US + hour * HOUR_US
    first = pl.when(today < local).then(today + DAY_US).otherwise(today)
    return pl.coalesce(
        pl.when(_is_open_day(first + later * DAY_US)).then(first + later * DAY_US) for later in range(_DAYS)
    )


def _hour(local: pl.Expr) -> pl.Expr:
    return local % DAY_US // HOUR_US


def _is_open_day(local: pl.Expr) -> pl.Expr:
    weekday = (local // DAY_US + _THURSDAY) % _DAYS
    return pl.col("allowed_weekdays").list.contains(weekday).fill_null(True)


def _is_quiet(hour: pl.Expr) -> pl.Expr:
    begin, end = pl.col("quiet_from_hour"), pl.col("quiet_until_hour")
    return ((hour - begin + _HOURS) % _HOURS < (end - begin + _HOURS) % _HOURS).fill_null(False)
