"""Prompts to embeddings and pictures to latents, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from conceptlib.errors import ConceptlibError
from conceptlib.models.batches import in_batches
from conceptlib.models.conditioning import Conditioning, Framing
from conceptlib.models.family import of

CACHE = 4096
"""Distinct prompts kept: 1 GB for SD 1.5 in float32, 120 MB for `tiny`."""


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> torch.Tensor:
    """Token ids of the prompts, int64 (N, 77), padded and cut as `StableDiffusionPipeline` does."""
    encoded = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return torch.as_tensor(encoded.input_ids)


def token_count(tokenizer: Any, text: str) -> int:
    """Tokens of `text` without the begin and end marks, however many there are."""
    # verbose=False: a text longer than the model takes is what the caller wants to find out, not something to warn of.
    return len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def refuse_cut(tokenizer: Any, prompts: Sequence[str], *, what: str = "prompt") -> None:
    """Refuse a text that the tokenizer would cut or makes nothing of: the model would not see what is meant.

    Raises:
        ConceptlibError: naming the first such text.
    """
    room = int(tokenizer.model_max_length) - 2
    for prompt in dict.fromkeys(prompts):
        count = token_count(tokenizer, prompt)
        if count == 0:
            raise ConceptlibError(f"the {what} {prompt!r} is empty: no token is left of it", hint="give it words")
        if count > room:
            raise ConceptlibError(
                f"the {what} {prompt[:60]!r} has {count} tokens, and the text encoder takes {room}: it would be cut",
                hint="use a shorter one",
            )


def encode_ids(text_encoder: Any, tokenizer: Any, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states (N, 77, D) of token ids: the conditioning that the UNet attends to. Gradients flow if they are
    on.
    """
    mask = None
    if getattr(text_encoder.config, "use_attention_mask", False):
        # Everything up to the first end mark is the prompt; the pad token may be the end mark itself.
        ends = (ids == tokenizer.eos_token_id).int().cumsum(dim=1)
        mask = ((ends == 0) | ((ends == 1) & (ids == tokenizer.eos_token_id))).long()
    states: torch.Tensor = text_encoder(ids, attention_mask=mask)[0]
    return states


class PromptCache:
    """Conditionings of prompts under frozen weights: each distinct prompt goes through the text encoders once.

    Args:
        pipe: a pipeline of a known family, or its `Model`; its text encoders must not change while the cache lives.
        size: distinct prompts kept; the oldest make room.
    """

    def __init__(self, pipe: Any, size: int = CACHE) -> None:
        self._model, self._size = of(pipe), size
        self._known: dict[str | None, Conditioning] = {}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str | None]) -> Conditioning:
        """The conditioning, N rows (perhaps 0), on the text encoders' device and in their dtype; None is the
        unconditional prompt.
        """
        asked = [self._model.null if prompt is None else prompt for prompt in prompts]
        new = [prompt for prompt in dict.fromkeys(asked) if prompt not in self._known]
        wanted = {prompt: self._known[prompt] for prompt in dict.fromkeys(asked) if prompt in self._known}
        for start in range(0, len(new), 64):
            part = new[start : start + 64]
            rows = self._model.encode(part)
            wanted.update((prompt, rows[index : index + 1]) for index, prompt in enumerate(part))
        self._known.update((prompt, wanted[prompt]) for prompt in new)
        while len(self._known) > self._size:
            del self._known[next(iter(self._known))]
        if not asked:
            return Conditioning(torch.empty((0, self._model.length, self._model.width)))
        return Conditioning.cat([wanted[prompt] for prompt in asked])


def fit_image(image: Image.Image, side: int) -> np.ndarray:
    """Scale the shorter edge to `side` pixels and cut the middle square: uint8 (side, side, 3) of an RGB picture."""
    new, left, top = _cut(image.width, image.height, side)
    if new != image.size:
        image = image.resize(new, Image.Resampling.LANCZOS)
    return np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.uint8)


