"""Charts as Vega-Lite data, and their drawing as SVG. What a chart is for is decided where it is asked for."""
