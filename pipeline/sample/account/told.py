"""Arms that somebody wrote into the merge field of the sample's test: from then on the sender sends that arm."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.sample.account.plans import STEP_NUMBER, Plan
from pipeline.sample.account.population import Population
from pipeline.sample.account.world import PLANTED, Array

ARMS = tuple(PLANTED.experiment_purchase)
TOLD = {"subscriber": pl.Int64, "at_us": pl.Int64, "arm": pl.Int64}
_MEMBER = re.compile(r"/lists/[^/]+/members/([0-9a-f]{32})$")


def read_told(log: Path, people: Population) -> pl.DataFrame:
    """What the log of writes to the stand-in server says of the field.

    Returns:
        `subscriber` (number), `at_us` (from when) and `arm` (0 = A, 1 = B), by time; other values say nothing.
    """
    number_of = {member: number for number, member in enumerate(people.member_id.tolist())}
    rows = []
    for line in log.read_text().splitlines(keepends=True) if log.exists() else []:
        # A line cut short by a power cut was never answered.
        kept = json.loads(line) if line.endswith("\n") else {}
        found = _MEMBER.search(kept.get("path", ""))
        arm = (kept.get("body") or {}).get("merge_fields", {}).get(PLANTED.experiment_field)
        if found and arm in ARMS:
            rows.append((number_of[found[1]], kept["at_us"], ARMS.index(arm)))
    return pl.DataFrame(rows, schema=TOLD, orient="row").sort("at_us", maintain_order=True)


def arms_of_slots(plan: Plan, people: Population, told: pl.DataFrame) -> Array:
    """Arm of each slot: the subscriber's own, at the step under test what their field said last."""
    subscriber = plan.subscriber[plan.slot_journey]
    own = people.arm[subscriber]
    flow_id, step_id, _ = PLANTED.experiment
    at_step = np.flatnonzero(plan.slot_step == STEP_NUMBER[flow_id, step_id])
    slots = pl.DataFrame({"slot": at_step, "subscriber": subscriber[at_step], "at_us": plan.slot_us[at_step]})
    said = slots.sort("at_us").join_asof(told, on="at_us", by="subscriber", check_sortedness=False).drop_nulls("arm")
    arms = own.copy()
    arms[said["slot"].to_numpy()] = said["arm"].to_numpy()
    return arms
