"""Guidance rules: a method that erases at inference replaces ε̂ = ε_u + s_g (ε_p − ε_u) by a rule of its own.

A rule hangs on the pipeline (`pipe.guidance_rule`). `models.sampling` follows it, and so does a plain pipeline call
(`models.pipeline`), where the denoiser's batch is widened by the rule's prompts and its two halves are both replaced by
the rule's result, of which classifier-free guidance makes the same again. Without guidance (scale 1 or less) there
is no negative prediction, and a rule has no effect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn

from conceptlib.models.conditioning import Conditioning
from conceptlib.models.prediction import Prediction, wide


class Combine(Protocol):
    """One denoising run. May keep a state between its steps (SLD's momentum)."""

    def __call__(
        self, negative: torch.Tensor, positive: torch.Tensor, extra: torch.Tensor, step: int, guidance_scale: float
    ) -> torch.Tensor:
        """ε̂ (N, C, h, w), in float32 at least.

        Args:
            negative, positive: ε of the negative (or empty) prompt and of the picture's own, (N, C, h, w).
            extra: ε of the rule's prompts, (E, N, C, h, w).
            step: of the run, from 0.
        """
        ...


class GuidanceRule(Protocol):
    """prompts: E prompts whose predictions the rule needs beside the two, such as a safety concept."""

    prompts: tuple[str, ...]

    def begin(self) -> Combine:
        """What combines the predictions of one run; called anew for each batch of pictures."""
        ...


def combine(
    outputs: torch.Tensor,
    noisy: torch.Tensor,
    timestep: torch.Tensor,
    *,
    step: int,
    guidance_scale: float,
    prediction: Prediction,
    rule: Combine | None,
) -> torch.Tensor:
    """The guided output of a model, in the model's own terms (ε or v).

    Args:
        outputs: ((2 + E) N, C, h, w): negative, positive, extra.
        noisy: z_t, (N, C, h, w).
    """
    negative, positive, *extra = outputs.chunk(len(outputs) // len(noisy))
    if rule is None:
        return negative + guidance_scale * (positive - negative)
    states = [prediction.to_epsilon(wide(one), wide(noisy), timestep) for one in (negative, positive, *extra)]
    stacked = torch.stack(states[2:]) if extra else states[0].new_empty((0, *states[0].shape))
    wanted = rule(states[0], states[1], stacked, step, guidance_scale)
    return prediction.shifted(wide(negative), wanted - states[0], timestep).to(outputs.dtype)


class Widening(Protocol):
    """What a rule must know of a model whose pipeline runs (see `conceptlib.models.family.Model`)."""

    pipe: Any

    @property
    def denoiser(self) -> Any:
        """The network that predicts."""
        ...

    @property
    def prediction(self) -> Prediction:
        """What its output means."""
        ...

    def widen(self, arguments: dict[str, Any], more: Conditioning, count: int) -> dict[str, Any]:
        """The denoiser's named arguments with the rows of `more` behind their own; what is not said in `more` is that
        of the last `count` rows.
        """
        ...


@contextlib.contextmanager
def widened(model: Widening, rule: GuidanceRule, conditioning: Conditioning) -> Iterator[None]:
    """While it is open, guided calls of the denoiser (a batch of negatives, then positives) follow the rule.

    Args:
        model: of the running pipeline, which has the scheduler and the guidance scale.
        conditioning: of the rule's prompts, E rows.
    """
    run, steps, pipe = rule.begin(), [0], model.pipe
    prediction = model.prediction

    def widen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not pipe.do_classifier_free_guidance:
            return None
        sample = args[0]
        count = len(sample) // 2
        sample = torch.cat([sample, *[sample[:count]] * len(conditioning)])
        return (sample, *args[1:]), model.widen(kwargs, conditioning.repeated(count), count)

    def replace(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not pipe.do_classifier_free_guidance:
            return None
        count = len(output[0]) // (2 + len(conditioning))
        guided = combine(
            output[0],
            args[0][:count],
            torch.as_tensor(args[1]),
            step=steps[0],
            guidance_scale=float(pipe.guidance_scale),
            prediction=prediction,
            rule=run,
        )
        steps[0] += 1
        return (torch.cat([guided, guided]), *output[1:])

    denoiser = model.denoiser
    handles = [
        denoiser.register_forward_pre_hook(widen, with_kwargs=True),
        denoiser.register_forward_hook(replace, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
