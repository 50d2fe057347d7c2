"""The base of every table model. The tables are in the sibling modules, one for each room of the pipeline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any, TypeVar

import pandera.polars as pa
import polars as pl

from pipeline.schemas.columns import method_name, tonight

Timestamp = Annotated[pl.Datetime, "us", None]
Amount = Annotated[pl.Decimal, 18, 2]
Squares = Annotated[pl.Decimal, 38, 0]
WORKFLOW = "Workflow: the id of a flow in flows.yaml, or Mailchimp's id of an automation or campaign."
STEP = "Step: its id in flows.yaml, or Mailchimp's id of the e-mail or campaign. Unique within its workflow."
SUBSCRIBER = "Subscriber: a keyed hash of Mailchimp's member id. It is the same person in every table."


class Table(pa.DataFrameModel):
    """One table. Its docstring says what a row is; each column carries its meaning and its unit."""

    class Config:
        """Columns are exactly the declared ones, in any order."""

        strict = True
        coerce = False

    def __init_subclass__(cls, *, is_stamped: bool = False, **options: Any) -> None:
        """Puts both ends of its interval behind each column that is declared with one.

        With `is_stamped` the night and the method behind the row are the last columns.
        """
        kinds: dict[str, Any] = {}
        for name, kind in vars(cls).get("__annotations__", {}).items():
            kinds[name] = kind
            of = vars(cls)[name]
            if interval := of.metadata.get("interval"):
                for side, end in (("Lower", f"{name}_low"), ("Upper", f"{name}_high")):
                    meaning = f"{side} end of the interval of `{name}` ({interval})."
                    meaning += f" Null where `{name}` is null." if of.nullable else ""
                    field: Any = pa.Field(nullable=of.nullable, description=meaning, metadata=of.metadata)
                    field.checks = of.checks
                    field.__set_name__(cls, end)
                    setattr(cls, end, field)
                    kinds[end] = kind
        if is_stamped:
            for name, stamp, kind in (("as_of_day", tonight(), pl.Date), ("method", method_name(), pl.String)):
                stamp.__set_name__(cls, name)
                setattr(cls, name, stamp)
                kinds[name] = kind
        cls.__annotations__ = kinds
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Identity:
    """Where a table lives and which columns identify a row.

    `partition` names the instant column whose UTC day is the row's partition. Without it the partition is the night
    that read the row.
    """

    schema: str
    name: str
    natural_key: tuple[str, ...]
    partition: str | None = None

    @property
    def qualified_name(self) -> str:
        """`schema.table`, as SQL writes it."""
        return f"{self.schema}.{self.name}"


# What pandera's checks ask of a value, by their names. A null passes them.
_HOLDS: dict[str | None, Callable[..., pl.Expr]] = {
    "greater_than": lambda value, min_value: value > min_value,
    "greater_than_or_equal_to": lambda value, min_value: value >= min_value,
    "less_than_or_equal_to": lambda value, max_value: value <= max_value,
    "isin": lambda value, allowed_values: value.is_in(list(allowed_values)),
}

FAMILIES = (
    "cohorts",
    "core",
    "decisions",
    "experiments",
    "lake",
    "loop",
    "monitoring",
    "performance",
    "reductions",
    "timing",
    "journeys.lake",
    "journeys.marts",
)
"""Modules of this package that declare tables, in the order in which tables are listed."""

Model = TypeVar("Model", bound=Table)
_IDENTITIES: dict[type[Table], Identity] = {}


def table(
    name: str, natural_key: tuple[str, ...], partition: str | None = None
) -> Callable[[type[Model]], type[Model]]:
    """Class decorator that registers a model as the table `schema.name`."""

    def register(model: type[Model]) -> type[Model]:
        schema, _, short = name.partition(".")
        _IDENTITIES[model] = Identity(schema, short, natural_key, partition)
        return model

    return register


def identity(model: type[Table]) -> Identity:
    """Where the model's table lives and which columns identify a row."""
    return _IDENTITIES[model]


def find(schema: str, name: str) -> type[Table]:
    """The model registered as the table `schema.name`.

    Raises:
        KeyError: if no model is registered under that name.
    """
    for model in tables_of(schema):
        if identity(model).name == name:
            return model
    raise KeyError(f"No table {schema}.{name} is declared in pipeline/schemas.")


def tables_of(schema: str) -> list[type[Table]]:
    """Every model of a schema, in the order of declaration."""
    modules = [import_module(f"pipeline.schemas.{family}").__name__ for family in FAMILIES]
    declared = sorted(_IDENTITIES, key=lambda model: modules.index(model.__module__))
    return [model for model in declared if identity(model).schema == schema]


def polars_schema(model: type[Table]) -> dict[str, pl.DataType]:
    """Column names and Polars types of a table, in the declared order."""
    return {name: spec.dtype.type for name, spec in model.to_schema().columns.items()}


def empty(model: type[Table]) -> pl.DataFrame:
    """A frame of no rows with the table's columns."""
    return pl.DataFrame(schema=polars_schema(model))


def latest(versions: pl.LazyFrame, model: type[Table]) -> pl.LazyFrame:
    """One row per natural key of all versions: that of the latest night, and of several in one night the greatest.

    Rows of one key are compared by their columns in the declared order.
    """
    natural_key = identity(model).natural_key
    order = [name for name in polars_schema(model) if name not in natural_key and name != "as_of_day"]
    return versions.sort("as_of_day", *order).unique(list(natural_key), keep="last", maintain_order=True)


def conform(frame: pl.DataFrame, model: type[Table]) -> pl.DataFrame:
    """The frame with exactly the table's columns, in order and type; a missing nullable column becomes null.

    Raises:
        pandera.errors.SchemaErrors: if a value breaks the contract, listing every failure.
    """
    columns, held = polars_schema(model), set(frame.columns)
    nullable = {name for name, spec in model.to_schema().columns.items() if spec.nullable}
    present = [
        pl.col(name).cast(dtype) if name in held else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in columns.items()
        if name in held or name in nullable
    ]
    selected = frame.select(present)
    if set(selected.columns) == set(columns) and not _breaks_contract(selected, model):
        return selected
    return model.validate(selected, lazy=True)


def _breaks_contract(frame: pl.DataFrame, model: type[Table]) -> bool:
    """Whether any value breaks the contract, found in one pass over the frame.

    Pandera makes a pass for each column and check, which was a fifth of a small night. It is asked only for what it
    would refuse, and then says which rows.
    """
    breaches = _breaches(model)
    return breaches is None or any(frame.select(breaches).row(0))


@cache
def _breaches(model: type[Table]) -> list[pl.Expr] | None:
    """Whether each column and check finds a value that it refuses; none if a check is pandera's alone."""
    broken = []
    for name, spec in model.to_schema().columns.items():
        value = pl.col(name)
        broken += [] if spec.nullable else [value.is_null()]
        for check in spec.checks:
            holds = _HOLDS.get(check.name)
            if holds is None:
                return None
            broken.append(~holds(value, **check.statistics))
    return [found.any().alias(str(place)) for place, found in enumerate(broken)]


def describe_columns(model: type[Table]) -> Iterator[tuple[str, str, str, str]]:
    """Name, DuckDB-like type, unit and meaning of every column."""
    for name, spec in model.to_schema().columns.items():
        yield name, str(spec.dtype), (spec.metadata or {}).get("unit", ""), spec.description or ""
