"""Rows of the performance table that set ours beside others: P1 in whole processes, P2, P3, P4, P9 and P10."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.bench.peers import dbt
from tests.acceptance.bench.peers.engines import ENGINES
from tests.acceptance.bench.peers.facts import REDUCTIONS, export
from tests.acceptance.bench.rows import NIGHTS, Account, Measured, Row, differing_rows, run
from tests.acceptance.spark import compare

MOST_OF_PEER = {"pandas": 1 / 4, "postgresql": 1 / 8, "spark": 1 / 3}
BEST_OF = ("duckdb", "polars", "chdb")
MOST_OF_BEST = 1.3
MOST_OF_DECODING = {"step_days": 12, "funnel_transitions": 20, "cohort_cells": 5, "hours_of_week": 9}
MOST_OF_LOCAL = 1.4
MILLION = 1_000_000


def whole_processes(account: Account) -> Row:
    """P1: all models under Dagster as the product starts them, against `dbt run` of the same SQL."""
    measure = f"all models at {account.label} as a whole process with Dagster's start / `dbt run` of the same SQL"
    if reason := dbt.missing():
        return not_run("P1", measure, reason, "< 1")
    data = account.folder / "dagster"
    file = data / "warehouse" / "working.duckdb"
    file.parent.mkdir(parents=True)
    (data / "lake").symlink_to(account.lake)
    run("prepare", events=account.events, file=str(file))
    ours = run("build_with_dagster", data=str(data))
    peer_file = account.new_file("dbt")
    run("prepare_views", file=str(peer_file), lake=str(account.lake))
    peer = dbt.build(peer_file, account.folder / "dbt")
    if differing := differing_rows(file, peer_file):
        raise RuntimeError(f"dbt computes something else: {differing} rows differ.")
    shutil.rmtree(data)
    peer_file.unlink()
    ratio = ours.process.seconds / peer.seconds
    told = f"{measure} ({ours.process} / {peer})"
    return Row("P1", told, f"{ratio:.2f}", "< 1", ratio < 1)


def beside_peers(account: Account, file: Path) -> Iterator[Row]:
    """P2, P3, P4 and P10: the core reductions of the same facts in Parquet, by every engine that is here."""
    facts = account.folder / "facts"
    export(file, facts)
    left_out = {name: reason for name in ENGINES if (reason := _why_left_out(name, account))}
    measured = {name: run("reduce", engine=name, facts=str(facts)) for name in ENGINES if name not in left_out}
    shutil.rmtree(facts)
    for name, one in measured.items():
        if name != "decoding" and (wrong := _differing(measured["ours"], one)):
            raise RuntimeError(f"{ENGINES[name].label} computes something else: {', '.join(wrong)}.")
    for name, most in MOST_OF_PEER.items():
        measure = f"four reductions of facts at {account.label} / {ENGINES[name].label}"
        hold_to = f"<= 1/{1 / most:.0f} at 10M"
        if name in left_out:
            yield not_run("P2", measure, left_out[name], hold_to)
        else:
            ratio = _sum(measured["ours"]) / _sum(measured[name])
            told = f"{measure} ({_sum(measured['ours']):.2f} s / {_sum(measured[name]):.2f} s)"
            yield Row("P2", told, f"1/{1 / ratio:.1f}", hold_to, _from(10, account, ratio <= most))
    yield from _reductions(account, measured, left_out)
    measure = f"{ENGINES['spark_cluster'].label} at {account.label} / on local[2], sum of the reductions"
    hold_to = f"<= {MOST_OF_LOCAL} at 10M"
    if "spark_cluster" in left_out:
        yield not_run("P10", measure, left_out["spark_cluster"], hold_to)
    else:
        ratio = _sum(measured["spark_cluster"]) / _sum(measured["spark"])
        yield Row("P10", measure, f"{ratio:.2f}", hold_to, _from(10, account, ratio <= MOST_OF_LOCAL))


def equal_on_spark(account: Account) -> Row:
    """P9: all core facts and reductions on Spark and on DuckDB: a full build and nights, one of which tells late."""
    measure = f"all models on Spark against DuckDB at {account.label}, full and {NIGHTS} nights with a late day"
    if reason := _why_left_out("spark", account):
        return not_run("P9", measure, reason, "0 rows")
    folder = account.folder / "spark"
    builds = list(compare(account.events, account.lake, folder))
    shutil.rmtree(folder)
    differing = [build.differing for build in builds]
    told = f"{', '.join(map(str, differing))} rows differ"
    full = f"{measure} (the full build took {builds[0].spark_seconds:.0f} s and {builds[0].duckdb_seconds:.0f} s)"
    return Row("P9", full, told, "0 rows", not any(differing))


def not_run(number: str, measure: str, reason: str, hold_to: str) -> Row:
    """The row of a peer that is not here."""
    return Row(number, measure, f"not run: {reason}", hold_to, None)


def _reductions(account: Account, measured: dict[str, Measured], left_out: dict[str, str]) -> Iterator[Row]:
    here = [name for name in BEST_OF if name in measured]
    without = "".join(f"; not run: {left_out[name]}" for name in BEST_OF if name in left_out)
    for name, title in REDUCTIONS.items():
        seconds = {engine: one.figures[name]["seconds"] for engine, one in measured.items()}
        best = min(here, key=seconds.__getitem__)
        ratio = seconds["ours"] / seconds[best]
        each = ", ".join(f"{ENGINES[engine].label} {seconds[engine]:.2f}" for engine in here)
        measure = f"{title} at {account.label} ({seconds['ours']:.2f} s) / the best of {each} s{without}"
        yield Row("P3", measure, f"{ratio:.1f}", f"<= {MOST_OF_BEST}", ratio <= MOST_OF_BEST)
    for name, title in REDUCTIONS.items():
        ratio = measured["ours"].figures[name]["seconds"] / measured["decoding"].figures[name]["seconds"]
        measure, most = f"{title} at {account.label} / decoding the columns used", MOST_OF_DECODING[name]
        yield Row("P4", measure, f"{ratio:.1f}", f"<= {most} at 100M", _from(100, account, ratio <= most))


def _why_left_out(name: str, account: Account) -> str | None:
    engine = ENGINES[name]
    if account.events > engine.most_events:
        return (
            f"it is compared up to {engine.most_events // MILLION}M, beyond which it takes more than this machine has"
        )
    return engine.missing()


def _differing(ours: Measured, peer: Measured) -> list[str]:
    return [name for name in REDUCTIONS if ours.figures[name]["rows"] != peer.figures[name]["rows"]]


def _sum(measured: Measured) -> float:
    return sum(figures["seconds"] for figures in measured.figures.values())


def _from(millions: int, account: Account, holds: bool) -> bool | None:
    return holds if account.events >= millions * MILLION else None
