"""Reads a YAML file of the user into a pydantic model, and names file, line and field of every mistake.

This module knows only YAML. What a file means is in the module of that file, such as `flow_map.py`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, model_validator

from pipeline.common.errors import SourceError, scrub

Location = tuple[str | int, ...]
Mistake = tuple[Location, str]
"""Where something is wrong, below the model that finds it, and what is wrong and what to write."""
_NULL = "tag:yaml.org,2002:null"
_TOP = "the file"
# Nobody writes so much by hand. A few aliases can stand for billions of values, and Python refuses deep recursion.
_DEEPEST = 50
_MOST_VALUES = 100_000
_EXPECTED = {
    "int_parsing": "a whole number",
    "bool_parsing": "true or false",
    "date_from_datetime_parsing": "a day such as 2026-03-01",
    "date_parsing": "a day such as 2026-03-01",
    "list_type": "a list such as [a, b]",
    "model_type": "fields with values, one on each line",
}


class Definition(BaseModel):
    """Base of everything that a user defines. It is frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def mistakes(self, known: Any) -> Iterable[Mistake]:
        """What is wrong although every field is right by itself; `known` is that of `load_definition`."""
        return ()

    @model_validator(mode="after")
    def _is_consistent(self, info: ValidationInfo) -> Self:
        if found := list(self.mistakes(info.context)):
            raise _MistakesError(found)
        return self


DefinitionModel = TypeVar("DefinitionModel", bound=Definition)


class DefinitionsError(SourceError):
    """All mistakes of one file, one on each line. `problems` lists them."""

    def __init__(self, file: str, problems: list[str]) -> None:
        super().__init__(file, "has mistakes", "Correct them.")
        self.problems = [scrub(problem) for problem in problems]
        self.args = ("\n".join(self.problems),)


class _MistakesError(ValueError):
    """The mistakes of one model. Pydantic collects it."""

    def __init__(self, found: list[Mistake]) -> None:
        super().__init__("; ".join(text for _, text in found))
        self.found = found


def repeated_ids(entries: Iterable[Any], *where: str | int) -> Iterator[Mistake]:
    """A mistake for each entry with the `id` of an earlier one. `where` is the place of the list."""
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        if entry.id in seen:
            yield (*where, number, "id"), f"'{entry.id}' is used twice. Keep one, or give each its own id."
        seen.add(entry.id)


def load_definition(
    path: Path, model: type[DefinitionModel], *, known: Any = None, is_typed: bool = False
) -> DefinitionModel:
    """The file as a model. Without the file, or if it is empty, the defaults of the model.

    Args:
        path: the file.
        model: the model of its content.
        known: what `Definition.mistakes` of the model compares with, such as what other files define.
        is_typed: read 5, true and 2026-03-01 as number, boolean and day. Otherwise every scalar reaches the model as it
            is written, so that an id such as 0123 or 12e5 is not changed.

    Raises:
        DefinitionsError: names every mistake, such as "flows.yaml, line 14, welcome.steps[2].delay: '2 dys' is not a
            duration. Write a number and a unit, such as '2 days'."
    """
    root = _compose(path)
    if root is None or root.tag == _NULL:
        return model()
    repeated = [(where, "is written twice. Keep one.") for where in _repeated_fields(root)]
    if repeated:
        raise DefinitionsError(path.name, _placed(path, root, repeated))
    try:
        return model.model_validate(_plain(root, is_typed), context=known)
    except ValidationError as error:
        raise DefinitionsError(path.name, _describe(path, root, error)) from None


