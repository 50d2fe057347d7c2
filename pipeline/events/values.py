"""What a text means as an instant or as an amount of money. Pure expressions; none of them raises."""

from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

# From here on neighbouring 64-bit floats lie more than a cent apart, so that the true amount cannot be told.
LARGEST_AMOUNT = 2**46
_LOCAL = r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ] *([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]{1,9}))?"
# An offset may be followed by its name, as in `+0200 CEST` or `+02:00[Europe/Vienna]`.
_ZONE_NAME = r"(?: *\[[^\]]*\]| +[A-Za-z]{2,5})?"
_OFFSET = rf" *(?:[Zz]|UTC|GMT|([+-])([0-9]{{2}})(?::?([0-9]{{2}}))?){_ZONE_NAME}"
_TIME = rf"^{_LOCAL}(?:{_OFFSET})?$"
_NAMED_ZONE = rf"^{_LOCAL} +([A-Z][A-Za-z]*(?:/[A-Za-z][A-Za-z0-9_+-]*)+)$"
# Seconds, milliseconds, microseconds or nanoseconds since 1970, of a day from 2001 to 2286: no number of digits but
# one fits each of them.
_SINCE_1970 = r"^@([0-9]{10}|[0-9]{13}|[0-9]{16}|[0-9]{19})(?:\.([0-9]*))?$"
_MICROSECOND_DIGITS = 16
_MINUTE_US = 60_000_000
_AMOUNT = r"^([+-]?)0*([0-9]{0,14})(?:\.([0-9]*))?$"
_POWER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,3}$"


def instant_of(text: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 of a time as databases write it, or null.

    Read are ISO 8601 times, with a space for the T and any way to write the offset, times with an IANA zone, and
    numbers since 1970 behind an @. A time without a zone is UTC; finer digits are cut off. A local time that its zone
    has twice or never is null.
    """
    told = text.str.extract_groups(_TIME)
    part = told.struct
    hours, minutes = _whole(part[5]), _whole(part[6])
    offset = (hours * 60 + minutes) * _MINUTE_US
    signed = pl.when(part[4] == "-").then(-offset).otherwise(offset)
    with_offset = pl.when((hours < 24) & (minutes < 60)).then(_local(told) - signed)
    rest = pl.when(with_offset.is_null()).then(text)
    zoned = rest.str.extract_groups(_NAMED_ZONE)
    in_zone = pl.struct(local=_local(zoned), zone=zoned.struct[4]).map_batches(_in_zones, return_dtype=pl.Int64)
    number = rest.str.extract_groups(_SINCE_1970).struct
    digits = (number[0] + number[1].fill_null("")).str.pad_end(_MICROSECOND_DIGITS, "0")
    return pl.coalesce(with_offset, in_zone, digits.str.slice(0, _MICROSECOND_DIGITS).cast(pl.Int64))


def names_a_zone(text: pl.Expr) -> pl.Expr:
    """Whether a time is told by a zone's name alone, so that it can be ambiguous."""
    return text.str.contains(_NAMED_ZONE)


def cents_of(text: pl.Expr) -> pl.Expr:
    """Cents of a decimal amount, or null; halves are rounded away from zero.

    The noise of floats lies far below a cent. An amount of `LARGEST_AMOUNT` or more is null.
    """
    part = text.str.extract_groups(_AMOUNT).struct
    fraction = part[2].fill_null("")
    digits = fraction.str.pad_end(3, "0")
    whole = _whole(part[1]) * 100 + digits.str.slice(0, 2).cast(pl.Int64)
    rounded = whole + (digits.str.slice(2, 1) >= "5").cast(pl.Int64)
    signed = pl.when(part[0] == "-").then(-rounded).otherwise(rounded)
    plain = pl.when(part[1].is_not_null() & text.str.contains("[0-9]")).then(signed)
    power = pl.when(text.str.contains(_POWER)).then(text).map_elements(_cents, return_dtype=pl.Int64)
    cents = pl.coalesce(plain, power)
    return pl.when(cents.abs() < LARGEST_AMOUNT * 100).then(cents)


def is_amount(text: pl.Expr) -> pl.Expr:
    """Whether a text is written as an amount, of any size."""
    return text.str.contains(r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$")


def _local(told: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 of the groups of `_LOCAL`, as if they were UTC."""
    part = told.struct
    seconds = part[2].fill_null(":00")
    moment = (part[0] + "T" + part[1] + seconds).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    return moment.dt.epoch("us") + _whole(part[3].str.pad_end(6, "0").str.slice(0, 6))


def _whole(digits: pl.Expr) -> pl.Expr:
    """The number of some digits; 0 if there are none."""
    return digits.cast(pl.Int64, strict=False).fill_null(0)


def _in_zones(times: pl.Series) -> pl.Series:
    """Instants of local times (struct of `local` in microseconds and `zone`); null where a zone has no single one."""
    frame = times.struct.unnest().with_row_index("place")
    parts = [frame.select("place", instant=pl.lit(None, dtype=pl.Int64)).clear()]
    for (zone,), rows in frame.filter(pl.col("zone").is_not_null()).partition_by("zone", as_dict=True).items():
        if _is_zone(str(zone)):
            moment = pl.col("local").cast(pl.Datetime("us"))
            zoned = moment.dt.replace_time_zone(str(zone), ambiguous="null", non_existent="null")
            parts.append(rows.select("place", instant=zoned.dt.epoch("us")))
    found = pl.concat(parts)
    return frame.join(found, on="place", how="left", maintain_order="left")["instant"]


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _cents(text: str) -> int | None:
    """Cents of an amount with a power of ten; none where they are beyond any amount."""
    cents = Decimal(text).scaleb(2)
    return int(cents.to_integral_value(ROUND_HALF_UP)) if abs(cents) < LARGEST_AMOUNT * 100 else None
