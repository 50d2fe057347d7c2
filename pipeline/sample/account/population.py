"""The people of the sample account: who they are, before anything happens to them."""

import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline.common.time import DAY_US, HOUR_US, SECOND_US
from pipeline.sample.account.world import (
    FIRST_US,
    LAST_US,
    NEVER_US,
    PLANTED,
    PROFILE_SHARES,
    PROFILES,
    Array,
    hour_weights,
    us,
)
from pipeline.sample.account.zones import ZONES, local_hour

OLD_SUBSCRIBERS = 2_000
NEW_SUBSCRIBERS = 25_000
PLANS = ("free", "basic", "pro")
SCANNERS = ("none", *PLANTED.scanner_shares)
FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dara", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jo", "Kim", "Leo", "Mia", "Ned")


@dataclass(frozen=True)
class Population:
    """Arrays of one value per subscriber; enumerations are indices into the tuples named beside them."""

    address: Array
    member_id: Array
    zone: Array  # ZONES
    profile: Array  # PROFILES
    plan: Array  # PLANS
    signup_us: Array
    engagement: Array  # multiplies the chance of an open, mean 1
    purchase_lift: Array  # multiplies the chance of a purchase
    has_proxy: Array
    has_image_proxy: Array
    scanner: Array  # SCANNERS
    is_bad_address: Array
    is_planted: Array  # part of a planted phenomenon: nothing else befalls them
    arm: Array  # 0 = A, 1 = B, of the experiment and of the A/A test
    aa_arm: Array
    deleted_us: Array
    archived_us: Array

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.zone)


def draw_population(generator: np.random.Generator, planted: int) -> Population:
    """Everyone who signs up before the end of the world; the `planted` last of the old ones are set aside."""
    size = OLD_SUBSCRIBERS + NEW_SUBSCRIBERS
    zone = generator.choice(len(ZONES), size, p=[share for _, share, _, _ in ZONES])
    profile = generator.choice(len(PROFILES), size, p=PROFILE_SHARES)
    plan = generator.choice(len(PLANS), size, p=[0.5, 0.32, 0.18])
    signup_us = _signups(generator, zone, profile)
    address = np.array([f"person-{index:05d}@sample.example" for index in range(size)])
    member_id = np.array([hashlib.md5(one.encode(), usedforsecurity=False).hexdigest() for one in address.tolist()])
    in_month = (signup_us >= us(f"{PLANTED.cohort_month}-01")) & (signup_us < us("2026-04-01"))
    lift = np.array([PLANTED.plan_lift[name] for name in PLANS])[plan] * np.where(in_month, PLANTED.cohort_lift, 1.0)
    machine = generator.random(size)
    shares = list(PLANTED.scanner_shares.values())
    is_planted = np.zeros(size, dtype=bool)
    is_planted[OLD_SUBSCRIBERS - planted : OLD_SUBSCRIBERS] = True
    deleted = np.full(size, NEVER_US)
    deleted[: PLANTED.deleted_members] = us("2026-06-05T11:00")
    archived = np.full(size, NEVER_US)
    gone = slice(PLANTED.deleted_members, PLANTED.deleted_members + PLANTED.archived_members)
    archived[gone] = us("2026-04-10") + np.arange(PLANTED.archived_members) * 37 * HOUR_US
    return Population(
        address=address,
        member_id=member_id,
        zone=zone,
        profile=profile,
        plan=plan,
        signup_us=signup_us,
        engagement=np.clip(generator.lognormal(-0.08, 0.4, size), 0.2, 2.2),
        purchase_lift=lift,
        has_proxy=machine < PLANTED.proxy_share,
        has_image_proxy=(machine >= PLANTED.proxy_share) & (machine < PLANTED.proxy_share + PLANTED.image_proxy_share),
        scanner=generator.choice(len(SCANNERS), size, p=[1 - sum(shares), *shares]),
        is_bad_address=(generator.random(size) < 0.015) & ~is_planted & (np.arange(size) >= gone.stop),
        is_planted=is_planted,
        arm=generator.integers(0, 2, size),
        aa_arm=generator.integers(0, 2, size),
        deleted_us=deleted,
        archived_us=archived,
    )


def _signups(generator: np.random.Generator, zone: Array, profile: Array) -> Array:
    """Old ones over the half year before the world begins, new ones at a rate that grows; at hours people like."""
    old = FIRST_US - (generator.random(OLD_SUBSCRIBERS) * 180 * DAY_US).astype(np.int64)
    new = FIRST_US + (generator.random(NEW_SUBSCRIBERS) ** 0.8 * (LAST_US - FIRST_US)).astype(np.int64)
    return preferred_moment(generator, zone, profile, np.concatenate([old, new]))


def preferred_moment(generator: np.random.Generator, zone: Array, profile: Array, around_us: Array) -> Array:
    """The same day or the next, at a local hour drawn by the profile's preference; whole seconds."""
    weights = hour_weights()
    cumulated = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    wanted = (generator.random(len(zone))[:, None] > cumulated[profile]).sum(axis=1).clip(0, 23)
    ahead = (wanted - local_hour(zone, around_us)) % 24
    moment = around_us // HOUR_US * HOUR_US + ahead * HOUR_US
    instants: np.ndarray = moment + generator.integers(0, 3600, len(zone)) * SECOND_US
    return instants
