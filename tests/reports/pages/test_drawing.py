"""The drawing of a flow: each step below those that lead to it, whatever leads back."""

import html
import re
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.pages.connected import Connected
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.sections.drawing import drawing
from pipeline.reports.pages.site import file_name, write_pages
from tests.worlds.published import ADDRESS, TONIGHT, account, row

STEPS = ("a", "b", "c", "d", "e", "f")
ways = st.sets(st.tuples(st.sampled_from(STEPS), st.sampled_from(STEPS)), min_size=1, max_size=12)


@given(ways)
def test_every_step_is_drawn_once_below_what_leads_to_it(ways: set[tuple[str, str]]) -> None:
    steps = [row("steps", workflow_id="w", step_id=one, name=one, position=place) for place, one in enumerate(STEPS)]
    funnel = [row("funnel", workflow_id="w", from_step_id=start, to_step_id=end) for start, end in sorted(ways)]
    tables = {
        "steps": pl.concat(steps),
        "funnel": pl.concat(funnel),
        "step_metrics": row("step_metrics").clear(),
        "anomalies": row("anomalies").clear(),
    }
    drawn = drawing(Flow("w", "w", tables.__getitem__, Connected(False, False), TONIGHT), None, "28d")
    assert drawn is not None
    level = {node.name: depth for depth, layer in enumerate(drawn.layers) for node in layer}
    assert sorted(node.name for layer in drawn.layers for node in layer) == sorted(STEPS)
    assert all(level[start] < level[end] for start, end in ways if start < end)
    assert sum(len(node.edges) for layer in drawn.layers for node in layer) == len(ways)


def test_a_step_shows_its_mail_and_who_was_lost_before_it(tmp_path: Path) -> None:
    write_pages(account([("welcome", "Welcome")]), [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
    [flow] = re.findall(r'<section id="flow"(.*?)</section>', text, re.DOTALL)
    first, second = (
        " ".join(html.unescape(re.sub(r"<[^>]+>", " ", layer)).split())
        for layer in re.findall(r'<li class="layer">(.*?)</li>', flow, re.DOTALL)
    )
    mail = "delivered 1,200 clicked 20.0% converted 0.0% revenue 0"
    assert first == f"hello {mail} offer {mail}"  # nothing leads to these
    assert second == f"from hello · 0 h · 100 waiting · 21.0% lost tips {mail}"
    assert 'title="15.0% to 26.0%"' in flow


def test_a_step_shows_what_its_mail_says_in_the_inbox() -> None:
    mail = row("steps", workflow_id="w", step_id="a", name="Hello", subject="Hello", preview="Nice to meet you")
    tables = {
        "steps": pl.concat(
            [mail, row("steps", workflow_id="w", step_id="b", name="Route", subject=None, preview=None)]
        ),
        "funnel": row("funnel", workflow_id="w", from_step_id="a", to_step_id="b"),
        "step_metrics": row("step_metrics").clear(),
        "anomalies": row("anomalies").clear(),
    }
    drawn = drawing(Flow("w", "w", tables.__getitem__, Connected(False, False), TONIGHT), None, "28d")
    assert drawn is not None
    assert [node.subject for layer in drawn.layers for node in layer] == ["Nice to meet you", ""]
