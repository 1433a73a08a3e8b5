"""What a denoiser is conditioned on: the embeddings of prompts, a row a picture, whatever the family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Framing:
    """How a picture was scaled and cut for training: `original` height and width, the `corner` (top, left) that the cut
    left outside, in pixels of the scaled picture, and the `target` height and width. Some families are told.
    """

    original: tuple[int, int]
    corner: tuple[int, int]
    target: tuple[int, int]

    @classmethod
    def whole(cls, height: int, width: int) -> Framing:
        """Of a picture that was neither scaled nor cut."""
        return cls((height, width), (0, 0), (height, width))


@dataclass(frozen=True)
class Conditioning:
    """N encoded prompts.

    prompt_embeds: (N, L, D), what the denoiser attends to. pooled: (N, P), one vector a prompt, where a family has one.
    extra: further tensors of N rows by the family's own names (SDXL: `time_ids`); what is missing there, the family
    fills in with its default when it predicts.
    """

    prompt_embeds: torch.Tensor
    pooled: torch.Tensor | None = None
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Conditioning | torch.Tensor) -> Conditioning:
        """`given`, or the conditioning that consists of embeddings (N, L, D) alone."""
        return given if isinstance(given, Conditioning) else cls(given)

    @classmethod
    def cat(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """All rows of the parts, one after the other. The parts are alike in what they hold."""
        first, pooled = parts[0], [part.pooled for part in parts if part.pooled is not None]
        return cls(
            torch.cat([part.prompt_embeds for part in parts]),
            torch.cat(pooled) if pooled else None,
            {name: torch.cat([part.extra[name] for part in parts]) for name in first.extra},
        )

    def __len__(self) -> int:
        return len(self.prompt_embeds)

    def __getitem__(self, rows: Any) -> Conditioning:
        """Some of the rows: by a slice, a list of positions or a tensor of them."""
        return Conditioning(
            self.prompt_embeds[rows],
            None if self.pooled is None else self.pooled[rows],
            {name: value[rows] for name, value in self.extra.items()},
        )

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Conditioning:
        """On another device; the embeddings in another dtype. Numbers in `extra` keep theirs: sizes must not be
        rounded.
        """
        return Conditioning(
            self.prompt_embeds.to(device=device, dtype=dtype),
            None if self.pooled is None else self.pooled.to(device=device, dtype=dtype),
            {name: value.to(device=device) for name, value in self.extra.items()},
        )

    def repeated(self, times: int) -> Conditioning:
        """Every row so many times, its copies next to each other."""
        return Conditioning(
            self.prompt_embeds.repeat_interleave(times, dim=0),
            None if self.pooled is None else self.pooled.repeat_interleave(times, dim=0),
            {name: value.repeat_interleave(times, dim=0) for name, value in self.extra.items()},
        )
