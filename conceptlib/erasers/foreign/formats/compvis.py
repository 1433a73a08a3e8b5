"""CompVis' names: ESD's and UCE's first releases, whole `.ckpt` files, `delta.bin` of Ablating Concepts' first code.

The UNet may stand alone, with or without `model.diffusion_model.`, in whole or in part; an autoencoder must be whole,
since it is left to diffusers' converter.
"""

from __future__ import annotations

import re
from typing import Any

from conceptlib.erasers.foreign.base import Found, Settings, Tensors
from conceptlib.erasers.foreign.formats import lora
from conceptlib.models.compvis import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX, unet_names
from conceptlib.models.family import of

_PLACE = re.compile(
    r"(model\.)?(diffusion_model\.)?(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.\d+\."
)
_OTHER = (UNET_PREFIX, TEXT_PREFIX, VAE_PREFIX, "cond_stage_model.", "model_ema.")
_NOTHING = re.compile(
    r"model_ema\..*|first_stage_model\.loss\..*|.*position_ids|(sqrt_)?(one_minus_)?alphas_cumprod(_prev)?|betas"
    r"|sqrt_recip(m1)?_alphas_cumprod|sqrt_one_minus_alphas_cumprod|log_one_minus_alphas_cumprod|posterior_.*|logvar"
    r"|lvlb_weights|scale_factor"
)


def matches(names: frozenset[str]) -> bool:
    """Blocks counted through, or a component of `LatentDiffusion`."""
    return not lora.matches(names) and any(_PLACE.match(name) or name.startswith(_OTHER) for name in names)


def locate(tensors: Tensors, pipe: Any, settings: Settings) -> Found:
    """UNet by table, text encoder by prefix, autoencoder by diffusers' converter."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    parts = of(pipe).components()
    unet = unet_names(parts["unet"])
    text = {name.removeprefix("text_model."): name for name, _ in parts["text_encoder"].named_parameters()}
    found, vae = Found(), Tensors()
    for name, tensor in tensors.items():
        inner = name.removeprefix("model.").removeprefix("diffusion_model.")
        words = name.removeprefix(TEXT_PREFIX).removeprefix("text_model.")
        if _NOTHING.fullmatch(name):
            found.ignored.append(name)
        elif name.startswith(VAE_PREFIX):
            vae[name] = tensor
        elif inner in unet:
            found.tensors[f"unet.{unet[inner]}"] = tensor
        elif name.startswith(TEXT_PREFIX) and words in text:
            found.tensors[f"text_encoder.{text[words]}"] = tensor
        else:
            found.unknown.append(name)
    if vae:
        own = {name for name, _ in parts["vae"].named_parameters()}
        try:
            converted = convert_ldm_vae_checkpoint(vae, dict(parts["vae"].config))
        except KeyError:  # a part of it is missing
            converted = {}
        if len(converted) != len(vae) or set(converted) - own:
            found.unknown += sorted(vae)
        else:
            found.tensors |= {f"vae.{name}": tensor for name, tensor in converted.items()}
    return found
