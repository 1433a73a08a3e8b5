"""Whole models in one file with CompVis' names, and the folder of configurations that tells how to read a small one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from conceptlib.models.compvis import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX, unet_names

_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def tensors(pipe: Any) -> dict[str, torch.Tensor]:
    """Every tensor of a pipeline by the name that CompVis' `LatentDiffusion` has for it."""
    unet = dict(pipe.unet.named_parameters())
    found = {UNET_PREFIX + theirs: unet[ours] for theirs, ours in unet_names(pipe.unet).items()}
    found |= {f"{TEXT_PREFIX}text_model.{name}": value for name, value in pipe.text_encoder.named_parameters()}
    levels = len(pipe.vae.config.block_out_channels)
    for name, value in pipe.vae.named_parameters():
        # The old code's attention is of 1x1 convolutions.
        dense = ".attentions." in name and "group_norm" not in name and name.endswith("weight")
        found[VAE_PREFIX + vae_name(name, levels)] = value[..., None, None] if dense else value
    found["betas"] = torch.ones(3)  # and other things that say nothing of the model
    return {name: value.detach().clone().contiguous() for name, value in found.items()}


def vae_name(name: str, levels: int) -> str:
    """CompVis' name of a parameter of an `AutoencoderKL`."""
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    up = re.compile(r"up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)")
    if match := up.search(name):
        level = levels - 1 - int(match[1])
        inner = f"up.{level}.upsample" if match[2] == "upsamplers" else f"up.{level}.block.{match[3]}"
        name = up.sub(inner, name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        for ours, theirs in _ATTENTION.items():
            name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def save_single(pipe: Any, path: Path, *, configs: Path | None = None, dtype: torch.dtype = torch.float32) -> Path:
    """The pipeline as one file, safetensors or by `torch.save` as its ending says; of the folder `configs` (as
    `save_pretrained` wrote it) all but the weights beside it.
    """
    whole = {name: value.to(dtype) for name, value in tensors(pipe).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(whole, path)
    else:
        torch.save({"state_dict": whole, "global_step": 7}, path)
    if configs is not None:
        shutil.copytree(configs, path.with_suffix(""), ignore=shutil.ignore_patterns("*.safetensors"))
    return path
