"""The names that CompVis' latent-diffusion code gives to what diffusers names otherwise.

Every parameter of a diffusers UNet has one CompVis name, which follows from its place: blocks are counted through
(`input_blocks.4.1` is the attention of the second block's first layer), and residual blocks have names of their own
inside. The table is made from the module, so that it serves partial files, which name a few of the parameters.
"""

from __future__ import annotations

import re
from typing import Any

UNET_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "cond_stage_model.transformer."
VAE_PREFIX = "first_stage_model."

_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(
    r"(?P<where>down_blocks|up_blocks|mid_block)\.(?:(?P<block>\d+)\.)?(?P<kind>resnets|attentions|downsamplers|upsamplers)"
    r"\.(?P<layer>\d+)\.(?P<inner>.+)"
)


def unet_names(unet: Any) -> dict[str, str]:
    """CompVis' name of every parameter of a `UNet2DConditionModel`, without `UNET_PREFIX`, to diffusers' name."""
    per_block = int(unet.config.layers_per_block)
    attends = {name.rpartition(".attentions")[0] for name, _ in unet.named_parameters() if ".attentions." in name}
    table: dict[str, str] = {}
    for name, _ in unet.named_parameters():
        module, _, kind = name.rpartition(".")
        if module in _OUTER:
            table[f"{_OUTER[module]}.{kind}"] = name
            continue
        found = _BLOCK.fullmatch(name)
        if found is None:  # no CompVis model has it; a file that holds it will be told so
            continue
        table[f"{_place(found, per_block, attends)}.{_inside(found)}"] = name
    return table


def _place(found: re.Match[str], per_block: int, attends: set[str]) -> str:
    """`input_blocks.4.1` and the like."""
    kind, layer = found["kind"], int(found["layer"])
    if found["where"] == "mid_block":
        return f"middle_block.{2 * layer if kind == 'resnets' else 2 * layer + 1}"
    block = int(found["block"])
    if found["where"] == "down_blocks":
        first = 1 + block * (per_block + 1)
        return (
            f"input_blocks.{first + per_block if kind == 'downsamplers' else first + layer}.{int(kind == 'attentions')}"
        )
    first = block * (per_block + 1)
    if kind == "upsamplers":
        return f"output_blocks.{first + per_block}.{1 + (f'up_blocks.{block}' in attends)}"
    return f"output_blocks.{first + layer}.{int(kind == 'attentions')}"


def _inside(found: re.Match[str]) -> str:
    inner = found["inner"]
    if found["kind"] == "resnets":
        module, _, kind = inner.rpartition(".")
        return f"{_RESNET[module]}.{kind}"
    return f"op.{inner.removeprefix('conv.')}" if found["kind"] == "downsamplers" else inner
