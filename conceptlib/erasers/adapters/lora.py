"""Low-rank matrices that plain diffusers loads: `pipe.load_lora_weights(folder)`.

They come from adapters that were trained (peft), or, where a method changed weight matrices by low-rank amounts
(closed forms), from those changes, which are factored without loss.

When a checkpoint is opened, the products are added to the base's weights, in float32: beside them they would cost a
tenth of every forward. Version 1 left them beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from conceptlib.erasers.adapters._tokens import apply_tokens, save_tokens
from conceptlib.erasers.lowrank import factor
from conceptlib.errors import ConceptlibError
from conceptlib.models.family import of
from conceptlib.models.loading import quiet

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint

VERSION = 2
WHOLE = False
FUSED = True
"""What is applied is added to weights, which must not have been rounded before."""
LORA = "pytorch_lora_weights.safetensors"


def save(folder: Path, pipe: Any, result: Result, record: Checkpoint) -> None:
    """Write the adapters on denoiser and text encoders, or `result.factors`, or the factors of `result.changed`.

    Raises:
        ConceptlibError: a change that is not of low rank.
    """
    model = of(pipe)
    parts = model.components()
    states: dict[str, dict[str, torch.Tensor] | None] = {name: _peft_state(parts[name]) for name in model.ADAPTABLE}
    if result.factors:
        states = dict(padded(result.factors))
    elif result.changed:
        own = model.parameters()
        now = {name: own[name] for name in result.changed}
        states = dict(factors(pipe, result.changed, now))
    write(folder, pipe, states)
    save_tokens(folder, pipe, result)


def write(folder: Path, pipe: Any, states: Mapping[str, Mapping[str, torch.Tensor] | None]) -> None:
    """Write the file; `states` by component."""
    with quiet():
        of(pipe).save_lora(folder, states)


def apply(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Add the products to the base's weights. Raises ConceptlibError unless the model took every tensor of the file."""
    from safetensors import SafetensorError, safe_open

    apply_tokens(folder, record, pipe)
    path = folder / LORA
    try:
        with safe_open(path, "pt") as file:
            written = len(file.keys())
        with quiet():
            pipe.load_lora_weights(str(folder), weight_name=LORA)
    except (OSError, SafetensorError) as error:
        raise ConceptlibError("the LoRA weights cannot be read", where=str(path), hint=str(error)) from error
    except (RuntimeError, ValueError) as error:  # another shape, or a module that this base lacks
        raise ConceptlibError(
            f"the LoRA weights do not fit this base: {str(error).splitlines()[0]}",
            where=str(path),
            hint="apply it to the base that it was made from",
        ) from error
    model = of(pipe)
    parts = [module for name, module in model.components().items() if name in model.ADAPTABLE]
    loaded = sum(".lora_" in name for module in parts for name in module.state_dict())
    if loaded != written:
        raise ConceptlibError(
            f"{written} LoRA tensors in the file, {loaded} in the model",
            where=str(path),
            hint="this base has other layers",
        )
    fuse(pipe)


@torch.no_grad()
def fuse(pipe: Any) -> None:
    """Turn the adapters on a pipeline into float32 weights, and take them off."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in of(pipe).components().values():
        for layer in module.modules():
            if isinstance(layer, BaseTunerLayer):
                weight = layer.get_base_layer().weight
                delta = sum(layer.get_delta_weight(name).float() for name in layer.active_adapters)
                weight.data = (weight.data.float() + delta).contiguous(memory_format=_format(weight))
    with quiet():
        pipe.unload_lora_weights()


def _format(weight: torch.Tensor) -> torch.memory_format:
    wanted = torch.channels_last
    return wanted if weight.dim() == 4 and weight.is_contiguous(memory_format=wanted) else torch.contiguous_format


def factors(
    pipe: Any, before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]
) -> dict[str, dict[str, torch.Tensor]]:
    """The changes from `before` to `now` (both `{component.name: tensor}`) as LoRA states by component.

    Raises:
        ConceptlibError: a changed tensor that is no weight of a linear layer or convolution, or a change whose factors
            would be no smaller than itself: then it is not of low rank, and LoRA is the wrong form.
    """
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    modules = {name: dict(module.named_modules()) for name, module in of(pipe).components().items()}
    for name in sorted(before):
        component, _, inner = name.partition(".")
        layer, _, kind = inner.rpartition(".")
        old, new = before[name].detach().float().cpu(), now[name].detach().float().cpu()
        if torch.equal(old, new):
            continue
        module = modules[component].get(layer)
        if kind != "weight" or not isinstance(module, nn.Linear | nn.Conv2d):
            raise ConceptlibError(
                f"{name} has changed, and a LoRA cannot hold it: it is no weight matrix",
                hint="use adapter=tensors",
            )
        up, down = factor(new.double() - old.double(), scale=float(old.abs().max()))
        rank, (rows, columns) = up.shape[1], (old.shape[0], old[0].numel())
        if rank * (rows + columns) >= rows * columns:
            raise ConceptlibError(
                f"the change of {name} has rank {rank} ({rows} x {columns}): it is not of low rank, so a LoRA would "
                "not be exact",
                hint="use adapter=tensors, or train with adapter=lora",
            )
        shape = (-1, *old.shape[1:])
        up = up.reshape(*up.shape, *([1] * (old.dim() - 2)))
        down = down.reshape(shape) if rank else down.reshape(0, *old.shape[1:])
        pairs[f"{component}.{layer}"] = (up, down)
    return padded(pairs)


def padded(pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    """Factors `{component.layer: (up, down)}` as LoRA states by component, padded by zeros to the largest rank, so that
    every reader scales them by 1.
    """
    rank = max((up.shape[1] for up, _ in pairs.values()), default=0)
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, (up, down) in pairs.items():
        component, _, layer = name.partition(".")
        wide = up.new_zeros(up.shape[0], rank, *up.shape[2:])
        tall = down.new_zeros(rank, *down.shape[1:])
        wide[:, : up.shape[1]], tall[: down.shape[0]] = up, down
        states.setdefault(component, {})[f"{layer}.lora_A.weight"] = tall
        states[component][f"{layer}.lora_B.weight"] = wide
    return states


def _peft_state(module: Any) -> dict[str, torch.Tensor] | None:
    if not getattr(module, "peft_config", None):
        return None
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    # The new tokens' rows are in learned_embeds.safetensors, not here.
    state: dict[str, torch.Tensor] = convert_state_dict_to_diffusers(
        get_peft_model_state_dict(module, save_embedding_layers=False)
    )
    return state
