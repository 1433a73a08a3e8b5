"""Against diffusers' own converter, which reads whole checkpoints only."""

from __future__ import annotations

import pytest
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from conceptlib.models.compvis import UNET_PREFIX, unet_names
from conceptlib.models.loading import load_pipeline
from tests.support.models import build_pipeline


@pytest.mark.parametrize("which", ["random", "tiny"])
def test_every_parameter_has_the_name_that_diffusers_reads(which: str) -> None:
    unet = build_pipeline().unet if which == "random" else load_pipeline("tiny", device="cpu").unet
    own = dict(unet.named_parameters())
    names = unet_names(unet)
    assert sorted(names.values()) == sorted(own)
    whole = {UNET_PREFIX + theirs: own[ours] for theirs, ours in names.items()}
    converted = convert_ldm_unet_checkpoint(whole, dict(unet.config))
    assert {name: id(value) for name, value in converted.items()} == {name: id(value) for name, value in own.items()}


def test_the_names_of_stable_diffusion_1() -> None:
    """The keys and values that everybody edits, as the files of SD 1.x name them; built on no device, in no memory."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
    names = unet_names(unet)
    keys = sorted(
        name.removesuffix(".transformer_blocks.0.attn2.to_k.weight") for name in names if "attn2.to_k" in name
    )
    blocks = [f"input_blocks.{i}.1" for i in (1, 2, 4, 5, 7, 8)] + ["middle_block.1"]
    assert keys == sorted(blocks + [f"output_blocks.{i}.1" for i in range(3, 12)])
    assert names["output_blocks.2.1.conv.weight"] == "up_blocks.0.upsamplers.0.conv.weight"
    assert names["output_blocks.5.2.conv.bias"] == "up_blocks.1.upsamplers.0.conv.bias"
    assert names["input_blocks.3.0.op.weight"] == "down_blocks.0.downsamplers.0.conv.weight"
