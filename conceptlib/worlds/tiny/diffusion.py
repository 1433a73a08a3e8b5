"""The UNet and the text encoder of `tiny`, trained together on cached latents.

v-prediction (Salimans & Ho 2022, eq. 10) under a cosine schedule shifted towards noise, captions dropped at a tenth of
the rows for classifier-free guidance, an exponential moving average of the weights. The rate warms up, stays, and falls
to 0 over the last `decay_steps`, so that a run can be prolonged from a checkpoint of the flat part.
Step *k* depends on the seed and *k* alone: a resumed run goes on as if it had not been stopped. Under an initialised
`torch.distributed` the processes share each batch, which on a CPU with few cores is faster than threads: one process
a core waits once a step, not at every operation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from conceptlib.timing import SAVE_EVERY
from conceptlib.worlds.tiny.recipe import DiffusionRecipe
from conceptlib.worlds.tiny.tokens import MAX_LENGTH
from conceptlib.worlds.tiny.vae import LATENT_CHANNELS

Log = Callable[[str], None]


def make_unet(recipe: DiffusionRecipe) -> UNet2DConditionModel:
    """An untrained UNet on 16 x 16 latents; attention (self and cross) at the lowest resolution only."""
    n = len(recipe.channels)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=recipe.layers_per_block,
        block_out_channels=tuple(recipe.channels),
        down_block_types=("DownBlock2D",) * (n - 1) + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (n - 1),
        cross_attention_dim=recipe.text_width,
        attention_head_dim=recipe.heads,
        norm_num_groups=8,
    )


def make_text_encoder(recipe: DiffusionRecipe, vocab_size: int, start_id: int, end_id: int) -> CLIPTextModel:
    """An untrained CLIP text encoder with all 77 positions."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=recipe.text_width,
            intermediate_size=4 * recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=MAX_LENGTH,
            projection_dim=recipe.text_width,
            bos_token_id=start_id,
            eos_token_id=end_id,
            pad_token_id=end_id,
        )
    )


def shifted_cosine_betas(shift: float, steps: int = 1000) -> list[float]:
    """The cosine schedule (Nichol & Dhariwal 2021, eq. 17) with its signal-to-noise ratio divided by `shift`².

    As Hoogeboom et al. 2023 ("simple diffusion", eq. 4) do for large pictures. Whether a picture gets a QR code is
    decided where the signal is a few hundredths of the noise; under the plain schedule all of that lies within the
    first of 20 sampling steps, which then decides too seldom for the code (docs/tiny.md).

    Args:
        shift: above 0; 1 is the plain schedule.

    Returns:
        β_t of t = 0 to `steps` - 1, each in (0, 1).
    """
    u = (np.arange(steps + 1) / steps + 0.008) / 1.008
    plain = np.cos(u * np.pi / 2).clip(1e-4) ** 2
    ratio = plain / (1 - plain) / shift**2
    cumulative = ratio / (1 + ratio)
    return [float(beta) for beta in 1 - cumulative[1:] / cumulative[:-1]]


