"""Text that people and other systems choose, where it becomes part of SQL or of a path into JSON."""

import json

import polars as pl


def literal(text: str) -> str:
    """A text as SQL writes it, between single quotes."""
    return "'" + text.replace("'", "''") + "'"


def json_field(objects: pl.Expr, name: str) -> pl.Expr:
    """The value of one field of JSON objects as text; null where the field is missing or null.

    Args:
        objects: JSON objects as text.
        name: the field's name, which people and other systems choose.

    Polars' paths know no escapes, so a name that no path can hold is looked up row by row.
    """
    for quote in ('"', "'"):
        if not {quote, "\\", "\n"} & set(name):
            return objects.str.json_path_match(f"$[{quote}{name}{quote}]")
    return objects.map_elements(lambda text: _value(text, name), return_dtype=pl.String)


def _value(text: str, name: str) -> str | None:
    value = json.loads(text).get(name)
    return value if value is None or isinstance(value, str) else json.dumps(value)
