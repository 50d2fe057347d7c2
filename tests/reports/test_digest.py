"""The morning in lines: what applied changes brought is told with its lift, harm first."""

import polars as pl

from pipeline.reports.digest import summary
from tests.worlds.published import Tables, account, row


def changes(*nights: dict[str, object]) -> list[str]:
    night = {"metric": "conversion", "role": "primary", "is_latest": True, "is_significant": True, "promised_lift": 0.3}
    rows = [row("realised_lift", **{**night, **given}) for given in nights]
    tables: Tables = {**account([("welcome", "Welcome")]), **({"realised_lift": pl.concat(rows)} if rows else {})}
    return [line for line in summary(tables, waiting=0) if line.startswith("  changes")]


WORKS = {"optimization_id": "a", "outcome": "works", "realised_lift": 0.4, "realised_lift_low": 0.2,
         "realised_lift_high": 0.6}  # fmt: skip
HARM = {"optimization_id": "b", "outcome": "harm", "realised_lift": -0.2, "realised_lift_low": -0.3,
        "realised_lift_high": -0.1}  # fmt: skip
OPEN = {"optimization_id": "c", "outcome": "measuring", "is_significant": False}


def test_what_works_is_told_with_its_promise() -> None:
    [line] = changes(WORKS, OPEN)
    assert line == "  changes     1 measuring, 1 works; a: conversion +40% (+20% to +60%), promised +30%"


def test_harm_is_told_before_what_works() -> None:
    [line] = changes(WORKS, HARM)
    assert line.endswith("b: conversion -20% (-30% to -10%), promised +30%")


def test_before_anything_is_applied_there_is_no_line() -> None:
    assert changes() == []
