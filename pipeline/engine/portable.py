"""Lint of the portable subset: SQL that gives equal rows in DuckDB and Spark. Only listed constructs are allowed.

It lists what is allowed, because of 81 constructs that were tried 25 failed or gave different rows, and the transpiler
reported none of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp, parse_one

ALLOWED: tuple[type[exp.Expr], ...] = (
    # statements and clauses
    exp.Select, exp.With, exp.CTE, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Union, exp.Subquery,
    exp.Table, exp.TableAlias, exp.Column, exp.Identifier, exp.Alias, exp.Star, exp.Distinct, exp.Placeholder,
    exp.Window, exp.WindowSpec, exp.Order, exp.Ordered,
    # values and operators
    exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Like, exp.And, exp.Or, exp.Not,
    exp.Case, exp.If, exp.Coalesce, exp.Cast, exp.DataType, exp.DataTypeParam,
    # functions
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.Floor, exp.Lower, exp.Pad, exp.RowNumber,
)  # fmt: skip
# The whole numbers of 38 digits are for sums beyond 64 bits.
CAST_TARGETS = frozenset({"BIGINT", "TEXT", "VARCHAR", "DECIMAL(38, 0)"})


@dataclass(frozen=True)
class Violation:
    """One construct outside the portable subset: the file, the construct, and what to write instead."""

    file: str
    construct: str
    advice: str

    def __str__(self) -> str:
        """The violation as one line."""
        return f"{self.file}: {self.construct}: {self.advice}"


def lint(path: Path) -> list[Violation]:
    """Every construct of a SQL file that is outside the portable subset."""
    return [
        Violation(path.name, " ".join(node.sql(dialect="duckdb").split())[:80], advice)
        for node in parse_one(path.read_text(), dialect="duckdb").walk()
        for advice in _advice(node)
    ]


def _advice(node: exp.Expr) -> Iterator[str]:
    if type(node) not in ALLOWED:
        yield f"{type(node).__name__} is not in the portable subset: ALLOWED in pipeline/engine/portable.py."
    if isinstance(node, exp.Div) and not _is_nonzero_number(node.expression):
        yield "Divide by a number that is not zero: engines give different results for division by zero."
    if isinstance(node, exp.Join) and (node.side != "LEFT" or node.args.get("using") or not node.args.get("on")):
        yield "Write LEFT JOIN ... ON, from the fact to its dimensions."
    if isinstance(node, exp.Table) and not node.alias:
        yield "Name the table with AS: engines resolve unnamed tables differently."
    if isinstance(node, exp.Select) and not all(isinstance(projection, exp.Alias) for projection in node.expressions):
        yield "Give every column a name with AS."
    if isinstance(node, exp.Ordered) and not node.args.get("nulls_first"):
        yield "Write NULLS FIRST: engines have different defaults."
    if isinstance(node, exp.Window) and not (node.args.get("order") and (_is_rank(node) or _is_count_in_range(node))):
        yield "Use no window function but ROW_NUMBER, or COUNT(*) over a RANGE between numbers, with an explicit order."
    if isinstance(node, exp.Cast) and (type(node) is not exp.Cast or node.to.sql("duckdb") not in CAST_TARGETS):
        yield "Cast to BIGINT, DECIMAL(38, 0) or VARCHAR only: times and days are integers."
    if isinstance(node, exp.Union) and node.args.get("distinct"):
        yield "Write UNION ALL."
    if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
        yield "List the columns: a star changes with its table."


def _is_rank(window: exp.Window) -> bool:
    return isinstance(window.this, exp.RowNumber) and not window.args.get("spec")


def _is_count_in_range(window: exp.Window) -> bool:
    spec = window.args.get("spec")
    counts_rows = isinstance(window.this, exp.Count) and isinstance(window.this.this, exp.Star)
    if spec is None or not counts_rows or spec.args["kind"] != "RANGE":
        return False
    return all(isinstance(spec.args[side], exp.Literal) and not spec.args[side].is_string for side in ("start", "end"))


def _is_nonzero_number(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and float(node.this) != 0
