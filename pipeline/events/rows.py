"""Raw event rows to typed ones by the event contract, and the reason for each row that breaks it. Pure; no file IO."""

import json
from dataclasses import dataclass

import polars as pl

from pipeline.common.personal import ADDRESS, HIDDEN, REMOVED, without_addresses, without_person
from pipeline.events.raw import run_sql
from pipeline.events.values import cents_of, instant_of, is_amount, names_a_zone
from pipeline.lake.keys import SubscriberKeys
from pipeline.schemas.base import polars_schema
from pipeline.schemas.lake import Events
from pipeline.settings import Settings

# Any other type means something only if a workflow has it as its goal.
MEANINGFUL_TYPES = (
    "entry",
    "step_entered",
    "exit",
    "conversion",
    "purchase",
    "refund",
    "signup",
    "plan_changed",
    "unsubscribe",
    "visit",
    "filter_failed",
)
# Longer ones are no ids but mistakes, such as a whole document in a column.
LONGEST_TEXT = 256
LONGEST_PROPERTIES = 65_536
CONTENT = [name for name in polars_schema(Events) if name != "as_of_day"]
MISSING = "is missing"
_LIFTED = ("reason", "next_step_id", "assigned_delay_hours", "is_delay_randomised")
_TEXTS = ("event_id", "event_type", "workflow_id", "step_id", "order_id", "plan", "reason", "next_step_id")
# A key that may say who somebody is, or a telephone number. Most properties hold neither, and are not parsed.
_PERSONAL_WORDS = (
    "name|nom|phone|tel|mobile|handy|fax|whatsapp|addr|street|birth|dob|bday|geburt|mail|ssn|iban|passport|apellido"
)
_MAYBE_PERSONAL = rf'(?i)"[^"]*(?:{_PERSONAL_WORDS})[^"]*"[ \t\n\r]*:|"[ ]*(?:\+|00|\()?\d[\d ()./-]+"'
# Zero-width characters, byte order marks, soft hyphens: no address holds one.
_INVISIBLE = r"\p{Cf}"


@dataclass(frozen=True)
class ParsedEvents:
    """`rows`: the columns of `lake.events` but the night, and `row`; `faults`: row, field, reason."""

    rows: pl.DataFrame
    faults: pl.DataFrame


def parse_events(raw: pl.DataFrame, addresses: pl.DataFrame, keys: SubscriberKeys, settings: Settings) -> ParsedEvents:
    """Type and judge raw rows; of several faults of a row the first field's is told.

    Args:
        raw: rows in the shape of `raw.RAW`.
        addresses: `lake.addresses`, for subscribers named by their external id.
        keys: keyed hashes.
        settings: the workspace's currency, and whether external ids are known.
    """
    raw = _without_monsters(raw)
    raw = raw.with_columns(pl.col(pl.String).exclude("fault", "extra", "properties").str.strip_chars())
    raw = raw.with_columns(pl.when(pl.col(pl.String) != "").then(pl.col(pl.String)).name.keep())
    typed = _with_subscriber(_with_properties(raw), addresses, keys).with_columns(
        occurred_us=instant_of(pl.col("occurred_at")),
        cents=cents_of(pl.col("revenue")),
        delay=pl.col("assigned_delay_hours").str.extract(r"^(\d{1,6})(?:\.0+)?$").cast(pl.Int64),
        is_random=pl.col("is_delay_randomised")
        .str.to_lowercase()
        .replace_strict({"true": True, "1": True, "false": False, "0": False}, default=None, return_dtype=pl.Boolean),
    )
    checks = _checks(settings)
    first = pl.coalesce([pl.when(broken).then(pl.lit(number)) for number, (_, broken, _) in enumerate(checks)])
    typed = typed.with_columns(check=first)
    names = pl.DataFrame(
        {"check": range(len(checks)), "field": [one[0] for one in checks], "why": [one[2] for one in checks]},
        schema_overrides={"check": pl.Int32},
    )
    faults = typed.filter(pl.col("check").is_not_null()).join(names, on="check", maintain_order="left")
    rows = typed.filter(pl.col("check").is_null()).with_columns(
        revenue_cents=pl.when(pl.col("event_type") == "refund").then(pl.col("cents").abs()).otherwise(pl.col("cents")),
        currency=pl.when(pl.col("cents").is_not_null()).then(pl.lit(settings.currency)),
        assigned_delay_hours=pl.col("delay"),
        is_delay_randomised=pl.col("is_random"),
    )
    return ParsedEvents(
        rows=rows.select(*CONTENT, "row"),
        # A row that could not be read has its own reason.
        faults=faults.select("row", "occurred_us", "field", reason=pl.coalesce("fault", "why")),
    )


