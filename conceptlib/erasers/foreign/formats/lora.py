"""LoRA files: kohya's names (SPM, LECO and what sd-scripts writes), peft's and diffusers' own, and the attention
processors of older diffusers (`save_attn_procs`: MACE).

kohya spells a module by its name with underscores for dots, diffusers' name or CompVis', behind `lora_unet_` or
`lora_te_` (`lora_te1_` and `lora_te2_` where there are two encoders), and keeps a scale α beside the matrices: the
change is α/r · up · down. diffusers of today and peft keep α in settings beside the tensors (the file's metadata,
`adapter_config.json`); without any, α = r. SPM's gates, which weigh an adapter by the prompt at inference, are no part
of its files: the adapters are taken as always on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from conceptlib.erasers.foreign.base import Found, Settings, Tensors
from conceptlib.models.compvis import unet_names
from conceptlib.models.family import of

_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<layer>.+?)(?:\.processor)?[._]"
    r"(?P<kind>lora_down|lora_up|lora_A|lora_B|lora\.down|lora\.up)(?:\.\w+)?\.weight"
)
_PROCESSOR = re.compile(r"(?P<layer>.+)\.processor\.(?P<projection>to_[qkv]|to_out)_lora\.(?P<kind>down|up)\.weight")
_ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
_KOHYA = {"unet": ("lora_unet_",), "text_encoder": ("lora_te_", "lora_te1_"), "text_encoder_2": ("lora_te2_",)}
_DOWN = ("lora_down", "lora_A", "lora.down")


def matches(names: frozenset[str]) -> bool:
    """Any pair of low-rank matrices."""
    return any(_NAME.fullmatch(name) or _PROCESSOR.fullmatch(name) for name in names)


def locate(tensors: Tensors, pipe: Any, settings: Settings) -> Found:
    """Every pair by its layer; α is multiplied into `up`."""
    table = dict(spellings(pipe))
    found = Found()
    parts: dict[str, dict[str, torch.Tensor]] = {}
    names: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        written, kind = _read(name)
        layer = table.get(written)
        if layer is None:
            found.unknown.append(name)
            continue
        parts.setdefault(layer, {})[kind] = tensor.float()
        names.setdefault(layer, []).append(name)
    for layer, part in parts.items():
        if "up" not in part or "down" not in part:
            found.unknown += names[layer]
            continue
        rank = len(part["down"])
        scale = float(part["alpha"]) / rank if "alpha" in part else _scale(layer, rank, settings)
        found.factors[layer] = (part["up"] * scale, part["down"])
    return found


def _read(name: str) -> tuple[str, str]:
    """The layer that a tensor's name holds, as it is written there, and `up`, `down` or `alpha`; empty for others."""
    if match := _PROCESSOR.fullmatch(name):
        projection = "to_out.0" if match["projection"] == "to_out" else match["projection"]
        return f"{match['layer']}.{projection}", match["kind"]
    if match := _NAME.fullmatch(name):
        return match["layer"], "down" if match["kind"] in _DOWN else "up"
    match = _ALPHA.fullmatch(name)
    return (match["layer"], "alpha") if match else ("", "")


def _scale(layer: str, rank: int, settings: Settings) -> float:
    """α/r of a layer `component.name` by peft's settings (α/√r where they say so); 1 without any."""
    from peft.utils.other import get_pattern_key

    component, _, name = layer.partition(".")
    own = settings.get(component)
    if not own:
        return 1.0
    patterns: dict[str, float] = own.get("alpha_pattern") or {}
    plain: float = own.get("lora_alpha", rank)
    alpha = float(patterns.get(get_pattern_key(patterns.keys(), name), plain))
    return alpha / rank**0.5 if own.get("use_rslora") else alpha / rank


def spellings(pipe: Any) -> Iterator[tuple[str, str]]:
    """How a layer may be written, and its `component.layer`."""
    model = of(pipe)
    compvis = {
        own.removesuffix(".weight"): theirs.removesuffix(".weight")
        for theirs, own in unet_names(model.denoiser).items()
    }
    for component, module in model.components().items():
        for name, layer in module.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            own = f"{component}.{name}"
            inner = name.removeprefix("text_model.")
            written = [name, inner, f"text_model.{inner}"] if component.startswith("text_encoder") else [name]
            if component == model.DENOISER and name in compvis:
                written.append(compvis[name])
            for spelling in written:
                if component != "vae":  # a file of one component's names has no prefix
                    yield spelling, own
                yield f"{component}.{spelling}", own
                for prefix in _KOHYA.get(component, ()):
                    yield prefix + spelling.replace(".", "_"), own
