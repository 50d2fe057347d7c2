"""Account, audience and members as the Marketing API shows them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from pipeline.sample.account.population import FIRST_NAMES, PLANS
from pipeline.sample.account.world import AUDIENCE_ID, PLANTED, mailchimp_id, us
from pipeline.sample.account.zones import ZONES, standard_offset_hours
from pipeline.sample.server.reports import AUDIENCE_NAME
from pipeline.sample.server.shapes import Item, invalid, not_found, page, text, within
from pipeline.sample.server.view import View

Query = Mapping[str, str]
AUDIENCE_CREATED = text(us("2025-06-30"))
MERGE_FIELDS = (("FNAME", "First name"), ("LNAME", "Last name"), ("PLAN", "Plan"), (PLANTED.aa_field, "A/A test"))


@dataclass
class Changes:
    """What was written to the audience, by subscriber, and merge fields added."""

    members: dict[int, Item] = field(default_factory=dict)
    merge_fields: list[tuple[str, str]] = field(default_factory=list)


class AccountApi:
    """Answers for account, audience and members, as of a view and `changes` since."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.changes = Changes()
        self._people = view.account.people
        self._number = {str(self._people.member_id[one]): int(one) for one in view.members.tolist()}

    def root(self) -> Item:
        """GET /."""
        return {
            "account_id": "a1b2c3d4e5f60718293a4b5c6",
            "login_id": "1",
            "account_name": AUDIENCE_NAME,
            "account_timezone": "America/New_York",
            "role": "owner",
            "member_since": AUDIENCE_CREATED,
            "pricing_plan_type": "monthly",
            "first_payment": "",
            "pro_enabled": False,
            "total_subscribers": int((self._view.status[self._view.members] == "subscribed").sum()),
        }

    def lists(self, query: Query) -> Item:
        """GET /lists."""
        made = within(query, "date_created")(us("2025-06-30"))
        return {
            **page(query, "lists", [self.audience(AUDIENCE_ID)] if made and not query.get("email") else []),
            "constraints": {"may_create": False, "max_instances": 1, "current_total_instances": 1},
        }

    def audience(self, list_id: str) -> Item:
        """GET /lists/{id}."""
        self._known(list_id)
        status = self._view.status[self._view.members]
        return {
            "id": AUDIENCE_ID,
            "web_id": 615_001,
            "name": AUDIENCE_NAME,
            "contact": {"company": AUDIENCE_NAME, "address1": "", "city": "Boston", "state": "MA", "country": "US"},
            "permission_reminder": "You signed up on our website.",
            "use_archive_bar": True,
            "campaign_defaults": {"from_name": AUDIENCE_NAME, "from_email": "", "subject": "", "language": "en"},
            "date_created": AUDIENCE_CREATED,
            "list_rating": 4,
            "email_type_option": False,
            "visibility": "prv",
            "double_optin": False,
            "has_welcome": False,
            "marketing_permissions": False,
            "modules": [],
            "stats": {
                "member_count": int((status == "subscribed").sum()),
                "unsubscribe_count": int((status == "unsubscribed").sum()),
                "cleaned_count": int((status == "cleaned").sum()),
                "campaign_last_sent": "",
            },
        }

    def merge_fields(self, list_id: str, query: Query) -> Item:
        """GET /lists/{id}/merge-fields."""
        self._known(list_id)
        fields = [
            _merge_field(number, tag, name)
            for number, (tag, name) in enumerate((*MERGE_FIELDS, *self.changes.merge_fields), 1)
            if query.get("type", "text") == "text" and query.get("required") != "true"
        ]
        return {**page(query, "merge_fields", fields), "list_id": AUDIENCE_ID}

    def _changed_us(self, person: int) -> int:
        changed_us: int = max(
            int(self._view.changed_us[person]), self.changes.members.get(person, {}).get("changed_us", 0)
        )
        return changed_us

    def add_merge_field(self, list_id: str, tag: str, name: str) -> Item:
        """A further merge field of the audience."""
        self._known(list_id)
        known = (*MERGE_FIELDS, *self.changes.merge_fields)
        if tag in {one for one, _ in known}:
            raise invalid(f"A merge field with the tag {tag} exists already.")
        self.changes.merge_fields.append((tag, name))
        return _merge_field(len(known) + 1, tag, name)

    def members(self, list_id: str, query: Query) -> Item:
        """GET /lists/{id}/members: without the archived unless asked for."""
        self._known(list_id)
        wanted = query.get("status")
        changed, joined = within(query, "last_changed"), within(query, "timestamp_opt")
        chosen = [
            one
            for one in self._view.members.tolist()
            if (self._view.status[one] == wanted if wanted else self._view.status[one] != "archived")
            and changed(self._changed_us(one))
            and joined(int(self._people.signup_us[one]))
        ]
        if query.get("vip_only") == "true" or query.get("unique_email_id") or query.get("interest_ids"):
            chosen = []
        keys = {"last_changed": self._view.changed_us, "timestamp_opt": self._people.signup_us}
        key = keys.get(query.get("sort_field", "timestamp_opt"), self._people.signup_us)
        chosen.sort(key=lambda one: (int(key[one]), one), reverse=query.get("sort_dir") == "DESC")
        return {**page(query, "members", chosen, self._member), "list_id": AUDIENCE_ID}

    def member(self, list_id: str, member_id: str) -> Item:
        """GET /lists/{id}/members/{hash}."""
        return self._member(self.person(list_id, member_id))

    def activity_feed(self, list_id: str, member_id: str, query: Query) -> Item:
        """GET /lists/{id}/members/{hash}/activity-feed, newest first: alone knows when automations sent."""
        person = self.person(list_id, member_id)
        wanted = query.get("activity_filters")
        kinds = set(wanted.split(",")) if wanted else {"sent", "open", "click", "bounce", "unsub"}
        found = [item for item in self._feed.get(person, ()) if item[1] in kinds]
        body = page(query, "activity", found, lambda item: _feed_item(*item))
        del body["total_items"]
        return {**body, "email_id": member_id, "list_id": AUDIENCE_ID}

    @cached_property
    def _feed(self) -> dict[int, list[tuple[int, str, str]]]:
        messages = self._view.messages
        parts = [
            messages.select("subscriber", pl.col("sent_us").alias("at"), pl.lit("sent").alias("kind"), "campaign_id"),
            messages.filter(pl.col("unsubscribed_us").is_not_null()).select(
                "subscriber", pl.col("unsubscribed_us").alias("at"), pl.lit("unsub").alias("kind"), "campaign_id"
            ),
            self._view.activity.select(
                "subscriber", pl.col("occurred_us").alias("at"), pl.col("action").alias("kind"), "campaign_id"
            ),
        ]
        found: dict[int, list[tuple[int, str, str]]] = {}
        for person, *item in pl.concat(parts).sort("at", descending=True, maintain_order=True).iter_rows():
            found.setdefault(person, []).append(tuple(item))
        return found

    def _known(self, list_id: str) -> None:
        if list_id != AUDIENCE_ID:
            raise not_found()

    def person(self, list_id: str, member_id: str) -> int:
        """The number of an existing member."""
        self._known(list_id)
        if member_id.lower() not in self._number:
            raise not_found()
        return self._number[member_id.lower()]

    def person_of(self, address: str) -> int | None:
        """The number of the existing member with an address; none if there is none."""
        return self._number.get(hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest())

    def status(self, person: int) -> str:
        """Mailchimp's status of a member, as written last."""
        return str(self.changes.members.get(person, {}).get("status", self._view.status[person]))

    def _member(self, person: int) -> Item:
        people = self._people
        zone, _, country, language = ZONES[people.zone[person]]
        signup = int(people.signup_us[person])
        in_test = signup >= us(PLANTED.aa_from)
        # As in real audiences: some zones unknown, some no IANA names, some signups without a time.
        known = "" if person % 37 == 0 else "Eastern Time (US)" if person % 101 == 0 else zone
        name = FIRST_NAMES[person % len(FIRST_NAMES)]
        plan = PLANS[people.plan[person]]
        changes = self.changes.members.get(person, {})
        chosen = {"beta": person % 9 == 0, **changes.get("tags", {})}
        tags = [{"id": int(mailchimp_id(tag)[:6], 16), "name": tag} for tag, is_on in chosen.items() if is_on]
        return {
            "id": str(people.member_id[person]),
            "email_address": str(people.address[person]),
            "unique_email_id": str(people.member_id[person])[:10],
            "contact_id": str(people.member_id[person])[::-1],
            "full_name": name,
            "web_id": 360_000_000 + person,
            "email_type": "html",
            "status": self.status(person),
            "consents_to_one_to_one_messaging": True,
            "merge_fields": {
                "FNAME": name,
                "LNAME": "",
                "PLAN": plan,
                PLANTED.aa_field: "AB"[people.aa_arm[person]] if in_test else "",
                **changes.get("merge_fields", {}),
            },
            "interests": {},
            "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
            "ip_signup": "",
            "timestamp_signup": "" if person % 10 == 0 else text(signup),
            "ip_opt": "",
            "timestamp_opt": text(signup),
            "member_rating": int(np.clip(1 + people.engagement[person] * 2, 1, 5)),
            "last_changed": text(self._changed_us(person)),
            "language": language,
            "vip": False,
            "email_client": "",
            "location": {
                "latitude": 0,
                "longitude": 0,
                "gmtoff": int(standard_offset_hours(int(people.zone[person]))),
                "dstoff": int(standard_offset_hours(int(people.zone[person]))),
                "country_code": country,
                "timezone": known,
                "region": "",
            },
            "source": "API - Generic",
            "tags_count": len(tags),
            "tags": tags,
            "list_id": AUDIENCE_ID,
        }


def _feed_item(moment: int, kind: str, campaign_id: str) -> dict[str, Any]:
    return {"activity_type": kind, "created_at_timestamp": text(moment), "campaign_id": campaign_id}


def _merge_field(number: int, tag: str, name: str) -> Item:
    return {"merge_id": number, "tag": tag, "name": name, "type": "text", "required": False, "list_id": AUDIENCE_ID}
