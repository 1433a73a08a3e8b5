"""The parts of a model that methods of erasure train, by the names that the papers use. Nothing outside this package
knows what a layer is called.

| part | weights of the UNet |
|---|---|
| `attn2` | cross-attention: queries, keys, values, outputs (ESD-x) |
| `attn2-kv` | its keys and values alone (ESD-x strict, UCE, Ablating Concepts) |
| `attn1` | self-attention (ESD-self) |
| `attention` | both |
| `no-attn2` | everything but cross-attention (ESD-u) |
| `no-attn2-inner` | the same without the output convolution and the time embedding (ESD-u as in the paper's code) |
| `all` | everything |

In SDXL the embedding of the pooled prompt and of the sizes counts as part of the time embedding.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

Part = Literal["attn2", "attn2-kv", "attn1", "attention", "no-attn2", "no-attn2-inner", "all"]

_CROSS = re.compile(r"\.attn2\.")
_SELF = re.compile(r"\.attn1\.")
_KV = re.compile(r"\.attn2\.to_[kv]\.")
_OUTER = re.compile(r"^(conv_out|conv_norm_out|time_embedding|time_proj|add_embedding|add_time_proj)\.")
_BELONGS: Mapping[str, Callable[[str], bool]] = {
    "attn2": lambda name: bool(_CROSS.search(name)),
    "attn2-kv": lambda name: bool(_KV.search(name)),
    "attn1": lambda name: bool(_SELF.search(name)),
    "attention": lambda name: bool(_CROSS.search(name) or _SELF.search(name)),
    "no-attn2": lambda name: not _CROSS.search(name),
    "no-attn2-inner": lambda name: not (_CROSS.search(name) or _OUTER.match(name)),
    "all": lambda name: True,
}


def select(unet: nn.Module, part: Part, *, norms: bool = True) -> dict[str, nn.Parameter]:
    """The UNet's parameters that belong to a part, by name, in the module's order; without those of normalisation
    layers if `norms` is off.
    """
    found = {name: parameter for name, parameter in unet.named_parameters() if _BELONGS[part](name)}
    if norms:
        return found
    from torch import nn

    modules = dict(unet.named_modules())
    kinds = (nn.GroupNorm, nn.LayerNorm)
    return {name: one for name, one in found.items() if not isinstance(modules[name.rpartition(".")[0]], kinds)}


def matrices(unet: nn.Module, part: Part) -> list[str]:
    """Names of the modules of a part that low-rank adapters can be put on: linear layers and convolutions."""
    from torch import nn

    return [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and _BELONGS[part](f"{name}.weight")
    ]


@contextlib.contextmanager
def detached_first_token(unet: nn.Module) -> Iterator[None]:
    """No gradient flows through the keys and values of the first token (the begin mark, the same in every prompt), as
    in Ablating Concepts.
    """
    modules = dict(unet.named_modules())
    handles = [modules[name].register_forward_hook(_detach_first) for name in matrices(unet, "attn2-kv")]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _detach_first(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat([output[:, :1].detach(), output[:, 1:]], dim=1)
