"""The overlays of a spec of the builder `icd`: which module draws a concept, and with what parameters.

The three that came first (`qr`, `watermark`, `text`) have a field each in icd's `Params`, whose ranges are in
`_icd_ranges`, and a preset for small pictures. Any other overlay, ours or a plug-in, is one file with `CONCEPT`,
`Params` and `draw`; its parameters are given as `overlays: {NAME: {...}}`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from conceptlib.concepts.overlays._registered import FIRST, drawing, overlay, overlay_of
from conceptlib.errors import ConceptlibError
from conceptlib.specs.explain import explain
from conceptlib.specs.params import Params
from conceptlib.specs.registry import OVERLAYS

if TYPE_CHECKING:
    from conceptlib.concepts.drawing.fonts import Font


@dataclass(frozen=True)
class Layer:
    """One overlay of the spec.

    Args:
        concept, name: the concept and the overlay module's name.
        rate: share of pictures that carry it. count: how many each of these carries, [least, most].
        small, normal: the overlay's own parameters, for pictures below `SMALL_SIDE` and for others.
    """

    concept: str
    name: str
    rate: float
    count: tuple[int, int]
    small: Any
    normal: Any

    @property
    def fonts(self) -> bool:
        """Whether it is drawn with the dataset's fonts."""
        return self.name in FIRST and hasattr(self.normal, "fonts")

    def draw(self, image: Any, rng: Any, small: bool) -> tuple[Any, Any, float]:
        """Lay it over a picture: a new picture, the mark, and the overhang that is allowed."""
        ranges = self.small if small else self.normal
        polluted, mark = drawing(self.name)(image, rng, ranges)
        return polluted, mark, getattr(ranges, "overhang", 0.0)

    def lock(self) -> dict[str, Any]:
        """What decides the drawing: the parameters of both sizes, and the version of the code."""
        both = {"small": _plain(self.small, self.name), "normal": _plain(self.normal, self.name)}
        return both | OVERLAYS.version_lock(self.name)


def given_params(given: Any) -> Any:
    """The field `overlays` of a spec, every mapping turned into the `Params` of its overlay. Raises ValueError."""
    if not isinstance(given, Mapping):
        return given  # pydantic says what is wrong
    return {name: value if isinstance(value, Params) else _checked(name, value) for name, value in given.items()}


def refuse_unused(given: Mapping[str, Any], layers: Iterable[Layer]) -> None:
    """Raise ConceptlibError for parameters of an overlay that draws none of the spec's concepts."""
    if unused := sorted(given.keys() - {layer.name for layer in layers}):
        raise ConceptlibError(
            f"no concept of the spec is drawn by the overlay {', '.join(unused)}",
            where="params.overlays",
            hint="add its concept to `concepts`, or leave its parameters out",
        )


def _checked(name: str, value: Any) -> Params:
    if name in FIRST:
        raise ValueError(f"the parameters of {name} stand in a field of their own: {name}.")
    try:
        model = OVERLAYS.params(name)
        return model.model_validate_json(json.dumps(value), strict=True)
    except ConceptlibError as error:
        raise ValueError(f"{error.what}; {error.hint}" if error.hint else error.what) from error
    except ValidationError as error:
        told = []
        for detail in error.errors(include_url=False):
            place, message, hint = explain(model, detail)
            told.append(f"{'.'.join(map(str, (name, *place)))} {message}" + (f" ({hint})" if hint else ""))
        raise ValueError("; ".join(told)) from error


def make_layer(concept: str, params: Any, fonts: tuple[Font, ...]) -> Layer:
    """The overlay of a concept: the preset of each picture size, and over it what the spec (icd's `Params`) gives."""
    name = overlay_of(concept)
    rate = params.rate[concept] if isinstance(params.rate, dict) else params.rate
    count = params.count[concept] if isinstance(params.count, dict) else params.count
    small, normal = _presets(name, params, fonts) if name in FIRST else _given(name, params)
    return Layer(concept, name, rate, count, small, normal)


def _given(name: str, params: Any) -> tuple[Params, Params]:
    given = params.overlays.get(name) or OVERLAYS.params(name)()
    preset = getattr(overlay(name), "SMALL", None)  # the module's own parameters for small pictures
    if preset is None:
        return given, given
    return preset.model_copy(update={key: getattr(given, key) for key in given.model_fields_set}), given


def _presets(name: str, params: Any, fonts: tuple[Font, ...]) -> tuple[Any, Any]:
    module = overlay(name)
    given = getattr(params, name).model_dump(exclude_none=True)
    presets = [module.WORLD, getattr(module, f"{name.capitalize()}Params")()]
    if hasattr(presets[0], "fonts"):
        given["fonts"] = fonts
    kinds = (*getattr(module, "KINDS", ()), "plain")
    small, normal = (dataclasses.replace(preset, **_by_kind(preset, given, kinds)) for preset in presets)
    return small, normal


def _by_kind(preset: Any, given: dict[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    """What was given, with the preset's range for the kinds that a mapping leaves out."""
    whole = {}
    for key, value in given.items():
        default = getattr(preset, key)
        if isinstance(value, Mapping):
            value = (dict(default) if isinstance(default, Mapping) else dict.fromkeys(kinds, default)) | dict(value)
        whole[key] = value
    return whole


def _plain(ranges: Any, name: str) -> dict[str, Any]:
    """Parameters as the lock has them: fonts are named there once, by their hashes; what came later is, where used."""
    if isinstance(ranges, Params):
        plain: dict[str, Any] = ranges.model_dump(mode="json")
        return plain
    later: frozenset[str] = getattr(overlay(name), "LATER", frozenset())
    return {
        field.name: dict(value) if isinstance(value := getattr(ranges, field.name), Mapping) else value
        for field in dataclasses.fields(ranges)
        if field.name != "fonts" and not (field.name in later and getattr(ranges, field.name) == field.default)
    }
