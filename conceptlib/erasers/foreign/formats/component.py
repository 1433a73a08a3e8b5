"""diffusers' and transformers' own names: ESD, UCE, `delta.bin` of Ablating Concepts, AdvUnlearn's text encoder, whole
components.

A name may be bare (`down_blocks.0...`), begin with its component (`unet.down_blocks...`), or carry the `text_model.`
that older versions of transformers put in front of a text encoder's tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from conceptlib.erasers.foreign.base import Found, Settings, Tensors
from conceptlib.erasers.foreign.formats import compvis, lora
from conceptlib.models.family import of

_TEXT = "text_model."


def matches(names: frozenset[str]) -> bool:
    """Whatever bears neither LoRA's nor CompVis' names."""
    return not (lora.matches(names) or compvis.matches(names))


def locate(tensors: Tensors, pipe: Any, settings: Settings) -> Found:
    """Every tensor by its name. A tensor may stand under two names, as long as both say the same."""
    table = dict(spellings(pipe))
    found = Found()
    for name, tensor in tensors.items():
        if name.endswith("position_ids"):
            found.ignored.append(name)
        elif name in table:
            first = found.tensors.setdefault(table[name], tensor)
            if first is not tensor and not torch.equal(first, tensor):
                found.unknown.append(name)
        else:
            found.unknown.append(name)
    return found


def spellings(pipe: Any) -> Iterator[tuple[str, str]]:
    """How a parameter may be written, and its `component.parameter`."""
    for component, module in of(pipe).components().items():
        for name, _ in module.named_parameters():
            own = f"{component}.{name}"
            inner = name.removeprefix(_TEXT)
            written = [name]
            if component.startswith("text_encoder"):
                written += [_TEXT + inner, inner]
                # AdvUnlearn's wrapper holds the embeddings a second time, as an attribute of its own.
                written += ["embedding." + inner.removeprefix("embeddings.")] if inner.startswith("embeddings.") else []
            for spelling in written:
                yield spelling, own
                yield f"{component}.{spelling}", own
