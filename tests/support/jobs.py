"""Jobs of erasure on random models, without a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from conceptlib.erasers.base import Job
from conceptlib.erasers.loop import make_accelerator
from conceptlib.models.devices import Placement
from conceptlib.models.family import of
from conceptlib.specs.schema import ConceptSpec, phrase_name
from tests.support.models import build_pipeline


def concept(phrase: str) -> ConceptSpec:
    """A concept that was given by its phrase."""
    return ConceptSpec(kind="concept", name=phrase_name(phrase), type="explicit", phrases=(phrase,))


def build_job(
    folder: Path,
    params: Any,
    phrases: Sequence[str] = ("a red ring",),
    *,
    dtype: torch.dtype = torch.float64,
    build: Callable[..., Any] = build_pipeline,
    **model: Any,
) -> Job:
    """A job of `params` that works on `build(**model)` in `dtype`; its files are in `folder`."""
    placement = Placement(torch.device("cpu"), dtype, False)
    pipe = build(**model)
    for module in of(pipe).components().values():
        module.to(dtype)
        module.requires_grad_(False)
    return Job(
        params=params,
        seed=0,
        concepts=[concept(phrase) for phrase in phrases],
        pipe=pipe,
        placement=placement,
        accelerator=make_accelerator(placement),
        workdir=folder / "work",
        log=folder / "log.jsonl",
    )


def epsilon(pipe: Any, unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, prompts: Sequence[str]) -> Any:
    """ε of a UNet, by the textbook: the tests' own algebra, independent of `conceptlib.models.prediction`."""
    ids = pipe.tokenizer(list(prompts), padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipe.text_encoder(ids)[0]
    output = unet(latents, timesteps, encoder_hidden_states=states).sample
    if pipe.scheduler.config.prediction_type == "epsilon":
        return output
    bar = pipe.scheduler.alphas_cumprod.to(latents.dtype)[timesteps].reshape(-1, 1, 1, 1)
    return bar**0.5 * output + (1 - bar) ** 0.5 * latents


def adam_step(parameter: torch.Tensor, gradient: torch.Tensor, lr: float) -> torch.Tensor:
    """AdamW's first step without weight decay: the moments, corrected, are the gradient and its square."""
    return parameter - lr * gradient / (gradient.abs() + 1e-8)
