"""A world of opens and clicks by people, image proxies and link scanners, where each event's maker is known."""

import numpy as np
import polars as pl

SECOND = 1_000_000
DAY = 86_400 * SECOND
LINKS = 5


def engagement_events(
    rng: np.random.Generator, *, subscribers: int, messages: int, days: int = 30, scanner_share: float = 0.08
) -> pl.DataFrame:
    """Events as the filter takes them, with `is_human` beside them.

    42% of the subscribers have an image proxy, marked as such; some have a company's scanner, which follows all links
    within seconds, or one link later from the company's address. People take minutes to hours.
    """
    message = np.arange(subscribers * messages)
    owner = message % subscribers
    sent = rng.integers(0, days * DAY, len(message))
    has_proxy = rng.random(subscribers) < 0.42
    company = np.where(rng.random(subscribers) < scanner_share, rng.integers(0, 3, subscribers), -1)

    proxied = message[has_proxy[owner] & (rng.random(len(message)) < 0.9)]
    opened = message[~has_proxy[owner] & (rng.random(len(message)) < 0.3)]
    clicked = message[rng.random(len(message)) < 0.08]
    second = clicked[rng.random(len(clicked)) < 0.2]
    guarded = message[company[owner] >= 0]
    swept = guarded[rng.random(len(guarded)) < 0.7]
    probed = np.setdiff1d(guarded, swept)

    first_click = _later(rng, sent[clicked])
    pause = (rng.exponential(40, len(second)) * SECOND).astype(np.int64) + SECOND
    home = np.char.add("home-", owner.astype(str))
    office = np.char.add("office-", company[owner].astype(str))
    sweep = np.repeat(swept, LINKS)
    sweep_start = np.repeat(sent[swept] + rng.integers(2, 90, len(swept)) * SECOND, LINKS)
    sweep_time = sweep_start + rng.integers(0, 8 * SECOND, len(sweep))
    frames = [
        _frame("open", proxied, sent[proxied] + rng.integers(10, 3_600, len(proxied)) * SECOND, True, None, False),
        _frame("open", opened, _later(rng, sent[opened]), False, home[opened], True),
        _frame("click", clicked, first_click, None, home[clicked], True, rng.integers(0, LINKS, len(clicked))),
        _frame(
            "click",
            second,
            first_click[np.searchsorted(clicked, second)] + pause,
            None,
            home[second],
            True,
            rng.integers(0, LINKS, len(second)),
        ),
        _frame("click", sweep, sweep_time, None, office[sweep], False, np.tile(np.arange(LINKS), len(swept))),
        _frame(
            "click",
            probed,
            sent[probed] + rng.integers(30, 7_200, len(probed)) * SECOND,
            None,
            office[probed],
            False,
            rng.integers(0, LINKS, len(probed)),
        ),
    ]
    return (
        pl.concat(frames)
        .with_columns(
            subscriber_key=pl.col("message_key") % subscribers,
            sent_us=pl.Series(sent).gather(pl.Series(np.concatenate([f["message_key"] for f in frames]))),
        )
        .sample(fraction=1.0, shuffle=True, seed=1)
    )


def _later(rng: np.random.Generator, sent: np.ndarray) -> np.ndarray:
    """People come back to their mail after minutes to a day, median 90 minutes."""
    return sent + (np.exp(rng.normal(np.log(5_400), 1.6, len(sent))) * SECOND).astype(np.int64)


def _frame(
    kind: str,
    message: np.ndarray,
    occurred: np.ndarray,
    is_proxy: bool | None,
    address: np.ndarray | None,
    is_human: bool,
    link: np.ndarray | None = None,
) -> pl.DataFrame:
    none = [None] * len(message)
    return pl.DataFrame(
        {
            "message_key": message,
            "event_type": [kind] * len(message),
            "occurred_us": occurred,
            "is_proxy_open": pl.Series([is_proxy] * len(message), dtype=pl.Boolean),
            "ip_key": pl.Series(none if address is None else address, dtype=pl.String),
            "url": pl.Series(none if link is None else [f"link-{number}" for number in link], dtype=pl.String),
            "is_human": [is_human] * len(message),
        }
    )
