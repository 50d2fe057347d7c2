"""Purchases and refunds of the sample account, with their amounts in two currencies."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.common.time import DAY_US
from pipeline.sample.account.draws import Draws
from pipeline.sample.account.population import Population, preferred_moment
from pipeline.sample.account.world import CURRENCY, FIRST_US, LAST_US, NEVER_US, OTHER_CURRENCY, Array

ORGANIC_PER_SUBSCRIBER = 0.35
FOREIGN_ORDERS = 60
REFUND_SHARE = 0.05
STORE_SHARE = 0.8  # of orders that reach the connected store; the others are known from events only


@dataclass(frozen=True)
class Purchases:
    """Purchases that came about, of all that could have.

    Attributes:
        buyer: subscriber of each.
        moment_us: when.
        number: which of the possible ones it is.
        possible: how many there could have been.
    """

    buyer: Array
    moment_us: Array
    number: Array
    possible: int


def draw_organic(generator: np.random.Generator, people: Population) -> tuple[Array, Array]:
    """Subscribers and instants of purchases that no message caused."""
    free = np.flatnonzero(~people.is_planted)
    buyers = generator.choice(free, int(len(free) * ORGANIC_PER_SUBSCRIBER))
    earliest = np.maximum(FIRST_US, people.signup_us[buyers])
    around = earliest + (generator.random(len(buyers)) * (LAST_US - earliest)).astype(np.int64)
    moment = preferred_moment(generator, people.zone[buyers], people.profile[buyers], around)
    return buyers, np.maximum(moment, earliest + DAY_US // 24)


def draw_orders(
    generator: np.random.Generator, people: Population, purchases: Purchases, outside_flows: Array
) -> pl.DataFrame:
    """One row per order: `order_id`, `subscriber`, `occurred_us`, cents, `currency`, refund, whether the store has it.

    Args:
        generator: source of chance.
        people: who they are.
        purchases: all purchases.
        outside_flows: subscribers in no flow with a goal; only they pay in the other currency, so that an order that
            the pipeline must reject never ends a journey.
    """
    foreign = generator.choice(outside_flows, FOREIGN_ORDERS)
    earliest = np.maximum(FIRST_US, people.signup_us[foreign])
    when = earliest + (generator.random(FOREIGN_ORDERS) * (LAST_US - earliest)).astype(np.int64) // DAY_US * DAY_US
    buyer = np.concatenate([purchases.buyer, foreign])
    moment = np.concatenate([purchases.moment_us, when + DAY_US // 3])
    number = np.concatenate([purchases.number, purchases.possible + np.arange(FOREIGN_ORDERS)])
    order = np.lexsort((buyer, moment))
    buyer, moment, number = buyer[order], moment[order], number[order]
    is_foreign = number >= purchases.possible
    count, draws = len(buyer), Draws(generator, purchases.possible + FOREIGN_ORDERS)
    goods = (draws.lognormal(3.6, 0.55, number) * 100).astype(np.int64) + 500
    tax = goods * 8 // 100
    shipping = draws.choice([0, 495, 895], [0.5, 0.35, 0.15], number)
    refunds = (draws.random(number) < REFUND_SHARE) & ~is_foreign
    refund_us = moment + (draws.integers(1, 21, number) * DAY_US)
    part = draws.choice([1.0, 0.5], [0.8, 0.2], number)
    return pl.DataFrame(
        {
            "order_id": [f"N{number:06d}" for number in range(1, count + 1)],
            "subscriber": buyer,
            "occurred_us": moment,
            "net_cents": goods,
            "tax_cents": tax,
            "shipping_cents": shipping,
            "currency": np.where(is_foreign, OTHER_CURRENCY, CURRENCY),
            "refund_us": np.where(refunds, refund_us, NEVER_US),
            "refund_cents": np.where(refunds, (goods * part).astype(np.int64), 0),
            "is_in_store": draws.random(number) < STORE_SHARE,
        }
    ).filter(pl.col("occurred_us") < LAST_US)
