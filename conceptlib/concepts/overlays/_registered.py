"""Overlays by name: which module draws a concept, with which function and which preset.

An overlay is one file of this package, or a plug-in `overlays/NAME.py`, with

* `CONCEPT`: the name of the concept that it draws;
* `Params` (a `conceptlib.specs.Params`): what a spec may say of it, `overlays: {NAME: {...}}`. A field `overhang` says
  how much of it may lie outside the picture;
* `draw(image, rng, params) -> (image, Mark)`: lays it over an RGB picture, see `make_mark`;
* `SMALL`, an instance of `Params`, if pictures below 128 pixels need other parameters;
* `VERSION`: raised whenever the same numbers come to be drawn in another way.

The three that came first have names and presets of their own: `draw_qr`, `QrParams`, `WORLD`.
"""

from __future__ import annotations

import functools
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.specs.registry import OVERLAYS

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from conceptlib.concepts.overlays import Mark

FIRST = ("qr", "watermark", "text")
"""The overlays whose parameters have a field of their own in specs of the builder `icd`."""


def overlay(name: str) -> ModuleType:
    """The module of an overlay.

    Raises:
        ConceptlibError: there is none, or a plug-in that may not run or lacks something.
    """
    return _overlay(name, os.environ.get("CONCEPTLIB_HOME", ""))


@functools.cache  # it is asked for at every mark; another home may have another plug-in of the name
def _overlay(name: str, home: str) -> ModuleType:
    module = OVERLAYS.get(name)
    if name not in FIRST and not callable(getattr(module, "draw", None)):
        raise ConceptlibError(f"the overlay {name} has no function `draw(image, rng, params)`", where=module.__file__)
    return module


def drawing(name: str) -> Any:
    """The function that draws an overlay: `(image, rng, params) -> (image, Mark)`."""
    module = overlay(name)
    return getattr(module, f"draw_{name}") if name in FIRST else module.draw


def draw_preset(name: str, image: Image.Image, rng: np.random.Generator, small: bool) -> tuple[Image.Image, Mark]:
    """Lay an overlay over an RGB picture with its own preset, for `small` pictures or others."""
    module = overlay(name)
    if name in FIRST:
        preset = module.WORLD if small else None
    else:
        preset = getattr(module, "SMALL", None) if small else None
        preset = preset or OVERLAYS.params(name)()
    drawn: tuple[Image.Image, Mark] = drawing(name)(image, rng, preset)
    return drawn


def overlay_of(concept: str) -> str:
    """The name of the overlay that draws a concept: one of ours, else a plug-in.

    Raises:
        ConceptlibError: none does.
    """
    known: dict[str, str] = {}
    for name, module in OVERLAYS.modules():
        if concept == module.CONCEPT:
            return name
        known[module.CONCEPT] = name
    if concept in OVERLAYS:  # a plug-in of that name that may not run, or is broken: says so
        OVERLAYS.get(concept)
    raise ConceptlibError(
        f"no overlay draws the concept {concept!r}", where="concepts", hint=did_you_mean(concept, known)
    )
