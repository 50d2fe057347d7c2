"""When to send and how long to wait."""

import polars as pl

from pipeline.reports.pages import cells
from pipeline.reports.pages.figures import delay_figure
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Figure, Section

TRANSITION = ["from_step_id", "to_step_id"]


def delays(flow: Flow) -> Section | None:
    """Conversion by delay at the transition whose delays differ most surely."""
    curves = _most_telling(flow.rows("delay_curves")).sort("delay_hours")
    specification = delay_figure(curves)
    if specification is None:
        return None
    first = curves.row(0, named=True)
    way = f"{flow.step_name(first['from_step_id'])} → {flow.step_name(first['to_step_id'])}"
    words = (
        f"{way}: conversion by assigned delay, {first['identification']}. Only delays that were used are compared; "
        "bars are 97.5% intervals."
    )
    table = [
        [
            cells.hours(row["delay_hours"]),
            Cell("now" if row["is_current"] else ""),
            cells.number(row["conversions"]),
            cells.number(row["entrants"]),
            cells.rate(row, "conversion_rate"),
            cells.lift(_less_one(row["ratio_to_current"]), *map(_less_one, _ends(row))),
        ]
        for row in curves.iter_rows(named=True)
    ]
    header = ("delay", "in use", "converted", "entrants", "conversion (97.5%)", "against now")
    return Section("delays", "How long to wait", words, header, table, Figure(specification, words), "delay_curves")


def _most_telling(curves: pl.DataFrame) -> pl.DataFrame:
    """The transition whose delays differ most surely; the one with most entrants, where none can be compared."""
    known = curves.filter(pl.col("conversion_rate").is_not_null())
    sizes = known.group_by(TRANSITION).agg(pl.col("better_probability").max(), pl.col("entrants").sum())
    order = ["better_probability", "entrants", *TRANSITION]
    best = sizes.sort(order, descending=[True, True, False, False], nulls_last=True).head(1)
    return curves.join(best.select(TRANSITION), on=TRANSITION, how="semi")


def _ends(row: dict[str, float | None]) -> tuple[float | None, float | None]:
    return row["ratio_to_current_low"], row["ratio_to_current_high"]


def _less_one(ratio: float | None) -> float | None:
    return None if ratio is None else ratio - 1
