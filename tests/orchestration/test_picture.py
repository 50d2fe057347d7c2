"""A figure in Dagster's metadata: an image that fetches nothing, below a label that is text."""

import base64
from xml.etree import ElementTree

import polars as pl

from pipeline.charts.vega import figure, mark, quantity
from pipeline.orchestration.picture import image

FIGURE = figure(
    "![x](https://evil.example/x.png)", pl.DataFrame({"n": [1.0, 2.0]}), mark("point", {"x": quantity("n")})
)


def test_a_figure_is_an_image_below_its_label() -> None:
    told = image(FIGURE)["chart"].md_str
    assert told is not None
    label, _, rest = told.partition("\n\n")
    assert label == r"\!\[x\]\(https\:\/\/evil\.example\/x\.png\)"
    prefix = "![chart](data:image/svg+xml;base64,"
    assert rest.startswith(prefix)
    svg = base64.b64decode(rest.removeprefix(prefix).removesuffix(")"))
    assert ElementTree.fromstring(svg).attrib["style"] == "background: white"
    assert b"href" not in svg.replace(b"xmlns:xlink", b"")


def test_without_a_figure_there_is_no_entry() -> None:
    assert image(None) == {}
