"""The pipelines that a checkpoint opens as: diffusers' own, with the erasure switched on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from conceptlib.models.devices import Placement
from conceptlib.models.family import of
from conceptlib.models.guidance import GuidanceRule
from conceptlib.models.loading import place

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline as _Pipeline
else:
    _Pipeline = object


class Erasing(_Pipeline):
    """What a checkpoint adds to a pipeline at inference; goes before diffusers' class in the list of bases.

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
        with of(self).follow(rule):
            return super().__call__(*args, **kwargs)

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write a folder that plain diffusers opens: it must not name this class."""
        of(self).plain().save_pretrained(save_directory, **kwargs)

    def default_negative(self, prompt: str | list[str] | None, embeds: torch.Tensor | None) -> str | list[str] | None:
        """The default negative prompt in the shape of the prompt; None if there is none."""
        if not self.negative_prompt_default:
            return None
        count = len(prompt) if isinstance(prompt, list) else 1 if embeds is None else embeds.shape[0]
        return self.negative_prompt_default if isinstance(prompt, str) else [self.negative_prompt_default] * count


class ErasedPipeline(Erasing, StableDiffusionPipeline):
    """A `StableDiffusionPipeline` with what a checkpoint adds at inference, see `Erasing`."""

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
        if negative_prompt is None and negative_prompt_embeds is None:
            negative_prompt = self.default_negative(prompt, prompt_embeds)
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


class ErasedXLPipeline(Erasing, StableDiffusionXLPipeline):
    """A `StableDiffusionXLPipeline` with what a checkpoint adds at inference, see `Erasing`."""

    def encode_prompt(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        device: Any = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As diffusers', with the default negative prompt filled in."""
        if negative_prompt is None and negative_prompt_embeds is None:
            negative_prompt = self.default_negative(prompt, prompt_embeds)
        return super().encode_prompt(
            prompt,
            prompt_2,
            device,
            num_images_per_prompt,
            do_classifier_free_guidance,
            negative_prompt,
            negative_prompt_2,
            prompt_embeds,
            negative_prompt_embeds,
            **kwargs,
        )


def dressed(pipe: Any, placement: Placement) -> Any:
    """The same components as a pipeline of their family with `Erasing`, on the placement's device."""
    model = of(pipe)
    erased = model.erased()(**pipe.components, **model.settings)
    place(erased, placement)
    return erased