def _compose(path: Path) -> yaml.Node | None:
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_depth(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _measure(root, (), {})
    except OSError as error:
        problem = f"{path.name}: cannot be read ({error.strerror}). Check its permissions."
    except UnicodeDecodeError:
        problem = f"{path.name}: is not UTF-8 text. Save it as UTF-8."
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = (
            f"{path.name}{line}: is not YAML: {error.problem}. Check indentation, colons and quotes near this line."
        )
    except yaml.YAMLError:
        problem = f"{path.name}: is not YAML: it contains a control character. Remove the character."
    else:
        return root
    raise DefinitionsError(path.name, [problem])


def _refuse_depth(text: str) -> None:
    """Refuse a text that is nested too deep, before anything follows its levels down."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _too_deep(event.start_mark)


def _measure(node: yaml.Node, above: tuple[int, ...], known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Levels and values of a node with every alias followed; refuses loops, and what is too deep or too large."""
    if isinstance(node, yaml.ScalarNode):
        return 0, 1
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an anchor refers to itself", problem_mark=node.start_mark)
    if id(node) not in known:
        parts = [_measure(child, (*above, id(node)), known) for child in _children(node)]
        levels, values = 1 + max((levels for levels, _ in parts), default=0), 1 + sum(values for _, values in parts)
        if values > _MOST_VALUES:
            problem = f"with its aliases it holds more than {_MOST_VALUES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        known[id(node)] = levels, values
    if len(above) + known[id(node)][0] > _DEEPEST:
        raise _too_deep(node.start_mark)
    return known[id(node)]


def _too_deep(mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"it is nested deeper than {_DEEPEST} levels", problem_mark=mark)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _plain(node: yaml.Node, is_typed: bool = False) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {
            key.value if isinstance(key, yaml.ScalarNode) else "": _plain(value, is_typed) for key, value in node.value
        }
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, is_typed) for child in node.value]
    if node.tag == _NULL:
        return None
    return yaml.safe_load(yaml.serialize(node)) if is_typed else node.value


def _repeated_fields(node: yaml.Node, above: Location = ()) -> Iterator[Location]:
    if isinstance(node, yaml.MappingNode):
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        yield from ((*above, name) for name, times in names.items() if times > 1)
        for key, value in node.value:
            yield from _repeated_fields(value, (*above, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated_fields(value, (*above, index))


def _describe(path: Path, root: yaml.Node, error: ValidationError) -> list[str]:
    found: list[Mistake] = []
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, _MistakesError):
            found += [((*problem["loc"], *below), text) for below, text in cause.found]
        else:
            found.append((problem["loc"], _explain(problem)))
    return _placed(path, root, found)


def _placed(path: Path, root: yaml.Node, found: Iterable[Mistake]) -> list[str]:
    places = sorted((*_place(root, where), text) for where, text in found)
    return [f"{path.name}, line {line}, {field}: {text}" for line, field, text in places]


def _explain(problem: Any) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "missing":
        return "is missing. Add it."
    if kind == "extra_forbidden":
        return "is not a known field. Check its spelling, or remove it."
    if kind == "value_error":
        return str(context["error"])
    value = "nothing" if problem["input"] is None else f"'{problem['input']}'"
    if kind == "literal_error":
        return f"{value} is not known. Write {context['expected']}."
    if not isinstance(problem["input"], str | None):
        value = "this value"
    expected = _EXPECTED.get(kind, problem["msg"].removeprefix("Input should be "))
    return f"{value} does not fit. Write {expected}."


def _place(root: yaml.Node, where: Location) -> tuple[int, str]:
    """Line, from 1, and field of a location. An entry of a top-level list is named by its id."""
    node, line, names = root, root.start_mark.line, ""
    for depth, part in enumerate(where):
        child = _child(node, part)
        if child is None:
            names += f".{part}"
            break
        line, node = child
        entry = _plain(node)
        if isinstance(part, int) and depth == 1 and isinstance(entry, dict) and isinstance(entry.get("id"), str):
            names = entry["id"]
        else:
            names += f"[{part}]" if isinstance(part, int) else f".{part}"
    return line + 1, names.removeprefix(".") or _TOP


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    if isinstance(node, yaml.MappingNode):
        # Of several equal names the last one is the repetition.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                return key.start_mark.line, value
    return None


def _no_control_characters(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("is not a name. Write visible text on one line.")
    return value.strip()


Name = Annotated[str, BeforeValidator(_no_control_characters)]
