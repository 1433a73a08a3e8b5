"""The autoencoder of `tiny`: a small `AutoencoderKL`, 64 x 64 pixels to 16 x 16 latents of 8 channels.

Most steps see 32 x 32 crops (a quarter of the work, and the network is convolutional), the last ones whole pictures.
Afterwards the latents are standardised: each channel's mean and deviation go into the two 1 x 1 convolutions around
the latents, so that `scaling_factor` is 1 and the UNet meets unit variance.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL

from conceptlib.worlds.tiny.recipe import VaeRecipe

LATENT_CHANNELS = 8


def make_vae(channels: tuple[int, ...]) -> AutoencoderKL:
    """An untrained autoencoder; `channels` (each a multiple of 8) from full resolution down to a quarter."""
    n = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def to_tensor(images: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in -1 to 1, channels last in memory."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def train_vae(
    images: np.ndarray, recipe: VaeRecipe, seed: int, device: str, log: Callable[[str], None]
) -> AutoencoderKL:
    """Train the autoencoder on uint8 pictures (n, 64, 64, 3); the last 256 are held out for the logged PSNR (dB)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = make_vae(recipe.channels).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    total = recipe.crop_steps + recipe.full_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * min(1.0, step / total))) + 1e-3
    )
    held_out = images[-256:]
    start = time.perf_counter()
    for step in range(1, total + 1):
        whole = step > recipe.crop_steps
        chosen = np.sort(rng.integers(0, len(images) - 256, recipe.full_batch_size if whole else recipe.batch_size))
        batch = images[chosen]
        if not whole:
            y, x = rng.integers(0, 64 - recipe.crop + 1, 2)
            batch = batch[:, y : y + recipe.crop, x : x + recipe.crop]
        pixels = to_tensor(batch, device)
        posterior = vae.encode(pixels).latent_dist
        error = vae.decode(posterior.sample()).sample - pixels
        loss = error.abs().mean() + error.square().mean() + recipe.kl_weight * posterior.kl().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 200 == 0 or step == total:
            seconds = time.perf_counter() - start
            log(f"vae step {step} loss {loss.item():.4f} psnr {psnr(vae, held_out):.2f} dB, {seconds:.0f} s")
    return vae.eval()


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: np.ndarray, batch_size: int = 64) -> float:
    """Mean-square reconstruction quality of uint8 pictures (n, 64, 64, 3), in dB."""
    errors = []
    for k in range(0, len(images), batch_size):
        pixels = to_tensor(images[k : k + batch_size], str(vae.device))
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
        errors.append((decoded - pixels).square().mean().item())
    return float(10 * np.log10(4 / np.mean(errors)))


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray, batch_size: int = 128) -> torch.Tensor:
    """Latent means of uint8 pictures: float16 (n, 8, 16, 16), on the CPU."""
    parts = []
    for k in range(0, len(images), batch_size):
        parts.append(vae.encode(to_tensor(images[k : k + batch_size], str(vae.device))).latent_dist.mode().half().cpu())
    return torch.cat(parts)


@torch.no_grad()
def standardise(vae: AutoencoderKL, images: np.ndarray) -> None:
    """Fold mean and deviation of each latent channel, over these pictures, into the convolutions around the latents."""
    latents = encode(vae, images).float()
    mean = latents.mean((0, 2, 3)).to(vae.device)
    std = latents.std((0, 2, 3)).to(vae.device)
    before, after = vae.quant_conv, vae.post_quant_conv
    n = LATENT_CHANNELS
    after.bias += torch.einsum("oiyx,i->o", after.weight, mean)
    after.weight *= std[None, :, None, None]
    before.weight[:n] /= std[:, None, None, None]
    before.bias[:n] = (before.bias[:n] - mean) / std
    before.bias[n:] -= 2 * std.log()
