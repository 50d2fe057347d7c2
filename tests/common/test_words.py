"""Numbers and foreign texts in words."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.common.words import counted, lift, markdown_text, share

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
IMAGE = "![x](https://evil.example/x.png)"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (share(0.2013), "20.1%"),
        (share(0.2013, 0.15, 0.26), "20.1% (15.0% to 26.0%)"),
        (share(0.0042, 0.003, 0.011), "0.42% (0.30% to 1.1%)"),
        (share(0.0), "0.0%"),
        (share(1.0), "100.0%"),
        (share(0.2, None, 0.26), "20.0%"),
        (share(None, 0.1, 0.2), "not known"),
        (lift(0.32), "+32%"),
        (lift(0.32, 0.03, 0.7), "+32% (+3% to +70%)"),
        (lift(-0.2, -0.3, -0.1), "-20% (-30% to -10%)"),
        (lift(0.021, -0.004, 0.15), "+2.1% (-0.4% to +15.0%)"),
        (lift(0.0996), "+10%"),
        (lift(0.3, 0.1, None), "+30%"),
        (lift(None, 0.1, 0.2), "not known"),
        (counted(1, "proposal waits", "proposals wait"), "1 proposal waits"),
        (counted(1_200, "proposal waits", "proposals wait"), "1,200 proposals wait"),
    ],
)
def test_a_number_is_written_in_one_way(told: str, words: str) -> None:
    assert told == words


def shown(text: str) -> tuple[set[str], str]:
    """Kinds of Markdown in a table's cell, and what a reader sees there."""
    tokens = MARKDOWN.parse(f"| name |\n| --- |\n| {text} |")
    assert [token.type for token in tokens].count("td_open") == 1
    parts = [part for token in tokens if token.type == "inline" for part in token.children or []][1:]
    return {part.type for part in parts}, "".join(part.content for part in parts)


def test_markdown_in_a_name_would_be_seen() -> None:
    assert "image" in shown(IMAGE)[0]


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@example(text=IMAGE)
@example(text='<img src="https://evil.example">')
@example(text="a | b \\| c \\\\| d")
@example(text="&lt;b&gt; `code` **bold** ~~gone~~ <https://evil.example>")
@example(text="\n\n# heading\n\n- list\n\n    code")
def test_foreign_text_in_markdown_is_shown_as_it_is(text: str) -> None:
    kinds, seen = shown(markdown_text(text))
    assert kinds <= {"text", "text_special"}
    assert seen == " ".join(text.split())
