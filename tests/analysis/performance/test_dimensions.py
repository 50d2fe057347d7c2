from datetime import date

from pipeline.analysis.performance.dimensions import calendar, steps, workflows
from pipeline.common.time import day_number, end_of_day_us
from pipeline.config.constraints import Constraints
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreEdges, CoreSteps
from pipeline.schemas.lake import AutomationEmails, Automations
from pipeline.schemas.reductions import EntryDays, StepDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
WORKFLOWS, STEPS = linear_flow("welcome", "tips")


def test_workflows_count_their_steps():
    assert workflows(WORKFLOWS, STEPS)["steps"].to_list() == [2]
    assert workflows(WORKFLOWS, STEPS.clear())["steps"].to_list() == [0]


def test_a_step_shows_the_delay_planned_tonight():
    tomorrow = end_of_day_us(AS_OF)
    way = {"workflow_key": 1, "from_step_key": 1, "to_step_key": 2, "is_default": True, "grace_hours": 48}
    edges = rows(
        CoreEdges,
        {**way, "delay_version": 1, "delay_hours": 24, "valid_from_us": 0, "valid_to_us": tomorrow - 10},
        {**way, "delay_version": 2, "delay_hours": 36, "valid_from_us": tomorrow - 10, "valid_to_us": tomorrow},
        {**way, "delay_version": 3, "delay_hours": 72, "valid_from_us": tomorrow, "valid_to_us": tomorrow + 10},
    )
    limits = Constraints(quiet_hours="22-06", hourly_cap=500).of_steps(STEPS)
    found = steps(STEPS, edges, limits, empty(Automations), empty(AutomationEmails), AS_OF)
    planned = found.select("step_id", "next_step_id", "planned_delay_hours").rows()
    assert planned == [("welcome", "tips", 36), ("tips", None, None)]
    limits = found.select("quiet_from_hour", "quiet_until_hour", "allowed_weekdays", "hourly_cap").unique().rows()
    assert limits == [(22, 6, "0,1,2,3,4,5,6", 500)]


def test_a_delay_can_be_written_in_some_automations_where_it_counts_from_their_start():
    automations = rows(
        Automations,
        {"workflow_id": "flow", "workflow_type": "singleWelcome", "status": "sending"},
        {"workflow_id": "old", "workflow_type": "singleWelcome", "status": "archived"},
        {"workflow_id": "series", "workflow_type": "welcomeSeries", "status": "sending"},
    )
    names = ("flow", "old", "series")
    emails = [
        {"workflow_id": flow, "step_id": f"{flow} {action}", "delay_action": action}
        for flow in names
        for action in ("signup", "previous_campaign_sent")
    ]
    places = [
        {
            "workflow_id": one["workflow_id"],
            "step_id": one["step_id"],
            "campaign_id": one["step_id"],
            "step_key": at,
        }
        for at, one in enumerate(emails)
    ]
    known = rows(CoreSteps, *places, kind="email", status="active")
    limits = Constraints().of_steps(known)
    found = steps(known, empty(CoreEdges), limits, automations, rows(AutomationEmails, *emails), AS_OF)
    written = found.drop_nulls("writable_delay_action").select("step_id", "writable_delay_action")
    assert written.rows() == [("flow signup", "signup")]


def test_the_calendar_runs_from_the_first_fact_to_tonight():
    facts = (
        rows(StepDays, {"day": day_number(date(2026, 2, 27))}),
        rows(EntryDays, {"day": day_number(date(2026, 3, 1))}),
    )
    days = calendar(*facts, AS_OF, maturity_days=5)
    assert (days.height, days["day"].min(), days["day"].max()) == (123, date(2026, 2, 27), AS_OF)
    assert days.filter(day=date(2026, 2, 28)).select("weekday", "is_weekend", "iso_week", "quarter").row(0) == (
        6,
        True,
        9,
        1,
    )
    assert days.filter("is_mature")["day"].max() == date(2026, 6, 24)


def test_an_empty_account_has_tonight():
    assert calendar(empty(StepDays), empty(EntryDays), AS_OF, 5)["day"].to_list() == [AS_OF]
