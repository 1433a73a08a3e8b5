"""What a model's output means, and the algebra between the meanings. Formulas of methods are written for ε; models that
predict v (Salimans and Ho 2022) or a flow's velocity are converted here and nowhere else.

z_t = α x₀ + σ ε with α = √ᾱ_t and σ = √(1 − ᾱ_t); v = α ε − σ x₀. Hence ε = α v + σ z_t.
"""

from __future__ import annotations

from typing import Any

import torch

from conceptlib.models.devices import send

_SMALLEST = 1e-6
"""Below this α the output of a v-model is x₀ alone, and says nothing of ε."""


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """In float32 at least: formulas are not computed in the 8 bits of bfloat16."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class Prediction:
    """The meaning of a UNet's output under a scheduler's noise schedule.

    Args:
        scheduler: any diffusers scheduler with `alphas_cumprod` and `config.prediction_type` (`epsilon` or
            `v_prediction`).
    """

    def __init__(self, scheduler: Any) -> None:
        self.kind = str(scheduler.config.get("prediction_type", "epsilon"))
        self.num_timesteps = int(scheduler.config.num_train_timesteps)
        self._alphas_cumprod = scheduler.alphas_cumprod
        self._on: dict[torch.device, torch.Tensor] = {}

    def alpha_sigma(self, timesteps: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """α and σ of timesteps (N,) or () as (N, 1, 1, 1) on the device and, at least float32, in the dtype of `like`
        (N, C, h, w).
        """
        dtype = wide(like).dtype
        if like.device not in self._on:
            self._on[like.device] = send(self._alphas_cumprod, like.device)
        bars, where = self._on[like.device], timesteps.to(like.device)
        bar = bars[where.long()]
        if where.is_floating_point():  # Euler and its like stand between timesteps; σ / α is linear there
            over = ((1 - bars) / bars).sqrt()
            below = over[where.long()]
            bar = 1 / (1 + torch.lerp(below, over[where.ceil().long()], where.frac().to(below)) ** 2)
        bar = bar.to(dtype).reshape(-1, 1, 1, 1)
        return bar.sqrt(), (1 - bar).sqrt()

    def to_epsilon(self, output: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """ε as the output (N, C, h, w) at z_t = `noisy` states it; gradients flow."""
        if self.kind == "epsilon":
            return output
        alpha, sigma = self.alpha_sigma(timesteps, output)
        return alpha * output + sigma * noisy

    def shifted(self, output: torch.Tensor, change: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The output that states ε + `change` where `output` states ε.

        A difference loses no digits where α is small, as a round trip through ε would. At α = 0, where a v-model's
        output does not depend on ε, nothing changes.
        """
        if self.kind == "epsilon":
            return output + change
        alpha, _ = self.alpha_sigma(timesteps, output)
        return output + torch.where(alpha > _SMALLEST, change / alpha.clamp(min=_SMALLEST), 0)

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """z_t = α x₀ + σ ε, (N, C, h, w)."""
        alpha, sigma = self.alpha_sigma(timesteps, clean)
        return alpha * clean + sigma * noise

    def output_scale(self, timesteps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """How much larger a difference is in the output than in ε, (N, 1, 1, 1): 1 / α for v, at most 100; 1 for ε."""
        alpha, _ = self.alpha_sigma(timesteps, like)
        return torch.ones_like(alpha) if self.kind == "epsilon" else 1 / alpha.clamp(min=0.01)

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the model should have put out for x₀ = `clean` and ε = `noise`."""
        if self.kind == "epsilon":
            return noise
        alpha, sigma = self.alpha_sigma(timesteps, clean)
        return alpha * noise - sigma * clean


class FlowPrediction(Prediction):
    """The meaning of the output of a flow-matching model: its velocity v = ε − x₀ at z_t = (1 − σ) x₀ + σ ε, hence
    ε = z_t + (1 − σ) v. Timesteps go from 0 to `num_timesteps`, σ = t / num_timesteps (the scheduler's shift decides
    which of them are visited, not what they mean).

    Args:
        scheduler: with `config.num_train_timesteps`.
    """

    kind = "flow"

    def __init__(self, scheduler: Any) -> None:
        self.num_timesteps = int(scheduler.config.num_train_timesteps)

    def alpha_sigma(self, timesteps: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """1 − σ and σ."""
        sigma = (timesteps.to(like.device, wide(like).dtype) / self.num_timesteps).reshape(-1, 1, 1, 1)
        return 1 - sigma, sigma

    def to_epsilon(self, output: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """ε = z_t + (1 − σ) v."""
        alpha, _ = self.alpha_sigma(timesteps, output)
        return noisy + alpha * output

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """v = ε − x₀."""
        return noise - clean


def shifted_timesteps(uniform: torch.Tensor, steps: int, shift: float) -> torch.Tensor:
    """Timesteps, int64 in [0, steps): ⌊steps · s·u / (1 + (s − 1)·u)⌋ (Esser et al. 2024, eq. 23).

    Args:
        uniform: u, any shape, in [0, 1).
        steps: T, how many timesteps the model was trained with.
        shift: s above 0; 1 leaves the timesteps uniform.
    """
    return (steps * shift * uniform / (1 + (shift - 1) * uniform)).long().clamp(0, steps - 1)
