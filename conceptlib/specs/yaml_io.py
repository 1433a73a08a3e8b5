"""Reading a spec's YAML safely, with the line of every value.

Accepted is the part of YAML 1.2 that data needs: mappings with string keys, lists, and the scalars of JSON. So `1e-4`
is a number, `no` and `2024-01-01` are strings, and anchors, aliases, tags and a second document are refused. So are
duplicate keys, files of more than 256 KiB and values nested more than 32 deep.
"""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from conceptlib.specs.errors import Problem, SpecError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32

Place = tuple[str | int, ...]
"""Where a value is: the keys and list positions that lead to it."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema in place of 1.1's (which reads `no` as false and `1e-4`
    as a string).
    """


_Loader.yaml_implicit_resolvers = {}  # its own, or the lines below would change every SafeLoader

for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


@dataclass
class Document:
    """A parsed spec: its data, and the line (1-based) of every value in it."""

    source: str
    data: dict[str, Any]
    lines: dict[Place, int] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """`file:line` of a value, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.source}:{self.lines.get(place, 1)}"


def read_document(path: Path) -> Document:
    """Parse a spec file. Raises SpecError for what cannot be read, with every duplicate key at once."""
    source = display(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(source, [Problem(source, "", f"cannot be read ({error.strerror or error})")]) from error
    if len(raw) > MAX_BYTES:
        raise SpecError(
            source, [Problem(source, "", f"is larger than {MAX_BYTES // 1024} KiB; a spec is a page of YAML")]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(source, [Problem(source, "", f"is not UTF-8 text (byte {error.start})")]) from error
    return parse_document(text, source)


def parse_document(text: str, source: str) -> Document:
    """Parse the text of a spec; `source` names it in messages. Raises SpecError."""
    parsed = _parse(text, source)
    return Document(source, copy.deepcopy(parsed.data), dict(parsed.lines))


@functools.lru_cache(maxsize=256)
def _parse(text: str, source: str) -> Document:
    """A command reads some specs many times (a sweep each of its recipes); a page of YAML takes 5 ms."""
    try:
        _refuse_tricks(text, source)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        hint = "put a text that contains ': ' in quotes" if "mapping values" in str(error.problem) else ""
        message = f"is not valid YAML: {error.problem or error.context}"
        raise SpecError(source, [Problem(where, "", message, hint)]) from error
    except yaml.YAMLError as error:
        raise SpecError(source, [Problem(source, "", f"is not valid YAML: {' '.join(str(error).split())}")]) from error
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(source, [Problem(f"{source}:1", "", "must be a mapping of keys to values")])
    document = Document(source, {})
    problems: list[Problem] = []
    document.data = _build(node, (), document, problems)
    if problems:
        raise SpecError(source, problems)
    return document


def parse_value(text: str) -> Any:
    """The value of one override, as YAML. Raises ValueError with a short reason."""
    try:
        document = parse_document(f"value: {text}" if "\n" not in text else f"value: {yaml.safe_dump(text)}", "value")
    except SpecError as error:
        raise ValueError(error.problems[0].message) from error
    if set(document.data) != {"value"}:
        raise ValueError("is not one YAML value")
    return document.data["value"]


def display(path: Path) -> str:
    """A path as people like to read it: relative to the working folder where it is inside it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _refuse_tricks(text: str, source: str) -> None:
    """Go through the events before anything is built: aliases could unfold without end, deep nesting could exhaust
    the stack.
    """
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        where = f"{source}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SpecError(source, [Problem(where, "", "a second document starts here; a file holds one spec")])
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise SpecError(
                source, [Problem(where, "", "anchors and aliases are not allowed in a spec; write the value out")]
            )
        if tag := getattr(event, "tag", None):
            raise SpecError(source, [Problem(where, "", f"the tag {tag} is not allowed; a spec is plain data")])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise SpecError(source, [Problem(where, "", f"values are nested more than {MAX_DEPTH} deep")])


def _build(node: yaml.Node, place: Place, document: Document, problems: list[Problem]) -> Any:
    line = node.start_mark.line + 1
    document.lines.setdefault(place, line)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            where = f"{document.source}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                problems.append(Problem(where, ".".join(map(str, place)), "a key must be a string; put it in quotes"))
                continue
            key = str(key_node.value)
            inside = (*place, key)
            if key in found:
                problems.append(
                    Problem(
                        where, ".".join(map(str, inside)), f"is given twice, first on line {document.lines[inside]}"
                    )
                )
                continue
            document.lines[inside] = key_node.start_mark.line + 1
            found[key] = _build(value_node, inside, document, problems)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*place, index), document, problems) for index, item in enumerate(node.value)]
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_object(node)
