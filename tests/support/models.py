"""Random models of the Stable Diffusion shape, small enough that a test can train one in a second.

Weights are drawn from a seed, the vocabulary is byte-level BPE without merges (any prompt tokenises), and nothing is
downloaded.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from conceptlib.models.loading import quiet
from conceptlib.store.hashing import digest

PIXELS = 32


def build_tokenizer(*, pad_token: str = "<|endoftext|>") -> Any:
    """A CLIP tokenizer whose vocabulary is the 256 byte symbols, each also as a word's end."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    symbols = sorted(ByteLevel.alphabet())
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77, pad_token=pad_token
    )


def build_pipeline(
    *,
    prediction_type: str = "epsilon",
    seed: int = 0,
    pixels: int = PIXELS,
    text_width: int = 32,
    channels: tuple[int, int] = (8, 16),
    open_clip: bool = False,
    in_channels: int | None = None,
) -> Any:
    """A `StableDiffusionPipeline` with random weights: VAE factor 4 with 8 latent channels, UNet, two-layer text
    encoder.

    `open_clip` gives the text encoder of SD 2.x: exact GELU and a pad token of its own ("!").
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = build_tokenizer(pad_token="!" if open_clip else "<|endoftext|>")
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=text_width,
                intermediate_size=2 * text_width,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=77,
                hidden_act="gelu" if open_clip else "quick_gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=8,
            sample_size=pixels,
            scaling_factor=0.8,
        )
        unet = UNet2DConditionModel(
            sample_size=pixels // 4,
            in_channels=in_channels or 8,
            out_channels=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=channels,
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=text_width,
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    for module in (vae, unet, text_encoder):
        module.eval()
    return pipe


def save_pipeline(folder: Path, **options: Any) -> Path:
    """`build_pipeline(**options)` written to `folder` as a diffusers folder: a copy of what the first call wrote."""
    return Path(shutil.copytree(_saved(**options), folder, dirs_exist_ok=True))


@functools.cache
def _saved(**options: Any) -> Path:
    folder = Path(_kept().name) / digest(options)
    with quiet():
        build_pipeline(**options).save_pretrained(folder, safe_serialization=True)
    return folder


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    """Removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="conceptlib-tests-")


def save_clip(folder: Path, seed: int = 0) -> Path:
    """A small random CLIP with its tokenizer and image processor, as on the Hub."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    tokenizer = build_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = CLIPConfig(
        text_config={**size, **marks, "vocab_size": len(tokenizer), "max_position_embeddings": 77},
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