def _checks(settings: Settings) -> list[tuple[str, pl.Expr, str]]:
    """(field, broken, reason), the first that applies counts. None says what the value was."""
    invisible = "holds an invisible character, such as a zero-width space: write it without"
    person = (
        "names nobody known: it is neither an address nor a member id, nor an external id of a member"
        if settings.external_id_field
        else "is neither an address nor a member id; for your own ids set DRIPTUNE_EXTERNAL_ID_FIELD"
    )
    flow_types, step_types = ["entry", "step_entered", "exit"], ["step_entered"]
    return [
        ("row", pl.col("fault").is_not_null(), ""),
        ("event_id", pl.col("event_id").is_null(), MISSING),
        ("occurred_at", pl.col("occurred_at").is_null(), MISSING),
        (
            "occurred_at",
            pl.col("occurred_us").is_null() & names_a_zone(pl.col("occurred_at")),
            "is no single instant: its zone is unknown, or has this hour twice or never. Write an offset",
        ),
        ("occurred_at", pl.col("occurred_us").is_null(), "is not a time such as 2026-03-01T12:00:00Z"),
        ("occurred_at", pl.col("occurred_us") < 0, "lies before 1970"),
        ("event_type", pl.col("event_type").is_null(), MISSING),
        ("subscriber", pl.col("subscriber").is_null(), MISSING),
        ("subscriber", pl.col("external_key").is_null() & pl.col("subscriber").str.contains(_INVISIBLE), invisible),
        ("subscriber", pl.col("subscriber_key").is_null(), person),
        *_text_checks(),
        ("workflow_id", pl.col("event_type").is_in(flow_types) & pl.col("workflow_id").is_null(), MISSING),
        ("step_id", pl.col("event_type").is_in(step_types) & pl.col("step_id").is_null(), MISSING),
        (
            "revenue",
            pl.col("cents").is_null() & is_amount(pl.col("revenue")),
            "is too large to be exact to the cent",
        ),
        ("revenue", pl.col("revenue").is_not_null() & pl.col("cents").is_null(), "is not an amount such as 19.90"),
        ("revenue", (pl.col("cents") < 0) & (pl.col("event_type") != "refund"), "is negative: write a refund instead"),
        (
            "currency",
            pl.col("currency").str.to_uppercase() != settings.currency.upper(),
            f"is not the workspace's currency {settings.currency}",
        ),
        ("properties", ~pl.col("is_object"), "is not a JSON object"),
        ("properties", pl.col("is_huge"), f"exceeds {LONGEST_PROPERTIES} bytes"),
        ("assigned_delay_hours", _unread("assigned_delay_hours", "delay"), "is not a whole number of hours"),
        ("is_delay_randomised", _unread("is_delay_randomised", "is_random"), "is neither true nor false"),
    ]


def _text_checks() -> list[tuple[str, pl.Expr, str]]:
    return [
        check
        for name in _TEXTS
        for check in (
            (name, pl.col(name).str.len_chars() > LONGEST_TEXT, f"is longer than {LONGEST_TEXT} characters"),
            (name, pl.col(name).str.contains(r"\p{Cc}"), "holds a control character"),
            # Ids reach the published tables, which hold no addresses.
            (name, _without_addresses(pl.col(name)) != pl.col(name), "holds an e-mail address: write an id"),
        )
    ]


