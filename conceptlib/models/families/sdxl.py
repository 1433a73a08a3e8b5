"""SDXL: two CLIP text encoders whose states are joined, a pooled embedding and the picture's sizes as further inputs of
the UNet; ε or v. The refiner is another model, and is refused.

The states are those before the last layer, of both encoders side by side (768 + 1280 in SDXL base). The pooled
embedding is the second encoder's. The sizes (`time_ids`) are the original picture's, the corner that was cut away and
the size that is wanted; where nobody says them, the picture is whole and as large as its latents say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.conditioning import Conditioning, Framing
from conceptlib.models.devices import send
from conceptlib.models.families._clip_unet import ClipUnet, class_of
from conceptlib.models.family import Index
from conceptlib.models.pipeline import ErasedXLPipeline
from conceptlib.models.schedules import ddim

SIZES = "time_ids"
"""In `Conditioning.extra`: (N, 6), original height and width, top and left of the cut, target height and width."""


class Family(ClipUnet):
    """`StableDiffusionXLPipeline`."""

    NAME = "sdxl"
    PIPELINE = "StableDiffusionXLPipeline"
    COMPONENTS: ClassVar = {
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    WEIGHTS = ("unet", "text_encoder", "text_encoder_2", "vae")
    ADAPTABLE = ("unet", "text_encoder", "text_encoder_2")
    ENCODERS = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
    FOREIGN = ("text_encoder_3", "transformer", "controlnet")
    # No invisible watermark: it would be drawn into every picture where its library happens to be installed.
    OPTIONS: ClassVar = {"image_encoder": None, "feature_extractor": None, "add_watermarker": False}
    SHAPE = (
        "the SDXL shape: two CLIP text encoders, a UNet that also reads a pooled embedding and sizes, a KL autoencoder"
    )
    GUIDANCE = 5.0

    @classmethod
    def matches(cls, index: Index) -> bool:
        """A conditional UNet and a second text encoder."""
        return class_of(index, "unet") == "UNet2DConditionModel" and bool(class_of(index, "text_encoder_2"))

    @classmethod
    def problems(cls, index: Index) -> list[str]:
        """Those of the components; or that it is the refiner."""
        if index.get("requires_aesthetics_score"):
            return ["it is a refiner, which goes on from the latents of a base"]
        return super().problems(index)

    @classmethod
    def erased(cls) -> type[Any]:
        return ErasedXLPipeline

    @property
    def settings(self) -> dict[str, Any]:
        zeros = bool(self.pipe.config.get("force_zeros_for_empty_prompt", True))
        return {"force_zeros_for_empty_prompt": zeros, "add_watermarker": False}

    def conditions_problem(self) -> str:
        unet = self.denoiser.config
        if unet.class_embed_type or unet.time_cond_proj_dim or unet.addition_embed_type != "text_time":
            return "the UNet's further conditions are not a pooled embedding and sizes"
        takes = int(unet.projection_class_embeddings_input_dim)
        gives = 6 * int(unet.addition_time_embed_dim) + int(self.encoders[1].module.config.projection_dim)
        if takes != gives:
            return f"the UNet takes a pooled embedding and sizes of {takes} numbers, and there are {gives}"
        return ""

    # Prompts.

    @property
    def null(self) -> str | None:
        """None (zeros) if the model was trained with zeros for the empty prompt, as SDXL base says it was."""
        return None if self.settings["force_zeros_for_empty_prompt"] else ""

    def encode_ids(self, ids: Sequence[torch.Tensor]) -> Conditioning:
        """The states before the last layer, side by side (N, L, D₁ + D₂), and the second encoder's pooled output."""
        outputs = [one.module(rows, output_hidden_states=True) for one, rows in zip(self.encoders, ids, strict=True)]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return Conditioning(states, outputs[-1].text_embeds)

    def encode(self, prompts: Sequence[str | None]) -> Conditioning:
        if self.null is not None:
            prompts = [prompt or "" for prompt in prompts]
        texts = [prompt for prompt in prompts if prompt is not None]
        rows = self.encode_ids(self.token_ids(texts or [""]))
        if len(texts) == len(prompts):
            return rows
        assert rows.pooled is not None
        zeros = Conditioning(torch.zeros_like(rows.prompt_embeds[:1]), torch.zeros_like(rows.pooled[:1]))
        counter = iter(range(len(texts)))
        places = [len(rows) if prompt is None else next(counter) for prompt in prompts]
        return Conditioning.cat([rows, zeros])[send(torch.tensor(places), rows.prompt_embeds.device)]

    def framed(self, conditioning: Conditioning, framings: Sequence[Framing]) -> Conditioning:
        """With the sizes of given pictures, one a row."""
        ids = [[*one.original, *one.corner, *one.target] for one in framings]
        sizes = send(torch.tensor(ids, dtype=torch.float32), conditioning.prompt_embeds.device)
        return Conditioning(conditioning.prompt_embeds, conditioning.pooled, {**conditioning.extra, SIZES: sizes})

    def further(self, conditioning: Conditioning, latents: torch.Tensor) -> dict[str, Any]:
        if conditioning.pooled is None:
            raise ConceptlibError("SDXL wants the pooled embedding of every prompt", hint="encode with the model")
        sizes = conditioning.extra.get(SIZES)
        if sizes is None:
            height, width = (self.scale * side for side in latents.shape[-2:])
            sizes = self.framed(conditioning, [Framing.whole(height, width)] * len(conditioning)).extra[SIZES]
        return {"added_cond_kwargs": {"text_embeds": conditioning.pooled, "time_ids": sizes}}

    def widen(self, arguments: dict[str, Any], more: Conditioning, count: int) -> dict[str, Any]:
        added, extra = arguments["added_cond_kwargs"], len(more) // count
        assert more.pooled is not None
        texts = torch.cat([added["text_embeds"], more.pooled.to(added["text_embeds"])])
        sizes = torch.cat([added["time_ids"], *[added["time_ids"][-count:]] * extra])
        found = super().widen(arguments, more, count)
        return found | {"added_cond_kwargs": {**added, "text_embeds": texts, "time_ids": sizes}}

    # Images, latents.

    def sampler(self) -> Any:
        return ddim(self.pipe.scheduler, steps_offset=None)

    def to_latents(self, pixels: np.ndarray) -> torch.Tensor:
        with self._wide_enough():
            return super().to_latents(pixels)

    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        with self._wide_enough():
            return super().to_pixels(latents)

    @contextlib.contextmanager
    def _wide_enough(self) -> Iterator[None]:
        """The autoencoder in float32 where it says that half precision overflows in it (`force_upcast`)."""
        vae = self.pipe.vae
        if vae.dtype != torch.float16 or not vae.config.get("force_upcast", False):
            yield
            return
        vae.to(dtype=torch.float32)
        try:
            yield
        finally:
            vae.to(dtype=torch.float16)
