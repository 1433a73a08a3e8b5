"""Random models of the SDXL shape, small enough that a test can train one in a second; see `tests.support.models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from conceptlib.models.loading import quiet
from tests.support.models import PIXELS, build_tokenizer

WIDTHS = (32, 48)
"""D of the two text encoders."""
POOLED = 24


def build_sdxl(
    *, prediction_type: str = "epsilon", seed: int = 0, zeros: bool = True, legacy_mark: bool = False
) -> Any:
    """A `StableDiffusionXLPipeline` with random weights: VAE factor 4 with 4 latent channels, two text encoders.

    zeros: `force_zeros_for_empty_prompt`. legacy_mark: the second text encoder says that its end mark is 2, as the
    published one does.
    """
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizers = [build_tokenizer(), build_tokenizer(pad_token="!")]
        configs = [
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=77,
                hidden_act=activation,
                projection_dim=POOLED,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=2 if legacy_mark and width == WIDTHS[1] else tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            for tokenizer, width, activation in zip(tokenizers, WIDTHS, ("quick_gelu", "gelu"), strict=True)
        ]
        encoders = CLIPTextModel(configs[0]), CLIPTextModelWithProjection(configs[1])
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=PIXELS,
            scaling_factor=0.13025,
        )
        unet = UNet2DConditionModel(
            sample_size=PIXELS // 4,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            cross_attention_dim=sum(WIDTHS),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + POOLED,
        )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    for module in (vae, unet, *encoders):
        module.eval()
    return pipe


def save_sdxl(folder: Path, **options: Any) -> Path:
    """`build_sdxl(**options)` written to `folder` as a diffusers folder."""
    with quiet():
        build_sdxl(**options).save_pretrained(folder, safe_serialization=True)
    return folder
