"""The closed words: declared once, explained in the glossary, and written alike in SQL."""

import re
from enum import EnumType, StrEnum
from typing import Literal, get_origin

import pytest

from pipeline.decisions.profile import FIELDS
from pipeline.schemas import vocabulary
from pipeline.schemas.base import describe_columns, identity, tables_of
from pipeline.schemas.vocabulary import ExitReason, MachineCause, words
from pipeline.settings import SQL_DIR
from tests.checkout import PROJECT_ROOT

GLOSSARY = (PROJECT_ROOT / "docs" / "glossary.md").read_text()
SETS = {
    name: kind
    for name, kind in vars(vocabulary).items()
    if get_origin(kind) is Literal or (isinstance(kind, EnumType) and kind is not StrEnum)
}


@pytest.mark.parametrize("name", SETS)
def test_the_glossary_explains_every_word_of_a_set(name: str) -> None:
    section = GLOSSARY.partition(f"(`{name}`)\n")[2].partition("\n### ")[0]
    explained = re.findall(r"^- `([^`]+)`: \S", section, re.MULTILINE)
    assert explained == list(words(SETS[name]))


def test_the_glossary_explains_no_set_that_is_not_declared() -> None:
    assert set(re.findall(r"^### .*\(`(\w+)`\)$", GLOSSARY, re.MULTILINE)) == set(SETS)


def test_the_glossary_and_the_pattern_name_every_field_that_rules_may_read() -> None:
    listed = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", GLOSSARY.partition("### Fields that rules")[2], re.MULTILINE)
    assert dict(listed) == {name: meaning for name, (_, meaning) in FIELDS.items()}
    pattern = (PROJECT_ROOT / "data" / "definitions" / "rules.yaml").read_text()
    assert set(FIELDS) <= set(re.findall(r"\w+", pattern.partition("\nrules:")[0]))


def test_sql_numbers_the_reasons_of_exits_in_their_order_of_precedence() -> None:
    sql = (SQL_DIR / "core" / "step_entries.sql").read_text()
    numbered = [(word, int(number)) for word, number in re.findall(r"WHEN '(\w+)' THEN (\d+)", sql)]
    assert numbered == [(word, number) for number, word in enumerate(words(ExitReason)[:-1])]
    told = (SQL_DIR / "core" / "departures.sql").read_text().partition("event.reason IN (")[2].partition(")")[0]
    assert tuple(re.findall(r"'(\w+)'", told)) == words(ExitReason)[:-1]


def test_sql_writes_the_marks_of_machines_in_their_order() -> None:
    sql = (SQL_DIR / "core" / "engagements.sql").read_text().partition("act AS (")[2]
    assert tuple(dict.fromkeys(re.findall(r"THEN '(\w+)'", sql))) == words(MachineCause)


def test_a_meaning_lists_the_words_that_its_column_may_hold() -> None:
    for model in tables_of("marts"):
        meanings = {name: meaning for name, _, _, meaning in describe_columns(model)}
        for name, spec in model.to_schema().columns.items():
            for check in spec.checks:
                if check.name == "isin":
                    listed = ", ".join(f"'{word}'" for word in check.statistics["allowed_values"])
                    assert f"One of {listed}." in meanings[name], f"{identity(model).name}.{name}"