def fit_boxes(boxes: np.ndarray, width: int, height: int, side: int) -> np.ndarray:
    """Where `fit_image` puts boxes of a picture of `width` x `height` pixels.

    Args:
        boxes: (N, 4) xyxy in pixels of the picture.

    Returns:
        float32 (M, 4) xyxy in pixels of the square, clipped; boxes that the cut leaves outside are gone.
    """
    new, left, top = _cut(width, height, side)
    ratio = np.array([new[0] / width, new[1] / height] * 2)
    moved = np.clip(np.asarray(boxes, np.float64).reshape(-1, 4) * ratio - np.array([left, top, left, top]), 0, side)
    inside = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
    return moved[inside].astype(np.float32)


def framing_of(width: int, height: int, side: int) -> Framing:
    """What `fit_image` does to a picture of `width` x `height` pixels."""
    _, left, top = _cut(width, height, side)
    return Framing((height, width), (top, left), (side, side))


def _cut(width: int, height: int, side: int) -> tuple[tuple[int, int], int, int]:
    scale = side / min(width, height)
    new = (max(side, round(width * scale)), max(side, round(height * scale)))
    return new, (new[0] - side) // 2, (new[1] - side) // 2


def _vae_bytes(vae: Any, height: int, width: int) -> int:
    """Roughly what one picture needs inside the autoencoder: a handful of its widest maps (measured: 4.6 at 512 px)."""
    return 5 * height * width * int(vae.config.block_out_channels[0]) * vae.dtype.itemsize


def scaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """An autoencoder's latents (N, C, h, w) as the denoiser wants them: less the mean, over the spread, of the channels
    where the configuration has these (`latents_mean`, `latents_std`), or less its `shift_factor`; times its scaling
    factor.
    """
    mean, spread = _channels(vae, latents)
    if mean is not None:
        return (latents - mean) * vae.config.scaling_factor / spread
    shift = vae.config.get("shift_factor")
    return (latents - shift if shift else latents) * vae.config.scaling_factor


def unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """The inverse of `scaled`."""
    mean, spread = _channels(vae, latents)
    if mean is not None:
        return latents * spread / vae.config.scaling_factor + mean
    shift = vae.config.get("shift_factor")
    latents = latents / vae.config.scaling_factor
    return latents + shift if shift else latents


def _channels(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Mean and spread of the channels, (1, C, 1, 1), or None for both."""
    numbers = [vae.config.get(name) for name in ("latents_mean", "latents_std")]
    if any(one is None for one in numbers):
        return None, None
    mean, spread = (torch.tensor(one, device=like.device, dtype=like.dtype).reshape(1, -1, 1, 1) for one in numbers)
    return mean, spread


@torch.no_grad()
def encode_images(vae: Any, pixels: np.ndarray) -> torch.Tensor:
    """Latents of pictures: the mean of the autoencoder's posterior (deterministic), scaled (`scaled`). As many
    are encoded at once as fit the memory.

    Args:
        vae: an `AutoencoderKL`.
        pixels: uint8 (N, H, W, 3).

    Returns:
        float32 (N, C, H / f, W / f) on the CPU.
    """

    def encode(rows: slice) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(pixels[rows])).permute(0, 3, 1, 2)
        batch = (batch.to(vae.device).to(vae.dtype) / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        latents = scaled(vae, vae.encode(batch).latent_dist.mode())
        return torch.as_tensor(latents.float().cpu().contiguous())

    need = _vae_bytes(vae, *pixels.shape[1:3])
    parts = in_batches(len(pixels), encode, most=len(pixels), row_bytes=need, device=vae.device, what="images")
    return torch.cat(list(parts))


@torch.no_grad()
def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Pictures, uint8 (N, H, W, 3), of latents (N, C, h, w); rounded as diffusers' image processor rounds. As many are
    decoded at once as fit the memory. They stay on the autoencoder's device, so that nobody waits for them here.
    """

    def decode(rows: slice) -> torch.Tensor:
        pictures = vae.decode(unscaled(vae, latents[rows].to(vae.dtype)), return_dict=False)[0]
        pictures = (pictures * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float()
        return (pictures * 255).round().to(torch.uint8).contiguous()

    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    need = _vae_bytes(vae, factor * latents.shape[-2], factor * latents.shape[-1])
    parts = in_batches(len(latents), decode, most=len(latents), row_bytes=need, device=vae.device, what="images")
    return torch.cat(list(parts))
