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
from conceptlib.models.conditioning import Conditioning, Framing
from conceptlib.models.devices import fetch, send
from conceptlib.models.encoding import PromptCache
from conceptlib.models.family import Defaults, Model, of
from conceptlib.models.guidance import GuidanceRule, combine
from conceptlib.models.prediction import wide
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


def usual_guidance(usual: Defaults) -> float:
    """The guidance scale of a model where nobody says one: its family's, or that of its resolution."""
    return default_guidance(usual.resolution) if usual.guidance_scale is None else usual.guidance_scale


def rows_at_once(height: int, width: int) -> int:
    """Pictures of so many pixels that an ordinary device draws at once: 64 at up to 128 px, 4 at 512 px."""
    return max(1, min(64, _PIXELS_PER_BATCH // (height * width)))


def sample(
    pipe: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompts: str | Sequence[str | None] | None = None,
    num_steps: int = NUM_STEPS,
    guidance_scale: float | None = None,
    batch_size: int | None = None,
    height: int | None = None,
    width: int | None = None,
    progress: Progress | None = None,
    cache: PromptCache | None = None,
    framing: Framing | None = None,
    each: Callable[[slice, Callable[[], torch.Tensor]], None] | None = None,
) -> np.ndarray:
    """Draw one picture a row.

    Args:
        pipe: a pipeline of a known family; its `guidance_rule`, if it has one, is followed.
        prompts: N prompts.
        seeds: N seeds. A row's noise comes from its own CPU generator, so it does not depend on the batch, the order or
            the device.
        negative_prompts: one for all, or one a row (None in it: the unconditional prompt); None: the pipeline's
            `negative_prompt_default` if it has one, else the unconditional prompt.
        num_steps: denoising steps, 1 or more.
        guidance_scale: 1 or less: no guidance, and the negative prompt has no effect; None: `default_guidance` of the
            model's family and resolution.
        batch_size: rows at once; by default as many as fit an ordinary device (64 at up to 128 px, 4 at 512 px).
        height, width: pixels, multiples of 8 (and of the model's `scale`); by default what the model was trained on.
        progress: called with ("sample", rows done, rows in all).
        cache: prompt embeddings to share between calls with the same pipeline.
        framing: how pictures are said to have been scaled and cut, to families that are told (SDXL); by default not at
            all.
        each: takes every batch instead: its rows, and a function that waits for its pictures, uint8 (n, height, width,
            3) on the CPU. Whoever calls that in another thread does not keep the device waiting.

    Returns:
        uint8 (N, height, width, 3); with `each`, (0, height, width, 3).

    Raises:
        ConceptlibError: lengths that differ, or settings out of range.
    """
    model = of(pipe)
    side = model.resolution
    height, width = height or side, width or side
    negatives = _negatives(model.pipe, negative_prompts, len(prompts))
    if len(seeds) != len(prompts) or len(negatives) != len(prompts):
        raise ConceptlibError(
            f"{len(prompts)} prompts, {len(seeds)} seeds and {len(negatives)} negative prompts: give as many of each"
        )
    guidance_scale = usual_guidance(Defaults(side, model.GUIDANCE)) if guidance_scale is None else guidance_scale
    _refuse_settings(model, height, width, num_steps, guidance_scale, seeds)
    batch_size = batch_size or rows_at_once(height, width)
    cache = cache or PromptCache(model)
    rule: GuidanceRule | None = getattr(model.pipe, "guidance_rule", None)
    shape = (1, *model.latent_shape(height, width))
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
        texts: list[str | None] = [*negatives[rows], *prompts[rows]] if guidance_scale > 1 else list(prompts[rows])
        if rule is not None and guidance_scale > 1:
            texts += [prompt for prompt in rule.prompts for _ in prompts[rows]]
        given = cache.encode(texts)
        if framing is not None:
            given = model.framed(given, [framing] * len(given))
        latents = denoise(model, noise, given, num_steps=num_steps, guidance_scale=guidance_scale, rule=rule)
        (each or keep)(rows, fetch(model.to_pixels(latents)))
        if progress is not None:
            progress("sample", rows.stop, len(prompts))
    for rows, pixels in waiting:
        out[rows] = pixels().numpy()
    return out


def _refuse_settings(
    model: Model, height: int, width: int, num_steps: int, guidance_scale: float, seeds: Sequence[int]
) -> None:
    multiple = math.lcm(8, model.scale)
    if num_steps < 1 or height % multiple or width % multiple or min(height, width) < multiple:
        raise ConceptlibError(
            f"cannot draw {width} x {height} pixels in {num_steps} steps",
            hint=f"multiples of {multiple} pixels, at least one step",
        )
    trained = model.prediction.num_timesteps
    if num_steps > trained or not math.isfinite(guidance_scale):
        raise ConceptlibError(
            f"cannot draw in {num_steps} steps with a guidance of {guidance_scale}",
            hint=f"at most the {trained} steps that the model was trained on, and a finite guidance",
        )
    if bad := [seed for seed in seeds if not 0 <= int(seed) < 2**64]:
        raise ConceptlibError(f"{bad[0]} is no seed", hint="a whole number from 0 on, below 2^64")


class Watch(Protocol):
    """Sees every step of a run."""

    def __call__(self, step: int, timestep: torch.Tensor, latents: torch.Tensor, outputs: torch.Tensor) -> None:
        """step: from 0. timestep: (). latents: z_t, (N, C, h, w). outputs: of the denoiser, a block of N for each
        prompt of a row, in the order of `conditioning`.
        """
        ...


@torch.inference_mode()
def denoise(
    pipe: Any,
    noise: torch.Tensor,
    conditioning: Conditioning | torch.Tensor,
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
        pipe: a pipeline, or its `Model`.
        conditioning: if `guidance_scale` > 1 at least 2N rows, negative prompts first, then the rows' own, then
            (E blocks of N) what the rule or the watcher wants to know besides; else N. Embeddings alone will do for
            a family that needs no more.
        rule: how guidance combines the predictions; None for the usual way.
        watch: called at every step, before the latents move.
        scheduler: who steps instead of DDIM; its state is its own.
        generators: one a row, for schedulers that add noise as they go.
        until: how many of the scheduler's timesteps are visited; None: all.

    Returns:
        Latents (N, C, h, w) on the denoiser's device, in float32 at least.
    """
    model = of(pipe)
    scheduler = model.sampler() if scheduler is None else scheduler
    prediction = model.prediction_of(scheduler)
    # The scheduler looks its numbers up on the CPU: those of a device's timestep would have to be waited for.
    scheduler.set_timesteps(num_steps)
    timesteps = send(scheduler.timesteps, model.device)
    run = rule.begin() if rule is not None else None
    guided = guidance_scale > 1
    dtype = model.dtype
    given = Conditioning.of(conditioning).to(model.device, dtype)
    blocks = len(given) // len(noise)
    # The latents and the guidance stay in float32: in bfloat16 every step would round them to 8 bits.
    spread = getattr(scheduler, "init_noise_sigma", 1.0)  # schedulers of flow matching begin with the noise as it is,
    latents = send(noise, model.device).to(torch.promote_types(dtype, torch.float32)) * spread
    options = (
        {"generator": list(generators)} if generators and "generator" in signature(scheduler.step).parameters else {}
    )
    for step, timestep in enumerate(timesteps[:until]):
        seen = latents
        if hasattr(scheduler, "scale_model_input"):  # and they scale nothing
            # Of variance 1, whatever the scheduler's own latents are.
            seen = scheduler.scale_model_input(latents, scheduler.timesteps[step])
        inputs = torch.cat([seen] * blocks) if blocks > 1 else seen
        step_of = partial(model.predict, inputs.to(dtype), timestep, given)
        outputs = wide(paced(model.denoiser, inputs.shape, step_of))
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


def _negatives(pipe: Any, given: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    if given is None:
        given = getattr(pipe, "negative_prompt_default", None) or [None] * count
    return [given] * count if isinstance(given, str) else list(given)
