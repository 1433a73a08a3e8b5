"""Draw many pictures: a batch of prompts, one seed a row, DDIM with classifier-free guidance (Song et al. 2021; Ho and
Salimans 2022).

The latents, the schedule and the arithmetic are those of `StableDiffusionPipeline.__call__` with a `DDIMScheduler`;
what is left out is what
costs time there: one model call a prompt, an encoding of every prompt, and PIL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any, Protocol

import numpy as np
import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import fetch, send
from conceptlib.models.encoding import PromptCache, decode_latents
from conceptlib.models.guidance import GuidanceRule, combine
from conceptlib.models.loading import default_resolution
from conceptlib.models.prediction import Prediction, wide
from conceptlib.models.schedules import ddim
from conceptlib.models.threads import paced
from conceptlib.progress import Progress

NUM_STEPS = 20
SMALL_GUIDANCE = 1.2
"""The guidance scale of models of small pictures, which overshoot at Stable Diffusion's."""
_PIXELS_PER_BATCH = 64 * 128 * 128


def default_guidance(resolution: int) -> float:
    """The usual guidance scale of a model that was trained on pictures of so many pixels a side: 7.5 as in Stable
    Diffusion; below 256 px `SMALL_GUIDANCE`.
    """
    return 7.5 if resolution >= 256 else SMALL_GUIDANCE


