"""The loops of the released ESD and Ablating Concepts, restated plainly: what conceptlib is timed against.

Restated are the parts that cost time and memory; from the descriptions, not from the code. Both train the model's raw
output, as the releases do; of a model that predicts v this is our `loss_space=output`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from conceptlib.models.encoding import encode_ids, token_ids
from conceptlib.models.parts import Part, select
from conceptlib.models.prediction import Prediction, shifted_timesteps


@dataclass(frozen=True)
class Spent:
    """What a loop did: loss evaluations, optimiser steps, calls of a UNet (batches), wall seconds."""

    evaluations: int
    updates: int
    calls: int
    seconds: float


def embed(pipe: Any, prompts: Sequence[str]) -> torch.Tensor:
    """The prompts through the text encoder, every time anew."""
    with torch.no_grad():
        ids = token_ids(pipe.tokenizer, prompts).to(pipe.text_encoder.device)
        return encode_ids(pipe.text_encoder, pipe.tokenizer, ids)


def esd(
    pipe: Any,
    concepts: Sequence[str],
    *,
    part: Part = "attn2",
    updates: int,
    lr: float,
    eta: float,
    num_steps: int,
    guidance_scale: float,
    seed: int,
) -> Spent:
    """The released ESD with the paper's target: changes `pipe.unet`.

    An update is one picture: encode the prompts, walk a new trajectory from noise to a random step with the frozen
    copy, ask the copy twice and the student once. Gradients are computed for all weights, of which `part` is stepped.
    """
    from diffusers import DDIMScheduler

    begun, calls = time.perf_counter(), 0
    student, teacher = pipe.unet, copy.deepcopy(pipe.unet)
    student.requires_grad_(True)
    optimizer = torch.optim.Adam(select(student, part).values(), lr=lr)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(num_steps)
    source = torch.Generator().manual_seed(seed)
    shape = (1, student.config.in_channels, student.config.sample_size, student.config.sample_size)
    for update in range(updates):
        null, concept = (embed(pipe, [text]) for text in ("", concepts[update % len(concepts)]))
        stop = int(torch.randint(num_steps, (), generator=source))
        latents = torch.randn(shape, generator=source).to(student.device) * scheduler.init_noise_sigma
        with torch.no_grad():
            for timestep in scheduler.timesteps[:stop]:
                both = teacher(torch.cat([latents] * 2), timestep, encoder_hidden_states=torch.cat([null, concept]))[0]
                away, towards = both.chunk(2)
                guided = away + guidance_scale * (towards - away)
                latents = scheduler.step(guided, timestep, latents).prev_sample
            timestep = scheduler.timesteps[stop]
            without = teacher(latents, timestep, encoder_hidden_states=null)[0]
            said = teacher(latents, timestep, encoder_hidden_states=concept)[0]
            target = without - eta * (said - without)
        optimizer.zero_grad()
        loss = functional.mse_loss(student(latents, timestep, encoder_hidden_states=concept)[0], target)
        loss.backward()
        optimizer.step()
        calls += stop + 3
    student.requires_grad_(False)
    return Spent(updates, updates, calls, time.perf_counter() - begun)


def denoising(
    pipe: Any,
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    updates: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> Spent:
    """An ordinary fine-tune, as example scripts do it and as Geom-Erasing builds on: changes `pipe.unet`.

    A batch encodes its pictures and captions anew, adds noise, and steps all weights of the UNet; the loss is looked
    at after each.

    Args:
        pictures: uint8 (H, W, 3), in turn, with a caption each.
    """
    begun = time.perf_counter()
    unet, vae, prediction = pipe.unet, pipe.vae, Prediction(pipe.scheduler)
    unet.requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=lr)
    source = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(updates):
        rows = torch.randint(len(pictures), (batch_size,), generator=source).tolist()
        pixels = torch.stack(
            [torch.from_numpy(np.array(pictures[row])).permute(2, 0, 1).float() / 127.5 - 1 for row in rows]
        )
        with torch.no_grad():
            clean = vae.encode(pixels.to(vae.device)).latent_dist.mode() * vae.config.scaling_factor
            noise = torch.randn(clean.shape, generator=source).to(clean)
            timesteps = torch.randint(prediction.num_timesteps, (batch_size,), generator=source).to(clean.device)
            noisy, target = (f(clean, noise, timesteps) for f in (prediction.noised, prediction.target))
            states = embed(pipe, [captions[row] for row in rows])
        optimizer.zero_grad()
        loss = functional.mse_loss(unet(noisy, timesteps, encoder_hidden_states=states)[0], target)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    unet.requires_grad_(False)
    return Spent(updates * batch_size, updates, updates, time.perf_counter() - begun)


def ablating(
    pipe: Any,
    pictures: Sequence[Path],
    pairs: Sequence[tuple[str, str]],
    *,
    part: Part = "attn2-kv",
    updates: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    timestep_shift: float,
    prior_weight: float,
    seed: int,
) -> Spent:
    """The released Ablating Concepts (model-based), its training part: changes `pipe.unet`.

    A batch opens its picture files, encodes pictures and prompts anew, and asks the model twice: of the anchor without
    gradient, of the concept with. With a prior term, as many other pictures of the anchor are in the second call.

    Args:
        pictures: files, in turn. pairs: for each the anchor's prompt and the concept's.
    """
    begun, calls = time.perf_counter(), 0
    unet, vae, prediction = pipe.unet, pipe.vae, Prediction(pipe.scheduler)
    trained = select(unet, part)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.values(), lr=lr, weight_decay=weight_decay)
    source = torch.Generator().manual_seed(seed)
    count = 2 * batch_size if prior_weight else batch_size
    for _ in range(updates):
        rows = torch.randint(len(pictures), (count,), generator=source).tolist()
        pixels = torch.stack([_pixels(pictures[row]) for row in rows])
        with torch.no_grad():
            clean = vae.encode(pixels).latent_dist.sample(source) * vae.config.scaling_factor
            noise = torch.randn(clean.shape, generator=source)
            uniform = torch.rand(count, generator=source, dtype=torch.float64)
            timesteps = shifted_timesteps(uniform, prediction.num_timesteps, timestep_shift)
            latents = prediction.noised(clean, noise, timesteps)
            own = slice(0, batch_size)
            anchor = embed(pipe, [pairs[row][0] for row in rows])
            concept = embed(pipe, [pairs[row][1] for row in rows[own]])
            target = unet(latents[own], timesteps[own], encoder_hidden_states=anchor[own])[0]
            truth = prediction.target(clean, noise, timesteps)[batch_size:]
        optimizer.zero_grad()
        said = unet(latents, timesteps, encoder_hidden_states=torch.cat([concept, anchor[batch_size:]]))[0]
        loss = functional.mse_loss(said[own], target)
        if prior_weight:
            loss = loss + prior_weight * functional.mse_loss(said[batch_size:], truth)
        loss.backward()
        optimizer.step()
        calls += 2
    unet.requires_grad_(False)
    return Spent(updates * batch_size, updates, calls, time.perf_counter() - begun)


def _pixels(path: Path) -> torch.Tensor:
    """A picture file as float32 (3, H, W) in -1 to 1."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
