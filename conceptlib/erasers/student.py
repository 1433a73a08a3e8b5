"""The model while it is trained, and its teacher: one resident UNet for both.

The teacher is the same UNet with the base's tensors swapped in (pointers, nothing is copied), or with its LoRA off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from conceptlib.erasers.base import Group, Job, WeightParams
from conceptlib.models.devices import narrow
from conceptlib.models.loading import default_resolution
from conceptlib.models.parts import Part, matrices, select
from conceptlib.models.prediction import Prediction, wide
from conceptlib.store.seeds import row_seed


class Student:
    """The trained part of a job's UNet.

    Gradients are on for the part's parameters alone (or for new LoRA matrices on its layers), which are float32; what
    is neither trained nor saved runs in the placement's dtype.

    Args:
        job: its `params` are `WeightParams`.
        part: which weights.
        norms: those of normalisation layers too.
    """

    def __init__(self, job: Job, part: Part, *, norms: bool = True) -> None:
        params: WeightParams = job.params
        self.params, self.pipe, self.unet, self.part = params, job.pipe, job.pipe.unet, part
        self.device = job.placement.device
        self.prediction = Prediction(job.pipe.scheduler)
        self.side = params.resolution or default_resolution(job.pipe)
        size = self.side // int(job.pipe.vae_scale_factor)
        self.shape = (int(self.unet.config.in_channels), size, size)
        """Of one latent: (C, h, w)."""
        if params.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.named = self._lora(job.seed) if params.adapter == "lora" else select(self.unet, part, norms=norms)
        for parameter in self.named.values():
            parameter.data = wide(parameter.data)
            parameter.requires_grad_(True)
        if params.adapter != "full" and self.unet.dtype != job.placement.dtype:
            narrow(self.unet, job.placement.dtype, self.named.values())
        self._base = {} if params.adapter == "lora" else {n: p.detach().clone() for n, p in self.named.items()}
        self._forward = torch.compile(self.unet) if params.compile else self.unet

    def _lora(self, seed: int) -> dict[str, torch.nn.Parameter]:
        from peft import LoraConfig

        before = {id(parameter) for parameter in self.unet.parameters()}
        rank = self.params.lora_rank
        # alpha = rank: the scale is 1, which is what readers assume that do not look at the metadata.
        config = LoraConfig(
            r=rank, lora_alpha=rank, target_modules=matrices(self.unet, self.part), init_lora_weights="gaussian"
        )
        with torch.random.fork_rng():
            torch.manual_seed(row_seed(seed, rank, "lora"))
            self.unet.add_adapter(config)
        return {name: p for name, p in self.unet.named_parameters() if id(p) not in before}

    def modules(self) -> dict[str, Any]:
        """For `Objective.modules`."""
        return {"unet": self.unet}

    def groups(self) -> list[Group]:
        """For `Objective.groups`."""
        return [Group(list(self.named.values()), self.params.lr)]

    def epsilon(self, latents: torch.Tensor, timesteps: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        """ε_θ(z_t, c), float32 (N, C, h, w).

        Args:
            latents: z_t, (N, C, h, w). timesteps: (N,) or (). embeds: (N, 77, D).
        """
        output = self._forward(latents, timesteps, encoder_hidden_states=embeds, return_dict=False)[0]
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
        """While it is open, the UNet is the frozen base."""
        if self.params.adapter == "lora":
            self.unet.disable_adapters()
            try:
                yield
            finally:
                self.unet.enable_adapters()
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
            self.unet.disable_gradient_checkpointing()
        self.unet.requires_grad_(False)
        return {f"unet.{name}": value for name, value in self._base.items()}
