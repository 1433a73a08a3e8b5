"""From pydantic's error details to a sentence: what is wrong with which field, and the nearest thing that would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from conceptlib.errors import nearest
from conceptlib.specs.yaml_io import Place

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


def explain(model: type[BaseModel], detail: Mapping[str, Any]) -> tuple[Place, str, str]:
    """Return (place, message, hint) for one entry of `ValidationError.errors()` of `model`."""
    place = _real_place(detail["loc"], model)
    kind, context, given = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "extra_forbidden":
        valid = sorted(_fields_at(model, place[:-1]))
        close = nearest(str(place[-1]), valid)
        return place, "unknown key", f"did you mean {close[0]!r}?" if close else f"valid keys: {', '.join(valid) or 'none'}"
    if kind == "missing":
        return place, "is required", ""
    if kind in {"literal_error", "enum"}:
        expected = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        close = nearest(str(given), expected)
        return place, f"must be {context.get('expected')}, not {given!r}", f"did you mean {close[0]!r}?" if close else ""
    if kind == "value_error":
        return place, str(context.get("error", detail["msg"])), ""
    if kind == "string_pattern_mismatch":
        return place, f"{given!r} is no valid name", "use lower-case letters, digits, '-', '_', '.'"
    if kind in {"missing_argument", "too_long", "too_short"} or kind.endswith("_too_long"):
        return place, _lower(detail["msg"]), ""
    if kind in _WANTED:
        return place, f"{_WANTED[kind]}, not {_shown(given)}", ""
    message = _lower(detail["msg"]).removeprefix("input ")
    return place, f"{message.replace('should', 'must')}, not {_shown(given)}", ""


def _shown(value: Any) -> str:
    text = {True: "true", False: "false", None: "null"}.get(value, repr(value)) if isinstance(value, (bool, type(None))) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _real_place(loc: tuple[str | int, ...], model: type[BaseModel]) -> Place:
    """Drop what pydantic adds for itself: the names of union members, written with brackets or as type names in the path."""
    place: list[str | int] = []
    for part in loc:
        fields = _fields_at(model, tuple(place))
        is_last_unknown = part == loc[-1] and fields
        if isinstance(part, str) and place and not fields and not isinstance(part, int) and re.search(r"[\[\]()]|^(int|float|str|bool|none)$", part):
            continue
        if isinstance(part, str) and fields and part not in fields and not is_last_unknown:
            continue
        place.append(part)
    return tuple(place)


def _fields_at(model: type[BaseModel], place: Place) -> set[str]:
    """The names of the fields of the model (or models, in a union) that sits at a place inside `model`."""
    models = [model]
    for part in place:
        if isinstance(part, int):
            continue
        models = [inner for m in models if part in m.model_fields for inner in _models_in(m.model_fields[part].annotation)]
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
