"""Docstrings as pages show them: paragraphs, lists of terms, and examples."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_HEADING = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_TERM = re.compile(r"(\S[^:]*): (.*)")


@dataclass(frozen=True)
class Block:
    """A piece of a docstring: a paragraph, an example, or, under its heading, terms with their meanings."""

    heading: str = ""
    text: str = ""
    code: str = ""
    terms: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Documented:
    """A module, function or class, and what its docstring says."""

    name: str
    blocks: Sequence[Block]


def documented_module(path: Path) -> tuple[Documented, list[Documented]]:
    """A module, and its public functions and classes in the order of the file. The module is read, not imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    members = [
        Documented(node.name, blocks(docstring))
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and (docstring := ast.get_docstring(node))
    ]
    return Documented(path.stem, blocks(ast.get_docstring(tree) or "")), members


def blocks(docstring: str) -> list[Block]:
    """The pieces of a docstring in Google's style, without its indentation."""
    return [_block(part) for part in re.split(r"\n\s*\n", docstring.strip()) if part.strip()]


def _block(part: str) -> Block:
    first, _, rest = part.partition("\n")
    if part.startswith(">>>"):
        return Block(code=part)
    if not _HEADING.fullmatch(first.strip()):
        return Block(text=_joined(part))
    heading = first.strip().removesuffix(":")
    if heading in ("Returns", "Yields"):
        return Block(heading, text=_joined(rest))
    return Block(heading, terms=tuple(_terms(rest)))


def _terms(listed: str) -> Iterator[tuple[str, str]]:
    """A term begins at the smallest indentation. A line that is indented further continues the term before it."""
    lines = listed.splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    for entry in re.split(rf"\n(?= {{{margin}}}\S)", listed):
        term = _TERM.match(_joined(entry))
        yield (term.group(1), term.group(2)) if term else ("", _joined(entry))


def _joined(text: str) -> str:
    return " ".join(text.split())