def rows_at_once(height: int, width: int) -> int:
    """Pictures of so many pixels that an ordinary device draws at once: 64 at up to 128 px, 4 at 512 px."""
    return max(1, min(64, _PIXELS_PER_BATCH // (height * width)))


def sample(
    pipe: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompts: str | Sequence[str] | None = None,
    num_steps: int = NUM_STEPS,
    guidance_scale: float | None = None,
    batch_size: int | None = None,
    height: int | None = None,
    width: int | None = None,
    progress: Progress | None = None,
    cache: PromptCache | None = None,
    each: Callable[[slice, Callable[[], torch.Tensor]], None] | None = None,
) -> np.ndarray:
    """Draw one picture a row.

    Args:
        pipe: a pipeline of the Stable Diffusion shape; its `guidance_rule`, if it has one, is followed.
        prompts: N prompts.
        seeds: N seeds. A row's noise comes from its own CPU generator, so it does not depend on the batch, the order or
            the device.
        negative_prompts: one for all, or one a row; None: the pipeline's `negative_prompt_default` if it has one, else
            empty.
        num_steps: denoising steps, 1 or more.
        guidance_scale: 1 or less: no guidance, and the negative prompt has no effect; None: `default_guidance` of the
            model's resolution.
        batch_size: rows at once; by default as many as fit an ordinary device (64 at up to 128 px, 4 at 512 px).
        height, width: pixels, multiples of 8; by default what the model was trained on.
        progress: called with ("sample", rows done, rows in all).
        cache: prompt embeddings to share between calls with the same pipeline.
        each: takes every batch instead: its rows, and a function that waits for its pictures, uint8 (n, height, width,
            3) on the CPU. Whoever calls that in another thread does not keep the device waiting.

    Returns:
        uint8 (N, height, width, 3); with `each`, (0, height, width, 3).

    Raises:
        ConceptlibError: lengths that differ, or settings out of range.
    """
    side = default_resolution(pipe)
    height, width = height or side, width or side
    scale = int(pipe.vae_scale_factor)
    negatives = _negatives(pipe, negative_prompts, len(prompts))
    if len(seeds) != len(prompts) or len(negatives) != len(prompts):
        raise ConceptlibError(
            f"{len(prompts)} prompts, {len(seeds)} seeds and {len(negatives)} negative prompts: give as many of each"
        )
    if num_steps < 1 or height % 8 or width % 8 or min(height, width) < 8:
        raise ConceptlibError(
            f"cannot draw {width} x {height} pixels in {num_steps} steps",
            hint="multiples of 8 pixels, at least one step",
        )
    guidance_scale = default_guidance(side) if guidance_scale is None else guidance_scale
    trained = int(pipe.scheduler.config.num_train_timesteps)
    if num_steps > trained or not math.isfinite(guidance_scale):
        raise ConceptlibError(
            f"cannot draw in {num_steps} steps with a guidance of {guidance_scale}",
            hint=f"at most the {trained} steps that the model was trained on, and a finite guidance",
        )
    if bad := [seed for seed in seeds if not 0 <= int(seed) < 2**64]:
        raise ConceptlibError(f"{bad[0]} is no seed", hint="a whole number from 0 on, below 2^64")
    batch_size = batch_size or rows_at_once(height, width)
    cache = cache or PromptCache(pipe)
    rule: GuidanceRule | None = getattr(pipe, "guidance_rule", None)
    shape = (1, pipe.unet.config.in_channels, height // scale, width // scale)
    out = np.empty((0 if each else len(prompts), height, width, 3), np.uint8)
    waiting: list[tuple[slice, Callable[[], torch.Tensor]]] = []

    def keep(rows: slice, pixels: Callable[[], torch.Tensor]) -> None:
        # A batch is taken over when the next one has begun: the device does not wait for it.
        waiting.append((rows, pixels))
        while len(waiting) > 1:
            done, wait = waiting.pop(0)
            out[done] = wait().numpy()

    for start in range(0, len(prompts), batch_size):
        rows = slice(start, min(start + batch_size, len(prompts)))
        noise = torch.cat(
            [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds[rows]]
        )
        texts = [*negatives[rows], *prompts[rows]] if guidance_scale > 1 else list(prompts[rows])
        if rule is not None and guidance_scale > 1:
            texts += [prompt for prompt in rule.prompts for _ in prompts[rows]]
        embeds = cache.encode(texts)
        latents = denoise(pipe, noise, embeds, num_steps=num_steps, guidance_scale=guidance_scale, rule=rule)
        (each or keep)(rows, fetch(decode_latents(pipe.vae, latents)))
        if progress is not None:
            progress("sample", rows.stop, len(prompts))
    for rows, pixels in waiting:
        out[rows] = pixels().numpy()
    return out


class Watch(Protocol):
    """Sees every step of a run."""

    def __call__(self, step: int, timestep: torch.Tensor, latents: torch.Tensor, outputs: torch.Tensor) -> None:
        """step: from 0. timestep: (). latents: z_t, (N, C, h, w). outputs: of the UNet, a block of N for each prompt
        of a row, in the order of `prompt_embeds`.
        """
        ...


@torch.inference_mode()
def denoise(
    pipe: Any,
    noise: torch.Tensor,
    prompt_embeds: torch.Tensor,
    *,
    num_steps: int,
    guidance_scale: float,
    rule: GuidanceRule | None = None,
    watch: Watch | None = None,
    scheduler: Any | None = None,
    generators: Sequence[torch.Generator] | None = None,
    until: int | None = None,
) -> torch.Tensor:
    """The DDIM loop, or that of another scheduler.

    Args:
        noise: standard normal, (N, C, h, w), any device.
        prompt_embeds: if `guidance_scale` > 1 at least (2N, 77, D), negative prompts first, then the rows' own, then
            (E blocks of N) what the rule or the watcher wants to know besides; else (N, 77, D).
        rule: how guidance combines the predictions; None for the usual way.
        watch: called at every step, before the latents move.
        scheduler: who steps instead of DDIM; its state is its own.
        generators: one a row, for schedulers that add noise as they go.
        until: how many of the scheduler's timesteps are visited; None: all.

    Returns:
        Latents (N, C, h, w) on the UNet's device, in float32 at least.
    """
    scheduler = ddim(pipe.scheduler) if scheduler is None else scheduler
    # The scheduler looks its numbers up on the CPU: those of a device's timestep would have to be waited for.
    scheduler.set_timesteps(num_steps)
    timesteps = send(scheduler.timesteps, pipe.unet.device)
    prediction = Prediction(scheduler)
    run = rule.begin() if rule is not None else None
    guided = guidance_scale > 1
    dtype = pipe.unet.dtype
    embeds = prompt_embeds.to(pipe.unet.device, dtype)
    blocks = len(embeds) // len(noise)
    # The latents and the guidance stay in float32: in bfloat16 every step would round them to 8 bits.
    latents = send(noise, pipe.unet.device).to(torch.promote_types(dtype, torch.float32)) * scheduler.init_noise_sigma
    options = (
        {"generator": list(generators)} if generators and "generator" in signature(scheduler.step).parameters else {}
    )
    for step, timestep in enumerate(timesteps[:until]):
        # Of variance 1, whatever the scheduler's own latents are.
        seen = scheduler.scale_model_input(latents, scheduler.timesteps[step])
        inputs = torch.cat([seen] * blocks) if blocks > 1 else seen
        outputs = wide(paced(pipe.unet, inputs.shape, partial(_predict, pipe.unet, inputs.to(dtype), timestep, embeds)))
        if watch is not None:
            watch(step, timestep, seen, outputs)
        if guided:
            outputs = combine(
                outputs,
                seen,
                timestep,
                step=step,
                guidance_scale=guidance_scale,
                prediction=prediction,
                rule=run,
            )
        latents = scheduler.step(outputs, scheduler.timesteps[step], latents, **options, return_dict=False)[0]
    return latents


def _predict(unet: Any, inputs: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
    predicted: torch.Tensor = unet(inputs, timestep, encoder_hidden_states=embeds, return_dict=False)[0]
    return predicted


def _negatives(pipe: Any, given: str | Sequence[str] | None, count: int) -> list[str]:
    if given is None:
        given = getattr(pipe, "negative_prompt_default", None) or ""
    return [given] * count if isinstance(given, str) else list(given)
