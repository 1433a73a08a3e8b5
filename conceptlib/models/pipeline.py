"""The pipeline that a checkpoint opens as: diffusers' own, with the erasure switched on by itself."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from conceptlib.models.devices import Placement
from conceptlib.models.encoding import PromptCache
from conceptlib.models.guidance import GuidanceRule, follow
from conceptlib.models.loading import place


class ErasedPipeline(StableDiffusionPipeline):
    """A `StableDiffusionPipeline` with what a checkpoint adds at inference.

    negative_prompt_default: used wherever the caller gives no negative prompt. guidance_rule: replaces classifier-free
    guidance; None for the ordinary one. checkpoint: the `Checkpoint` it was opened from, None for a base.
    """

    negative_prompt_default: str = ""
    guidance_rule: GuidanceRule | None = None
    checkpoint: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As diffusers', following the guidance rule."""
        rule = self.guidance_rule
        if rule is None:
            return super().__call__(*args, **kwargs)
        with follow(self.unet, rule, PromptCache(self).encode(rule.prompts), self):
            return super().__call__(*args, **kwargs)

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As diffusers', with the default negative prompt filled in."""
        if negative_prompt is None and negative_prompt_embeds is None and self.negative_prompt_default:
            count = len(prompt) if isinstance(prompt, list) else 1 if prompt_embeds is None else prompt_embeds.shape[0]
            single = isinstance(prompt, str)
            negative_prompt = self.negative_prompt_default if single else [self.negative_prompt_default] * count
        return super().encode_prompt(
            prompt,
            device,
            num_images_per_prompt,
            do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            **kwargs,
        )

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write a folder that plain diffusers opens: it must not name this class."""
        plain = StableDiffusionPipeline(**self.components, requires_safety_checker=False)
        plain.save_pretrained(save_directory, **kwargs)


def dressed(pipe: Any, placement: Placement) -> ErasedPipeline:
    """The same components as an `ErasedPipeline` on the placement's device."""
    erased = ErasedPipeline(**pipe.components, requires_safety_checker=False)
    place(erased, placement)
    return erased
