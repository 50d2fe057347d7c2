"""Charts: rows of one published table in, a `Figure` (Vega-Lite data) out, and its drawing as SVG."""
