"""Stable Diffusion 1.x and 2.x, and what has their shape: one CLIP text encoder, a UNet, a KL autoencoder; ε or v."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from conceptlib.models.conditioning import Conditioning
from conceptlib.models.encoding import encode_ids
from conceptlib.models.families._clip_unet import ClipUnet, class_of
from conceptlib.models.family import Index
from conceptlib.models.pipeline import ErasedPipeline
from conceptlib.models.schedules import ddim


class Family(ClipUnet):
    """`StableDiffusionPipeline`."""

    NAME = "stable-diffusion"
    PIPELINE = "StableDiffusionPipeline"
    COMPONENTS: ClassVar = {
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    WEIGHTS = ("unet", "text_encoder", "vae")
    ADAPTABLE = ("unet", "text_encoder")
    ENCODERS = (("text_encoder", "tokenizer"),)
    FOREIGN = ("text_encoder_2", "transformer", "controlnet")
    OPTIONS: ClassVar = {
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "requires_safety_checker": False,
    }
    SHAPE = "the Stable Diffusion 1.x/2.x shape: one CLIP text encoder, a conditional UNet, a KL autoencoder"

    @classmethod
    def matches(cls, index: Index) -> bool:
        """A conditional UNet and no second text encoder."""
        return class_of(index, "unet") == "UNet2DConditionModel" and not class_of(index, "text_encoder_2")

    @classmethod
    def erased(cls) -> type[Any]:
        return ErasedPipeline

    @property
    def settings(self) -> dict[str, Any]:
        return {"requires_safety_checker": False}

    def conditions_problem(self) -> str:
        unet = self.denoiser.config
        if unet.class_embed_type or unet.addition_embed_type or unet.time_cond_proj_dim:
            return "the UNet wants further conditions (class, image or guidance embeddings)"
        return ""

    @property
    def null(self) -> str:
        """The empty prompt."""
        return ""

    def encode_ids(self, ids: Sequence[torch.Tensor]) -> Conditioning:
        """The last hidden states (N, L, D)."""
        (encoder,) = self.encoders
        return Conditioning(encode_ids(encoder.module, encoder.tokenizer, ids[0]))

    def encode(self, prompts: Sequence[str | None]) -> Conditioning:
        return self.encode_ids(self.token_ids([prompt or "" for prompt in prompts]))

    def sampler(self) -> Any:
        return ddim(self.pipe.scheduler, steps_offset=1)