def _unread(text: str, value: str) -> pl.Expr:
    return pl.col(text).is_not_null() & pl.col(value).is_null()


def _without_monsters(raw: pl.DataFrame) -> pl.DataFrame:
    """Values far too long are cut before they cost memory: just long enough to be found too long."""
    documents = pl.col("properties", "extra")
    is_huge = pl.sum_horizontal(documents.str.len_bytes().fill_null(0)) > LONGEST_PROPERTIES
    return raw.with_columns(
        pl.col(pl.String).exclude("fault", "extra", "properties").str.slice(0, LONGEST_TEXT + 1),
        pl.when(~is_huge).then(documents).name.keep(),
        is_huge=is_huge,
    )


def _with_properties(raw: pl.DataFrame) -> pl.DataFrame:
    """Unknown columns joined into `properties`, the few with a meaning lifted out, addresses in it removed."""
    lifted = ", ".join(f"nullif(trim(json_extract_string(everything, '$.{name}')), '') AS {name}" for name in _LIFTED)
    without = "{" + ", ".join(f'"{name}": null' for name in _LIFTED) + "}"
    query = f"""
        WITH told AS (
            SELECT row, coalesce(extra, '{{}}') AS extra, properties,
                CASE WHEN json_valid(properties) THEN json_type(properties) END AS kind
            FROM raw
        ),
        checked AS (
            SELECT row, properties IS NULL OR coalesce(kind = 'OBJECT', FALSE) AS is_object,
                json_merge_patch('{{}}', extra, CASE WHEN kind = 'OBJECT' THEN properties ELSE '{{}}' END) AS everything
            FROM told
        )
        SELECT row, is_object, {lifted}, json_merge_patch(everything, '{without}')::VARCHAR AS properties FROM checked
    """
    found = run_sql(query, raw=raw.select("row", "properties", "extra"))
    told = pl.col("properties")
    maybe = pl.when(told.str.contains(_MAYBE_PERSONAL)).then(told)
    clean = pl.coalesce(maybe.map_elements(_without_person, return_dtype=pl.String), _without_addresses(told))
    return raw.drop("properties", "extra").join(
        found.with_columns(clean), on="row", how="left", maintain_order="left", validate="1:1"
    )


def _without_person(properties: str) -> str:
    """A JSON object without the fields that say who somebody is."""
    try:
        # The name of a field may be an address, too.
        public = without_person(json.loads(properties))
        return without_addresses(json.dumps(public, ensure_ascii=False, separators=(",", ":")))
    except RecursionError:  # thousands of levels, which nobody can follow
        return without_addresses(properties)


def _without_addresses(text: pl.Expr) -> pl.Expr:
    """Texts without e-mail addresses, as `personal.without_addresses` gives them."""
    plain = text.str.replace_all(ADDRESS, REMOVED)
    maybe = pl.when(plain.str.contains(HIDDEN)).then(plain)
    return pl.coalesce(maybe.map_elements(without_addresses, return_dtype=pl.String), plain)


def _with_subscriber(frame: pl.DataFrame, addresses: pl.DataFrame, keys: SubscriberKeys) -> pl.DataFrame:
    """`subscriber_key` of an address, a member id or an external id; null for anything else."""
    external = (
        addresses.filter(pl.col("external_id").is_not_null())
        .sort("subscriber_key")
        .unique("external_id", keep="first", maintain_order=True)
        .select(subscriber="external_id", external_key="subscriber_key")
    )
    name = pl.col("subscriber")
    frame = frame.join(external, on="subscriber", how="left", maintain_order="left").with_columns(
        address=pl.when(name.str.contains(r"^[^\s@]+@[^\s@]+$")).then(name),
        member=pl.when(name.str.contains(r"^[0-9a-fA-F]{32}$")).then(name),
    )
    by_address, by_member = keys.of_address(frame["address"]), keys.of_member_id(frame["member"])
    return frame.with_columns(subscriber_key=pl.coalesce(by_address, by_member, pl.col("external_key")).cast(pl.Int64))
