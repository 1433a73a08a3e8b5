"""The model while it is trained, and its teacher: one resident denoiser for both.

The teacher is the same network with the base's tensors swapped in (pointers, nothing is copied), or with its LoRA off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from conceptlib.erasers.base import Group, Job, WeightParams
from conceptlib.models.conditioning import Conditioning
from conceptlib.models.devices import narrow
from conceptlib.models.parts import Part
from conceptlib.models.prediction import wide
from conceptlib.store.seeds import row_seed


class Student:
    """The trained part of a job's denoiser.

    Gradients are on for the part's parameters alone (or for new LoRA matrices on its layers), which are float32; what
    is neither trained nor saved runs in the placement's dtype.

    Args:
        job: its `params` are `WeightParams`.
        part: which weights.
        norms: those of normalisation layers too.
    """

    def __init__(self, job: Job, part: Part, *, norms: bool = True) -> None:
        params: WeightParams = job.params
        self.params, self.model, self.part = params, job.model, part
        self.denoiser = job.model.denoiser
        self.device = job.placement.device
        self.prediction = job.model.prediction
        self.side = params.resolution or job.model.resolution
        self.shape = job.model.latent_shape(self.side, self.side)
        """Of one latent: (C, h, w)."""
        if params.gradient_checkpointing:
            self.denoiser.enable_gradient_checkpointing()
        self.named = self._lora(job.seed) if params.adapter == "lora" else job.model.select(part, norms=norms)
        for parameter in self.named.values():
            parameter.data = wide(parameter.data)
            parameter.requires_grad_(True)
        if params.adapter != "full" and self.denoiser.dtype != job.placement.dtype:
            narrow(self.denoiser, job.placement.dtype, self.named.values())
        self._base = {} if params.adapter == "lora" else {n: p.detach().clone() for n, p in self.named.items()}
        self._forward = torch.compile(self.denoiser) if params.compile else self.denoiser

    def _lora(self, seed: int) -> dict[str, torch.nn.Parameter]:
        from peft import LoraConfig

        before = {id(parameter) for parameter in self.denoiser.parameters()}
        rank = self.params.lora_rank
        # alpha = rank: the scale is 1, which is what readers assume that do not look at the metadata.
        config = LoraConfig(
            r=rank, lora_alpha=rank, target_modules=self.model.matrices(self.part), init_lora_weights="gaussian"
        )
        with torch.random.fork_rng():
            torch.manual_seed(row_seed(seed, rank, "lora"))
            self.denoiser.add_adapter(config)
        return {name: p for name, p in self.denoiser.named_parameters() if id(p) not in before}

    def modules(self) -> dict[str, Any]:
        """For `Objective.modules`."""
        return {self.model.DENOISER: self.denoiser}

    def groups(self) -> list[Group]:
        """For `Objective.groups`."""
        return [Group(list(self.named.values()), self.params.lr)]

    def epsilon(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning | torch.Tensor
    ) -> torch.Tensor:
        """ε_θ(z_t, c), float32 (N, C, h, w).

        Args:
            latents: z_t, (N, C, h, w). timesteps: (N,) or (). conditioning: N rows, or their embeddings.
        """
        output = self.model.predict(latents, timesteps, conditioning, forward=self._forward)
        return self.prediction.to_epsilon(wide(output), wide(latents), timesteps)

    def distance(self, one: torch.Tensor, other: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The mean square or mean absolute difference of two ε, (N, C, h, w), at timesteps (N,): a scalar."""
        if self.params.loss_space == "output":
            scale = self.prediction.output_scale(timesteps, one)
            one, other = scale * one, scale * other
        compare = functional.l1_loss if self.params.loss == "l1" else functional.mse_loss
        return compare(one, other)

    @contextlib.contextmanager
    def teacher(self) -> Iterator[None]:
        """While it is open, the denoiser is the frozen base."""
        if self.params.adapter == "lora":
            self.denoiser.disable_adapters()
            try:
                yield
            finally:
                self.denoiser.enable_adapters()
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.named.items():
            parameter.data, self._base[name] = self._base[name], parameter.data
        # Autocast keeps copies of parameters by their identity, which stays the same.
        torch.clear_autocast_cache()

    def release(self) -> dict[str, torch.Tensor]:
        """Gradients off. Returns `Result.changed`: the trained parameters' values in the base (none for LoRA, which
        changes no parameter of the base).
        """
        if self.params.gradient_checkpointing:
            self.denoiser.disable_gradient_checkpointing()
        self.denoiser.requires_grad_(False)
        return {f"{self.model.DENOISER}.{name}": value for name, value in self._base.items()}
