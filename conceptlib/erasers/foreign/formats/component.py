"""diffusers' and transformers' own names: ESD, UCE, `delta.bin` of Ablating Concepts, AdvUnlearn's text encoder, whole
components.

A name may be bare (`down_blocks.0...`), begin with its component (`unet.down_blocks...`), or carry the `text_model.`
that older versions of transformers put in front of a text encoder's tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conceptlib.erasers.foreign.base import Found, Tensors
from conceptlib.erasers.foreign.formats import compvis, lora
from conceptlib.models.parts import components

_TEXT = "text_model."


def matches(names: frozenset[str]) -> bool:
    """Whatever bears neither LoRA's nor CompVis' names."""
    return not (lora.matches(names) or compvis.matches(names))


def locate(tensors: Tensors, pipe: Any) -> Found:
    """Every tensor by its name."""
    table = dict(spellings(pipe))
    found = Found()
    for name, tensor in tensors.items():
        if name.endswith("position_ids"):
            found.ignored.append(name)
        elif name in table:
            found.tensors[table[name]] = tensor
        else:
            found.unknown.append(name)
    return found


def spellings(pipe: Any) -> Iterator[tuple[str, str]]:
    """How a parameter may be written, and its `component.parameter`."""
    for component, module in components(pipe).items():
        for name, _ in module.named_parameters():
            own = f"{component}.{name}"
            inner = name.removeprefix(_TEXT)
            for spelling in (name, _TEXT + inner, inner) if component.startswith("text_encoder") else (name,):
                yield spelling, own
                yield f"{component}.{spelling}", own
