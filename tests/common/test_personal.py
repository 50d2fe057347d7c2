"""What tells who somebody is, in every writing in which it is met; and what does not, which stays as it is."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.errors import scrub
from pipeline.common.personal import is_personal_field, without_addresses, without_person
from tests.worlds.personal import WRITINGS

LOCAL = st.text(string.ascii_lowercase + string.digits + "._+-", min_size=1, max_size=20).map("a{}".format)
DOMAIN = st.text(string.ascii_lowercase + "-", min_size=1, max_size=10).map("d{}a.example".format)
ADDRESSES = st.builds("{}@{}".format, LOCAL, DOMAIN)
TEXTS = ["", "see ", "https://example.com/?u=", "/track/open/", '{"a": "', "id-", "<b>", "mailto:"]


@pytest.mark.parametrize("writing", WRITINGS.values(), ids=WRITINGS)
@given(address=ADDRESSES, before=st.sampled_from(TEXTS))
def test_no_writing_of_an_address_survives(writing, address, before):
    written = writing(address)
    for clean in (without_addresses(f"{before}{written}&page=2"), scrub(f"{before}{written} was there")):
        assert written not in clean
        assert address.partition("@")[2] not in clean.lower()


@given(st.text(string.ascii_lowercase + string.digits + " .:/?&=_-", max_size=80))
def test_text_without_addresses_stays_as_it_is(text):
    assert without_addresses(text) == text


@given(st.binary(min_size=16, max_size=16))
def test_ids_in_base64_and_hex_stay_as_they_are(raw):
    for text in (raw.hex(), base64.urlsafe_b64encode(raw).decode()):
        assert without_addresses(text) == text


@pytest.mark.parametrize(
    "name",
    ["FULLNAME", "NAME_FULL", "First Name", "last-name", "FNAME", "surname", "contact_name",
     "PHONE", "PHONE2", "mobile_number", "smsPhone", "BIRTHDAY", "dateOfBirth", "DOB", "billing_address", "street",
     "E-Mail", "workEmail", "Vorname", "NACHNAME", "prenom", "apellidos"],
)  # fmt: skip
def test_fields_that_name_a_person_are_known_by_their_names(name):
    assert is_personal_field(name)


@pytest.mark.parametrize(
    "name",
    ["name", "PLAN", "plan_name", "product_name", "SENDHOUR", "filename", "LANGUAGE", "STORE", "tele2"],
)
def test_fields_of_things_are_not(name):
    assert not is_personal_field(name)


def test_a_person_is_known_by_values_too():
    fields = {
        "FNAME": "Annemarie",
        "MMERGE7": "Dear Annemarie!",
        "MMERGE8": "+43 660 1234567",
        "MMERGE9": {"addr1": "1 Main St", "city": "Vienna"},
        "MMERGE10": ["write to a@example.com"],
        "MMERGE11": "(555) 123-4567",
        "PLAN": "pro",
        "ORDERS": 12,
        "SINCE": "2026-01-02",
        "CODE": "1234567890",
    }
    assert without_person(fields, frozenset({"ORDERS"})) == {
        "MMERGE10": ["write to (removed)"],
        "PLAN": "pro",
        "SINCE": "2026-01-02",
        "CODE": "1234567890",
    }
