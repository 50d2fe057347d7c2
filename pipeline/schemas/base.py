"""The base of every table model and the kinds of column that the tables are built from.

The tables themselves live in the sibling modules, one for each room of the pipeline.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import pandera.polars as pa
import polars as pl

from pipeline.schemas.vocabulary import words

Timestamp = Annotated[pl.Datetime, "us", None]
Amount = Annotated[pl.Decimal, 18, 2]
SHARE = "share, 0-1"
WORKFLOW = "Workflow: the id of a flow in flows.yaml, or Mailchimp's id of an automation or campaign."
STEP = "Step: its id in flows.yaml, or Mailchimp's id of the e-mail or campaign. Unique within its workflow."
SUBSCRIBER = "Subscriber: a keyed hash of Mailchimp's member id. It is the same person in every table."


class Table(pa.DataFrameModel):
    """One table. Its docstring says what a row is; each column carries its meaning and its unit."""

    class Config:
        """Columns are exactly the declared ones, in any order."""

        strict = True
        coerce = False


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
    for model, found in _IDENTITIES.items():
        if (found.schema, found.name) == (schema, name):
            return model
    raise KeyError(f"No table {schema}.{name} is declared in pipeline/schemas.")


def tables_of(schema: str) -> list[type[Table]]:
    """Every registered model of a schema, in the order of declaration."""
    return [model for model, found in _IDENTITIES.items() if found.schema == schema]


def column(description: str, unit: str = "", *, nullable: bool = False, **checks: Any) -> Any:
    """A column with its meaning and unit; keyword checks are pandera's (`ge`, `le`, `isin`, ...)."""
    return pa.Field(description=description, nullable=nullable, metadata={"unit": unit}, **checks)


def key(description: str, *, nullable: bool = False) -> Any:
    """An identifier."""
    return column(description, "id", nullable=nullable)


def count(description: str, *, nullable: bool = False) -> Any:
    """A number of things, never negative."""
    return column(description, "count", ge=0, nullable=nullable)


def instant(description: str, *, nullable: bool = False) -> Any:
    """A moment as microseconds since 1970-01-01 UTC."""
    return column(description, "epoch microseconds, UTC", nullable=nullable)


def day_number(description: str) -> Any:
    """A UTC day as days since 1970-01-01."""
    return column(description, "days since 1970-01-01, UTC")


def utc_day(description: str, *, nullable: bool = False) -> Any:
    """A UTC day as a date."""
    return column(description, "date, UTC", nullable=nullable)


def tonight() -> Any:
    """The night that computed the row."""
    return utc_day("The night that computed the row, named by the last UTC day whose data were used.")


def method_name() -> Any:
    """The name of the method behind the row."""
    return column("Name of the method that computed the row.")


def share(description: str, *, nullable: bool = True) -> Any:
    """A rate or probability; null where its denominator is zero."""
    return column(description, SHARE, nullable=nullable, ge=0.0, le=1.0)


def low(of: str, interval: str = "95% Wilson interval", unit: str = SHARE, **checks: Any) -> Any:
    """The lower end of the interval of the column `of`, which is a share unless another unit is given."""
    return _end("Lower", of, interval, unit, checks)


def high(of: str, interval: str = "95% Wilson interval", unit: str = SHARE, **checks: Any) -> Any:
    """The upper end of the interval of the column `of`, which is a share unless another unit is given."""
    return _end("Upper", of, interval, unit, checks)


def _end(side: str, of: str, interval: str, unit: str, checks: dict[str, Any]) -> Any:
    limits = {"nullable": True, **({"ge": 0.0, "le": 1.0} if unit == SHARE else {}), **checks}
    is_null = " Null where that is null." if limits["nullable"] else ""
    return column(f"{side} end of the {interval} of `{of}`.{is_null}", unit, **limits)


def word(description: str, kind: Any, *, nullable: bool = False) -> Any:
    """A word of one closed set of `pipeline.schemas.vocabulary`; the meaning lists all words of the set."""
    allowed = words(kind)
    listed = ", ".join(f"'{one}'" for one in allowed)
    return column(f"{description} One of {listed}.", nullable=nullable, isin=list(allowed))


def polars_schema(model: type[Table]) -> dict[str, pl.DataType]:
    """Column names and Polars types of a table, in the declared order."""
    return {name: spec.dtype.type for name, spec in model.to_schema().columns.items()}


def empty(model: type[Table]) -> pl.DataFrame:
    """A frame of no rows with the table's columns."""
    return pl.DataFrame(schema=polars_schema(model))


def conform(frame: pl.DataFrame, model: type[Table]) -> pl.DataFrame:
    """The frame with exactly the table's columns, in order and type; a missing nullable column becomes null.

    Raises:
        pandera.errors.SchemaErrors: if a value breaks the contract, listing every failure.
    """
    columns = polars_schema(model)
    nullable = {name for name, spec in model.to_schema().columns.items() if spec.nullable}
    present = [
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in columns.items()
        if name in frame.columns or name in nullable
    ]
    return model.validate(frame.select(present), lazy=True)


def describe_columns(model: type[Table]) -> Iterator[tuple[str, str, str, str]]:
    """Name, DuckDB-like type, unit and meaning of every column."""
    for name, spec in model.to_schema().columns.items():
        yield name, str(spec.dtype), (spec.metadata or {}).get("unit", ""), spec.description or ""
