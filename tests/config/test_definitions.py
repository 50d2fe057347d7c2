from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common.errors import SourceError
from pipeline.config.flow_map import FlowMap, load_flow_map, parse_duration
from pipeline.config.mutes import load_mutes
from pipeline.config.reader import DefinitionsError
from pipeline.dimensions.flow_draft import initial_flow_map
from pipeline.dimensions.flows import dimensions
from pipeline.dimensions.workflow import BEGINNING_US, END_US, step_key, workflow_key
from pipeline.settings import Settings

SETTINGS = Settings(_env_file=None)
UNIX = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FLOWS = """\
flows:
  - id: onboarding
    name: Onboarding
    category: lifecycle
    priority: 10
    trigger: signup
    goal: purchase
    steps:
      - id: welcome
        campaign: 0123
      - id: choice
        kind: branch
        delay: 1 hour
      - id: tips
        campaign: 12e5
        after: [choice]
        delay: 2 days
        delay_history: [{until: 2026-03-01, delay: 1 day}]
        grace: 3 days
        default: true
      - id: offer
        campaign: c3
        after: [choice]
        delay: 90 minutes
        status: paused
      - id: goodbye
        campaign: c4
        after: [tips, offer]
"""


def load(folder: Path, text: str) -> FlowMap:
    (folder / "flows.yaml").write_text(text, encoding="utf-8")
    return load_flow_map(folder)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(DefinitionsError) as caught:
        load(folder, text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def automations(*ids: str, status: str = "sending", title: str = "") -> pl.DataFrame:
    schema = {"workflow_id": pl.String, "title": pl.String, "workflow_type": pl.String, "status": pl.String}
    return pl.DataFrame([(one, title, "welcome", status) for one in ids], schema=schema, orient="row")


def emails(*rows: tuple[str, str, int, float | None]) -> pl.DataFrame:
    schema = {"workflow_id": pl.String, "step_id": pl.String, "position": pl.Int64, "delay_hours": pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row").with_columns(
        status=pl.lit("sending"), title=pl.lit(""), subject_line=pl.lit("")
    )


def campaigns(*rows: tuple[str, str, str, int], title: str = "News") -> pl.DataFrame:
    schema = {"campaign_id": pl.String, "campaign_type": pl.String, "status": pl.String, "emails_sent": pl.Int64}
    frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    return frame.with_columns(title=pl.lit(title), subject_line=pl.lit("Subject"), preview_text=pl.lit(""))


def edges_of(made) -> list[tuple]:
    names = {row["step_key"]: row["step_id"] for row in made.steps.to_dicts()}
    columns = ("delay_version", "delay_hours", "grace_hours", "is_default")
    return [
        (names[row["from_step_key"]], names[row["to_step_key"]], *(row[name] for name in columns))
        for row in made.edges.to_dicts()
    ]


# The flow map


def test_no_folder_an_empty_file_and_an_empty_list_are_valid(tmp_path):
    assert load_flow_map(tmp_path / "absent") == FlowMap()
    assert load(tmp_path, "") == load(tmp_path, "# nothing yet\n") == load(tmp_path, "flows: []") == FlowMap()


def test_ids_stay_as_they_are_written(tmp_path):
    steps = load(tmp_path, FLOWS).flows[0].steps
    assert [step.campaign for step in steps] == ["0123", None, "12e5", "c3", "c4"]


def test_the_map_becomes_workflows_steps_and_edges(tmp_path):
    made = dimensions(load(tmp_path, FLOWS), automations(), emails(), campaigns(), SETTINGS)
    assert made.workflows.row(0, named=True) | {"definition_version": ""} == {
        "workflow_key": workflow_key("onboarding"),
        "workflow_id": "onboarding",
        "name": "Onboarding",
        "kind": "flow",
        "category": "lifecycle",
        "priority": 10,
        "trigger": "signup",
        "goal_event_type": "purchase",
        "status": "active",
        "definition_version": "",
    }
    assert made.steps.select("step_id", "position", "kind", "campaign_id", "status").rows() == [
        ("welcome", 1, "email", "0123", "active"),
        ("choice", 2, "branch", None, "active"),
        ("tips", 3, "email", "12e5", "active"),
        ("offer", 4, "email", "c3", "paused"),
        ("goodbye", 5, "email", "c4", "active"),
    ]
    default = SETTINGS.default_grace_hours
    assert edges_of(made) == [
        ("welcome", "choice", 1, 1, default, True),
        ("choice", "tips", 1, 24, 72, True),
        ("choice", "tips", 2, 48, 72, True),
        ("choice", "offer", 1, 2, default, False),
        ("tips", "goodbye", 1, 0, default, True),
        ("offer", "goodbye", 1, 0, default, True),
    ]
    change = (datetime(2026, 3, 1, tzinfo=UTC) - UNIX) // MICROSECOND
    versions = made.edges.filter(pl.col("to_step_key") == step_key("onboarding", "tips"))
    assert versions.select("valid_from_us", "valid_to_us").rows() == [(BEGINNING_US, change), (change, END_US)]


def test_the_definition_version_follows_what_a_flow_does_and_not_its_name(tmp_path):
    def version(text: str) -> str:
        made = dimensions(load(tmp_path, text), automations(), emails(), campaigns(), SETTINGS)
        return made.workflows.item(0, "definition_version")

    assert version(FLOWS) == version(FLOWS.replace("name: Onboarding", "name: Welcome"))
    assert (
        len({version(FLOWS), version(FLOWS.replace("2 days", "3 days")), version(FLOWS.replace("purchase", "x"))}) == 3
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("delay: 2 days", "delay: 2 dys", "line 17, onboarding.steps[2].delay: '2 dys' is not a duration."),
        ("    delay: 2 days", "    dely: 2 days", "line 17, onboarding.steps[2].dely: is not a known field."),
        ("priority: 10", "priority: high", "line 5, onboarding.priority: 'high' does not fit. Write a whole number."),
        ("kind: branch", "kind: brunch", "line 12, onboarding.steps[1].kind: 'brunch' is not known."),
        ("[tips, offer]", "[tips, ofer]", "line 28, onboarding.steps[4].after[1]: 'ofer' is not a step of this flow."),
        ("[tips, offer]", "tips", "line 28, onboarding.steps[4].after: 'tips' does not fit. Write a list"),
        ("- id: offer", "- id: tips", "line 21, onboarding.steps[3].id: 'tips' is used twice."),
        (
            "- id: onboarding",
            "- id: journey-7\n    journey: 8",
            "line 2, journey-7.id: 'journey-7' is the id of journey 7",
        ),
        ("campaign: c4", "campaign: c3", "line 27, onboarding.steps[4].campaign: campaign 'c3' belongs to onboarding."),
        (
            "after: [tips, offer]",
            "after: []",
            "line 28, onboarding.steps[4].after: 'goodbye' is a first step, but so is 'welcome'",
        ),
        (
            "default: true",
            "default: no",
            "line 11, onboarding.steps[1]: 'choice' leads to tips, offer, and none of them",
        ),
        ("status: paused", "default: yes", "line 11, onboarding.steps[1]: 'choice' leads to tips, offer, and several"),
        ("kind: branch", "campaign: c3", "line 22, onboarding.steps[3].campaign: campaign 'c3' belongs to"),
        ("kind: branch", "kind: branch\n        campaign: c9", "line 13, onboarding.steps[1].campaign: a branch sends"),
        ("campaign: 0123", "after: [goodbye]", "line 10, onboarding.steps[0].after: the steps "),
        ("until: 2026-03-01", "until: soon", "line 18, onboarding.steps[2].delay_history[0].until: 'soon' does not"),
        ("delay: 1 day}]", "delay: 1 day}, {until: 2026-01-01, delay: 0 days}]", "[1].until: 2026-01-01 is not after"),
        ("    trigger: signup", "    priority: 3", "line 6, onboarding.priority: is written twice. Keep one."),
        ("  - id: onboarding", "  - ident: x", "line 2, flows[0].id: is missing. Add it."),
        ("name: Onboarding", "name: [a", "line 4: is not YAML"),
        (
            "priority: 10",
            "released_by: driptune",
            "line 5, onboarding.released_by: nothing says how people are let in.",
        ),
        (
            "priority: 10",
            "released_by: driptune\n    deliver: {field: ROUTE}",
            "line 5, onboarding.released_by: nothing says how people are let in.",
        ),
        ("priority: 10", "wait_field: WAIT", "line 5, onboarding.wait_field: driptune does not let people into this"),
        ("flows:", "flow:", "line 1, flow: is not a known field."),
        ("name: Onboarding", "name: &a [*a]", "line 3: is not YAML: an anchor refers to itself."),
        ("name: Onboarding", "name: \x01", "is not YAML: it contains a control character"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(tmp_path, old, new, said):
    assert old in FLOWS
    problems = mistakes(tmp_path, FLOWS.replace(old, new, 1))
    assert any(said in problem for problem in problems), problems
    assert all(problem.startswith("flows.yaml") for problem in problems)


def test_all_mistakes_of_a_file_are_told_at_once_by_line(tmp_path):
    text = FLOWS.replace("delay: 1 hour", "delay: 1").replace("priority: 10", "priority: x") + "  - id: onboarding\n"
    problems = mistakes(tmp_path, text)
    assert [problem.split(",")[1] for problem in problems] == [" line 5", " line 13"]
    assert len(mistakes(tmp_path, FLOWS + "  - id: onboarding\n")) == 1


def test_a_file_that_is_no_text_says_so(tmp_path):
    (tmp_path / "flows.yaml").write_bytes(b"flows: \xff")
    with pytest.raises(DefinitionsError, match="is not UTF-8 text"):
        load_flow_map(tmp_path)


def aliases(levels: int, width: int) -> str:
    """Lists of lists: each holds the one before `width` times."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels))]
    return "\n".join([*lines, f"flows: *a{levels - 1}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (aliases(40, 10), "flows.yaml, line 6: is not YAML: with its aliases it holds more than 100,000 values"),
        (aliases(3_000, 1), "flows.yaml, line 49: is not YAML: it is nested deeper than 50 levels"),
        ("flows: " + "[" * 3_000 + "]" * 3_000, "flows.yaml, line 1: is not YAML: it is nested deeper than 50 levels"),
        ("flows:\n" + "\n".join(f"{' ' * n}- " for n in range(3_000)), "line 51: is not YAML: it is nested deeper"),
        ("\n".join(f"{' ' * n}k{n}:" for n in range(3_000)), "line 51: is not YAML: it is nested deeper"),
        ("{a: " * 3_000 + "}" * 3_000, "flows.yaml, line 1: is not YAML: it is nested deeper than 50 levels"),
        ("flows: &a [*a]", "flows.yaml, line 1: is not YAML: an anchor refers to itself"),
    ],
    ids=["many aliases", "deep aliases", "brackets", "dashes", "keys", "braces", "loop"],
)
def test_what_would_never_end_is_refused_in_a_sentence(tmp_path, text, said):
    (mistake,) = mistakes(tmp_path, text)
    assert said in mistake


def test_ordinary_aliases_are_followed(tmp_path):
    (tmp_path / "mutes.yaml").write_text("mutes:\n- &one {metric: sent, until: 2026-03-01, reason: known}\n- *one\n")
    assert load_mutes(tmp_path).height == 2


def ten(strategy: st.SearchStrategy) -> st.SearchStrategy[list]:
    """Ten at once: drawing an example costs more than reading it."""
    return st.lists(strategy, min_size=10, max_size=10)


UNITS = st.sampled_from([("hour", 1), ("day", 24), ("week", 168)])


@settings(max_examples=100, deadline=None)
@given(ten(st.tuples(st.integers(0, 10_000), UNITS, st.sampled_from(["", "s"]))))
def test_a_duration_is_its_hours(examples):
    for number, (name, hours), plural in examples:
        assert parse_duration(f"{number} {name}{plural}") == parse_duration(f" {number}{name}s ") == number * hours
        assert parse_duration(f"{number}.5 {name}") == -(-(2 * number + 1) * hours // 2)


@settings(max_examples=100, deadline=None)
@given(ten(st.text() | st.none() | st.integers() | st.lists(st.text(max_size=2))))
def test_anything_else_is_no_duration(values):
    for value in values:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(value)


graphs = st.lists(st.sets(st.integers(0, 5), max_size=3), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(graphs)
def test_a_flow_is_accepted_exactly_if_it_is_one_graph_without_circles(sources):
    """Against a walk from the roots in plain Python."""
    after = [[f"s{source}" for source in sorted(above) if source < len(sources)] for above in sources]
    targets = {f"s{i}": [f"s{j}" for j, above in enumerate(after) if f"s{i}" in above] for i in range(len(after))}
    defaults = {below[0] for below in targets.values() if len(below) > 1}
    steps = [{"id": f"s{i}", "after": above, "default": f"s{i}" in defaults} for i, above in enumerate(after)]
    roots = [step["id"] for step in steps if not step["after"]]
    reached, reach = set(), list(roots)
    incoming = {step["id"]: len(step["after"]) for step in steps}
    while reach:
        here = reach.pop()
        reached.add(here)
        for target in targets[here]:
            incoming[target] -= 1
            if not incoming[target]:
                reach.append(target)
    unambiguous = all(len(below) < 2 or len(defaults.intersection(below)) == 1 for below in targets.values())
    try:
        flow = FlowMap.model_validate({"flows": [{"id": "f", "steps": steps}]}).flows[0]
    except ValueError:
        accepted = False
    else:
        accepted = True
        assert next(iter(TopologicalSorter(flow.predecessors()).static_order())) == roots[0]
        assert flow.successors() == targets
    assert accepted == (len(reached) == len(steps) and len(roots) == 1 and unambiguous)


# Dimensions


def test_classic_automations_and_single_campaigns_need_no_map():
    made = dimensions(
        FlowMap(),
        automations("w1", title="Welcome"),
        emails(("w1", "e2", 2, 23.5), ("w1", "e1", 1, None)),
        campaigns(
            ("e1", "automation-email", "sending", 5),
            ("c1", "regular", "sent", 5),
            ("c2", "regular", "save", 0),
            ("c3", "regular", "save", 1),
        ),
        SETTINGS,
    )
    assert made.workflows.select("workflow_id", "kind", "name").rows() == [
        ("w1", "automation", "Welcome"),
        ("c1", "campaign", "News"),
        ("c3", "campaign", "News"),
    ]
    assert made.steps.select("workflow_id", "step_id", "campaign_id", "position").rows() == [
        ("w1", "e1", "e1", 1),
        ("w1", "e2", "e2", 2),
        ("c1", "c1", "c1", 1),
        ("c3", "c3", "c3", 1),
    ]
    assert edges_of(made) == [("e1", "e2", 1, 24, SETTINGS.default_grace_hours, True)]
    assert made.steps["step_key"].is_unique().all()


def test_a_listed_automation_gains_names_and_keeps_what_the_map_leaves_out(tmp_path):
    listed = load(
        tmp_path, "flows: [{id: w1, name: Hello, goal: purchase, steps: [{id: e1, name: First, delay: 1 day}]}]"
    )
    made = dimensions(listed, automations("w1"), emails(("w1", "e1", 1, 5), ("w1", "e2", 2, 3)), campaigns(), SETTINGS)
    assert made.workflows.select("name", "kind", "trigger", "goal_event_type").rows() == [
        ("Hello", "automation", "welcome", "purchase")
    ]
    assert made.steps.select("step_id", "name", "campaign_id").rows() == [("e1", "First", "e1"), ("e2", "e2", "e2")]
    assert [edge[:4] for edge in edges_of(made)] == [("e1", "e2", 1, 3)]


def test_every_campaign_belongs_to_one_step(tmp_path):
    taken = load(tmp_path, "flows: [{id: mine, steps: [{id: a, campaign: e1}, {id: b, campaign: c1}]}]")
    made = dimensions(
        taken,
        automations("w1"),
        emails(("w1", "e1", 1, 0), ("w1", "e2", 2, 0)),
        campaigns(("c1", "regular", "sent", 1), ("e1", "automation-email", "sending", 1)),
        SETTINGS,
    )
    assert made.steps.select("workflow_id", "campaign_id").rows() == [("mine", "e1"), ("mine", "c1"), ("w1", "e2")]


def test_a_paused_automation_is_paused_and_a_flow_of_nothing_is_refused(tmp_path):
    paused = automations("w1", status="paused")
    made = dimensions(FlowMap(), paused, emails(("w1", "e1", 1, 0)), campaigns(), SETTINGS)
    assert made.workflows["status"].to_list() == ["paused"]
    with pytest.raises(SourceError, match="'ghost' has no steps"):
        dimensions(load(tmp_path, "flows: [{id: ghost}]"), paused, emails(), campaigns(), SETTINGS)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=20))
def test_the_first_flow_map_loads_whatever_the_titles_and_changes_nothing(tmp_path_factory, title):
    told = (
        automations("w1", "w2", title=title),
        emails(("w1", "e1", 1, 0), ("w1", "e2", 2, 30.5)).with_columns(title=pl.lit(title)),
        campaigns(("j1", "automation-email", "sending", 3), ("c1", "regular", "sent", 3), title=title),
    )
    text = initial_flow_map(*told)
    drafted = load(tmp_path_factory.mktemp("drafted"), text)
    assert [flow.id for flow in drafted.flows] == ["w1", "w2"]
    assert "j1" in text
    assert "c1" not in text
    for table in ("steps", "edges"):
        columns = ["step_key", "campaign_id"] if table == "steps" else ["from_step_key", "to_step_key", "delay_hours"]
        bare, mapped = (getattr(dimensions(one, *told, SETTINGS), table) for one in (FlowMap(), drafted))
        assert bare.select(columns).rows() == mapped.select(columns).rows()


def test_the_first_flow_map_of_an_empty_account_loads(tmp_path):
    assert load(tmp_path, initial_flow_map(automations(), emails(), campaigns())) == FlowMap()


# Zones
