"""From pydantic's error details to a sentence: what is wrong with which field, and the nearest thing that would be
right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from conceptlib.errors import nearest
from conceptlib.specs.yaml_io import Place

_UNION_MEMBER = re.compile(r"[\[\]()]|^(?:int|float|str|bool|none)$|^constrained-|^(?:list|dict|tuple|nullable)$")
_WANTED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "none_required": "must be null",
}


def told_once(model: type[BaseModel], details: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pydantic's errors without those of the other members of a union: `rate=2` is too much, and no mapping either;
    the first is what the writer wants to hear.
    """
    groups: dict[Place, list[Mapping[str, Any]]] = {}
    for detail in details:
        place = _real_place(detail["loc"], model, unknown_key=detail["type"] == "extra_forbidden")
        groups.setdefault(place, []).append(detail)
    kept: list[Mapping[str, Any]] = []
    for place, group in groups.items():
        of_union = [detail for detail in group if len(detail["loc"]) > len(place)]
        inside = any(other != place and other[: len(place)] == place for other in groups)
        if of_union and inside and all(detail["type"] in _WANTED for detail in group):
            continue  # another member has this type, and says what is wrong inside
        if len(group) > 1 and of_union:
            right_type = [detail for detail in group if detail["type"] not in _WANTED]
            group = (right_type or group)[:1]
        kept += group
    return kept


def explain(model: type[BaseModel], detail: Mapping[str, Any], also: Iterable[str] = ()) -> tuple[Place, str, str]:
    """Return (place, message, hint) for one entry of `ValidationError.errors()` of `model`.

    also: keys that are not `model`'s but that a writer may have meant by an unknown key at its top level.
    """
    kind, context, given = detail["type"], detail.get("ctx", {}), detail.get("input")
    place = _real_place(detail["loc"], model, unknown_key=kind == "extra_forbidden")
    if kind == "extra_forbidden":
        valid = sorted(_fields_at(model, place[:-1]))
        close = nearest(str(place[-1]), valid) or (nearest(str(place[-1]), also) if len(place) == 1 else [])
        return (
            place,
            "unknown key",
            f"did you mean {close[0]!r}?" if close else f"valid keys: {', '.join(valid or sorted(also)) or 'none'}",
        )
    if kind == "missing":
        return place, "is required", ""
    if kind in {"literal_error", "enum"}:
        expected = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        close = nearest(str(given), expected)
        return (
            place,
            f"must be {context.get('expected')}, not {given!r}",
            f"did you mean {close[0]!r}?" if close else "",
        )
    if kind == "value_error":
        return place, str(context.get("error", detail["msg"])), ""
    if kind == "string_pattern_mismatch":
        return place, f"{given!r} is no valid name", "use lower-case letters, digits, '-', '_', '.'"
    if kind in {"too_short", "too_long"}:
        bound, limit = ("least", "min_length") if kind == "too_short" else ("most", "max_length")
        entries = "1 entry" if context[limit] == 1 else f"{context[limit]} entries"
        return place, f"must have at {bound} {entries}, not {context.get('actual_length', 'more')}", ""
    if kind in _WANTED:
        return place, f"{_WANTED[kind]}, not {_shown(given)}", ""
    message = _lower(detail["msg"]).removeprefix("input ")
    return place, f"{message.replace('should', 'must')}, not {_shown(given)}", ""


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _real_place(loc: tuple[str | int, ...], model: type[BaseModel], *, unknown_key: bool) -> Place:
    """Drop what pydantic adds to a path for itself: the names of union members (`int`, `tuple[int, int]`, a class)."""
    place: list[str | int] = []
    for position, part in enumerate(loc):
        fields = _fields_at(model, tuple(place))
        keep = isinstance(part, int) or part in fields
        if not keep and fields:
            keep = unknown_key and position == len(loc) - 1
        elif not keep:
            keep = not place or not _UNION_MEMBER.search(str(part))
        if keep:
            place.append(part)
    return tuple(place)


def _fields_at(model: type[BaseModel], place: Place) -> set[str]:
    """The names of the fields of the model (or models, in a union) that sits at a place inside `model`."""
    models = [model]
    for part in place:
        if isinstance(part, int):
            continue
        models = [
            inner for m in models if part in m.model_fields for inner in _models_in(m.model_fields[part].annotation)
        ]
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