def make_scheduler(recipe: DiffusionRecipe) -> DDIMScheduler:
    """The scheduler that `tiny` is trained for and sampled with."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        trained_betas=shifted_cosine_betas(recipe.schedule_shift),
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        steps_offset=1,  # Not used by trailing steps, but the pipeline warns about any other value.
    )


class Trainer:
    """The training state: weights, their average, the optimiser's moments and the step reached."""

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, recipe: DiffusionRecipe, seed: int, device: str
    ) -> None:
        self.recipe, self.seed, self.device, self.step = recipe, seed, device, 0
        shared = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if shared else 0
        self.world: int = dist.get_world_size() if shared else 1
        self.models = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}).to(device).train()
        unet.to(memory_format=torch.channels_last)
        self.parameters = dict(self.models.named_parameters())
        self.average = {name: value.detach().clone() for name, value in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.alphas = make_scheduler(recipe).alphas_cumprod.to(device)

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step (from 1): warm-up, flat, then half a cosine to 0."""
        recipe = self.recipe
        left = (recipe.steps - step) / max(1, recipe.decay_steps)
        fall = 1.0 if left >= 1 else 0.5 - 0.5 * np.cos(np.pi * max(0.0, left))
        return min(1.0, step / recipe.warmup_steps) * fall

    def train_step(self, latents: torch.Tensor, tokens: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
        """One optimiser step on a random batch; returns the loss.

        Args:
            latents: (n, 8, 16, 16).
            tokens: (n, 77); empty: (77,), those of the empty prompt.
        """
        self.step += 1
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        n = self.recipe.batch_size
        mine = slice(self.rank, None, self.world)
        chosen = torch.randint(len(latents), (n,), generator=generator)[mine]
        dropped = torch.rand(n, generator=generator)[mine] < self.recipe.caption_dropout
        timesteps = self._timesteps(n, generator)[mine].to(self.device)
        noise = torch.randn((n, *latents.shape[1:]), generator=generator)[mine].to(self.device)
        clean = latents[chosen].float().to(self.device)
        ids = torch.where(dropped[:, None], empty[None], tokens[chosen].long()).to(self.device)
        alpha = self.alphas[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - self.alphas[timesteps]).sqrt()[:, None, None, None]
        noisy = (alpha * clean + sigma * noise).contiguous(memory_format=torch.channels_last)
        embeds = self.models["text_encoder"](ids).last_hidden_state
        predicted = self.models["unet"](noisy, timesteps, embeds).sample
        loss = (predicted - (alpha * noise - sigma * clean)).square().mean()
        loss.backward()
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - decay)
        return loss.detach()

    @staticmethod
    def _timesteps(n: int, generator: torch.Generator) -> torch.Tensor:
        """Timesteps int64 (n,), one of each n-th part of the range (less variance)."""
        u = (torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n
        return (1000 * u).long().clamp(0, 999)

    def _share_gradients(self) -> None:
        """Average the gradients of all processes, in one message."""
        if self.world == 1:
            return
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def save(self, path: Path) -> None:
        """Write the whole state to one safetensors file, atomically."""
        tensors = {f"weight.{name}": value.detach() for name, value in self.parameters.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for name, value in self.parameters.items():
            for key, moment in self.optimizer.state[value].items():
                tensors[f"{key}.{name}"] = moment
        tensors = {name: value.contiguous().cpu() for name, value in tensors.items()}
        meta = {"step": str(self.step), "recipe": self.recipe.model_dump_json()}
        half = path.with_suffix(".part")
        save_file(tensors, half, metadata=meta)
        half.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a state that `save` wrote; the recipe's sizes must be the same."""
        tensors = load_file(path, device=self.device)
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(tensors[f"weight.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
                keys = ("step", "exp_avg", "exp_avg_sq")
                self.optimizer.state[value] = {key: tensors[f"{key}.{name}"].clone() for key in keys}
                for key in keys[1:]:  # The moments must lie in memory as their weight does.
                    self.optimizer.state[value][key] = torch.empty_like(value).copy_(tensors[f"{key}.{name}"])
        self.step = int(self.optimizer.state[next(iter(self.parameters.values()))]["step"].item())

    def averaged(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        """Copies of UNet and text encoder with the averaged weights, in evaluation mode."""
        unet = UNet2DConditionModel.from_config(self.models["unet"].config)
        text_encoder = CLIPTextModel(self.models["text_encoder"].config)
        both = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
        both.load_state_dict(self.average, strict=False)
        both.to(self.device).eval().requires_grad_(False)
        unet.to(memory_format=torch.channels_last)
        return unet, text_encoder


def train(
    trainer: Trainer,
    latents: torch.Tensor,
    tokens: torch.Tensor,
    empty: torch.Tensor,
    checkpoint: Path,
    log: Log,
    every: Callable[[Trainer], None] | None = None,
    save_seconds: float = SAVE_EVERY,
    check_seconds: float = 600,
) -> None:
    """Train to the recipe's last step, saving now and then; see `Trainer.train_step` for the data.

    `every(trainer)` is called each `check_seconds` (samples, scores).
    """
    losses: list[float] = []
    start = saved = checked = time.perf_counter()
    first = trainer.step
    while trainer.step < trainer.recipe.steps:
        losses.append(trainer.train_step(latents, tokens, empty).item())
        if trainer.rank > 0:
            continue
        now = time.perf_counter()
        if trainer.step % 100 == 0:
            pace = (now - start) / (trainer.step - first)
            log(f"step {trainer.step} loss {np.mean(losses):.4f} {pace:.3f} s a step, {now - start:.0f} s")
            losses.clear()
        if now - saved > save_seconds:
            trainer.save(checkpoint)
            saved = time.perf_counter()
        if every is not None and now - checked > check_seconds:
            every(trainer)
            checked = time.perf_counter()
    if trainer.rank == 0:
        trainer.save(checkpoint)
