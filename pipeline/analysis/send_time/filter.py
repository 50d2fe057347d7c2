"""Opens and clicks that no human made: image proxies, link scanners, anything faster than a person.

Here: tags on event rows by the glossary's rules. Not here: deleting anything, and counting what remains.
"""

import polars as pl

#: Nobody receives, reads and clicks a mail within this time.
FASTEST_HUMAN_US = 5_000_000
#: Scanners fetch the links of a message within this time of each other.
BURST_US = 10_000_000
BURST_LINKS = 3
#: Two links in a burst are a scanner's only right after the send: people do follow two links later.
PROMPT_US = 60_000_000
DAY_US = 86_400_000_000


def flag_machine_engagement(events: pl.DataFrame, *, shared_ip_recipients: int = 10) -> pl.DataFrame:
    """Tag each open and click that a machine made.

    Args:
        events: one row per open or click: `message_key` (one message to one subscriber), `subscriber_key`,
            `event_type` ('open' or 'click'), `occurred_us` and `sent_us` (epoch microseconds), `is_proxy_open` (null
            where the source could not know), `ip_key` (nullable), `url` (null for opens). Further columns are kept.
        shared_ip_recipients: recipients clicked for by one address in a UTC day from which it is taken for a scanner.

    Returns:
        The rows in their order with `is_machine` and `machine_reason`: 'proxy', 'too fast', 'many links at once',
        'shared address', 'same address as a scanner' or 'unmarked open'. The last has `is_machine` null: an open whose
        source could not tell proxies from people is neither, and counts as human nowhere.
    """
    is_click = pl.col("event_type") == "click"
    after_send = pl.col("occurred_us") - pl.col("sent_us")
    day = pl.col("occurred_us") // DAY_US
    recipients = pl.col("subscriber_key").filter(is_click).n_unique().over("ip_key", day)
    is_shared = pl.col("ip_key").is_not_null() & (recipients >= shared_ip_recipients)
    tagged = (
        events.with_row_index("row")
        .join(_bursts(events), on=["message_key", "event_type", "occurred_us", "url"], how="left", nulls_equal=True)
        .sort("row")
        .with_columns(
            machine_reason=pl.when(pl.col("is_proxy_open").fill_null(False))
            .then(pl.lit("proxy"))
            .when(after_send < FASTEST_HUMAN_US)
            .then(pl.lit("too fast"))
            .when(pl.col("is_burst"))
            .then(pl.lit("many links at once"))
            .when(is_shared)
            .then(pl.lit("shared address"))
        )
    )
    is_scanner = pl.col("machine_reason").is_in(["too fast", "many links at once"]) & is_click
    follows = pl.col("ip_key").is_not_null() & is_scanner.fill_null(False).any().over("message_key", "ip_key")
    is_unmarked = ~is_click & pl.col("is_proxy_open").is_null()
    return (
        tagged.with_columns(
            machine_reason=pl.coalesce(
                "machine_reason",
                pl.when(follows).then(pl.lit("same address as a scanner")),
                pl.when(is_unmarked).then(pl.lit("unmarked open")),
            )
        )
        .with_columns(
            is_machine=pl.when(pl.col("machine_reason").fill_null("") != "unmarked open").then(
                pl.col("machine_reason").is_not_null()
            )
        )
        .drop("row", "is_burst")
    )


def _bursts(events: pl.DataFrame) -> pl.DataFrame:
    """Clicks on several distinct links of a message within ten seconds of each other."""
    keys = ["message_key", "event_type", "occurred_us", "url"]
    clicks = events.filter(pl.col("event_type") == "click").unique(keys).sort(keys)
    time, prompt = pl.col("occurred_us"), pl.col("occurred_us") - pl.col("sent_us") < PROMPT_US

    def ahead(column: str, steps: int) -> pl.Expr:
        return pl.col(column).shift(-steps).over("message_key")

    pair = (ahead("occurred_us", 1) - time <= BURST_US) & (ahead("url", 1) != pl.col("url"))
    distinct = (ahead("url", 2) != pl.col("url")) & (ahead("url", 2) != ahead("url", 1))
    triple = pair & distinct & (ahead("occurred_us", BURST_LINKS - 1) - time <= BURST_US)
    starts = clicks.with_columns(pair=(pair & prompt).fill_null(False), triple=triple.fill_null(False))

    def behind(column: str, steps: int) -> pl.Expr:
        return pl.col(column).shift(steps, fill_value=False).over("message_key")

    is_burst = pl.col("pair") | behind("pair", 1) | pl.col("triple") | behind("triple", 1) | behind("triple", 2)
    return starts.with_columns(is_burst=is_burst).filter("is_burst").select(*keys, "is_burst")
