"""A figure as Dagster shows it: an image inside the metadata of an asset, which needs no network."""

import base64

import dagster as dg

from pipeline.charts.drawing import drawn
from pipeline.charts.vega import Figure
from pipeline.common.words import markdown_text


def image(figure: Figure | None) -> dict[str, dg.MarkdownMetadataValue]:
    """The metadata entry `chart` with the figure below its label; empty where there is no figure."""
    if figure is None:
        return {}
    # An image cannot take the colours of the page around it, so it brings its own paper.
    svg = drawn(figure).replace("<svg", '<svg style="background: white"', 1)
    encoded = base64.b64encode(svg.encode()).decode()
    label = markdown_text(figure.label)
    return {"chart": dg.MetadataValue.md(f"{label}\n\n![chart](data:image/svg+xml;base64,{encoded})")}
