"""What Stable Diffusion and SDXL share: CLIP text encoders, a conditional UNet, a KL autoencoder, a scheduler with
ᾱ_t."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from conceptlib.models import parts, saving
from conceptlib.models.conditioning import Conditioning
from conceptlib.models.devices import send
from conceptlib.models.encoding import PromptCache, decode_latents, encode_images, token_ids
from conceptlib.models.family import Encoder, Index, Model
from conceptlib.models.guidance import GuidanceRule, widened
from conceptlib.models.schedules import schedule_problem


class ClipUnet(Model):
    """A `UNet2DConditionModel` that attends to the states of CLIP text encoders.

    ENCODERS: the encoders and their tokenizers, by name. FOREIGN: components that a model of this family has not.
    """

    ENCODERS: ClassVar[tuple[tuple[str, str], ...]]
    FOREIGN: ClassVar[tuple[str, ...]]
    DENOISER = "unet"

    # Files.

    @classmethod
    def problems(cls, index: Index) -> list[str]:
        """Components that are missing, of another class, or too many."""
        found = []
        for name, (_, wanted) in cls.COMPONENTS.items():
            kind = class_of(index, name)
            if not kind:
                found.append(f"it has no {name}")
            elif kind.removesuffix("Fast") != wanted:  # both spellings of the tokenizer exist in published models
                found.append(f"its {name} is a {kind}, not a {wanted}")
        return found + [f"it has a {name} as well" for name in cls.FOREIGN if index.get(name)]

    @classmethod
    def resolution_of(cls, config: Callable[[str], Mapping[str, Any]]) -> int:
        return int(config("unet")["sample_size"] * 2 ** (len(config("vae")["block_out_channels"]) - 1))

    # Components.

    def check(self) -> list[str]:
        unet, vae = self.denoiser.config, self.pipe.vae.config
        found = []
        if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
            found.append(
                f"the UNet takes {unet.in_channels} and gives {unet.out_channels} channels, "
                f"the autoencoder has {vae.latent_channels}"
                + (" (an inpainting model?)" if unet.in_channels > vae.latent_channels else "")
            )
        if unet.cross_attention_dim != self.width:
            who, gives = ("text encoder", "gives") if len(self.encoders) == 1 else ("text encoders", "give")
            found.append(
                f"the UNet attends to vectors of width {unet.cross_attention_dim}, the {who} {gives} {self.width}"
            )
        found += [problem for encoder in self.encoders if (problem := tokenizer_problem(encoder))]
        if problem := self.conditions_problem():
            found.append(problem)
        if problem := self.schedule_problem():
            found.append(problem)
        return found

    def schedule_problem(self) -> str:
        """Why the noise schedule is not one of the family's; empty if it is."""
        return schedule_problem(self.pipe.scheduler)

    @abstractmethod
    def conditions_problem(self) -> str:
        """Why the UNet's further conditions are not those of the family; empty if they are."""

    @property
    def encoders(self) -> list[Encoder]:
        return [
            Encoder(name, getattr(self.pipe, name), tokens, getattr(self.pipe, tokens))
            for name, tokens in self.ENCODERS
        ]

    def convolutional(self) -> list[nn.Module]:
        return [self.denoiser, self.pipe.vae]

    # Prompts.

    @property
    def length(self) -> int:
        return int(self.tokenizer.model_max_length)

    @property
    def width(self) -> int:
        return sum(int(encoder.module.config.hidden_size) for encoder in self.encoders)

    def token_ids(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        return [send(token_ids(one.tokenizer, prompts), one.module.device) for one in self.encoders]

    # Images, latents, prediction.

    @property
    def scale(self) -> int:
        return int(self.pipe.vae_scale_factor)

    @property
    def resolution(self) -> int:
        return int(self.denoiser.config.sample_size) * self.scale

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return int(self.denoiser.config.in_channels), height // self.scale, width // self.scale

    def to_latents(self, pixels: np.ndarray) -> torch.Tensor:
        return encode_images(self.pipe.vae, pixels)

    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        return decode_latents(self.pipe.vae, latents)

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Conditioning | torch.Tensor,
        *,
        forward: Callable[..., Any] | None = None,
    ) -> torch.Tensor:
        given = Conditioning.of(conditioning)
        run = self.denoiser if forward is None else forward  # a compiled module has no truth value
        output: torch.Tensor = run(
            latents,
            timesteps,
            encoder_hidden_states=given.prompt_embeds,
            **self.further(given, latents),
            return_dict=False,
        )[0]
        return output

    def further(self, conditioning: Conditioning, latents: torch.Tensor) -> dict[str, Any]:
        """The UNet's arguments beside latents, timesteps and embeddings."""
        return {}

    @contextlib.contextmanager
    def follow(self, rule: GuidanceRule) -> Iterator[None]:
        with widened(self, rule, PromptCache(self).encode(rule.prompts)):
            yield

    def widen(self, arguments: dict[str, Any], more: Conditioning, count: int) -> dict[str, Any]:
        """For `models.guidance.widened`."""
        states = arguments["encoder_hidden_states"]
        return arguments | {"encoder_hidden_states": torch.cat([states, more.prompt_embeds.to(states)])}

    # Parts.

    def select(self, part: parts.Part, *, norms: bool = True) -> dict[str, nn.Parameter]:
        return parts.select(self.denoiser, part, norms=norms)

    def matrices(self, part: parts.Part) -> list[str]:
        return parts.matrices(self.denoiser, part)

    def detached_first_token(self) -> contextlib.AbstractContextManager[None]:
        return parts.detached_first_token(self.denoiser)

    # Checkpoints.

    def save_folder(self, folder: Path) -> None:
        saving.save_folder(self.pipe, folder)

    def save_lora(self, folder: Path, states: Mapping[str, Mapping[str, torch.Tensor] | None]) -> None:
        layers = {f"{name}_lora_layers": states.get(name) for name in self.ADAPTABLE}
        type(self.pipe).save_lora_weights(folder, **layers, safe_serialization=True)


def class_of(index: Index, component: str) -> str:
    """The class that an index names for a component; empty where there is none, or the index is damaged."""
    found = index.get(component)
    return str(found[1] or "") if isinstance(found, list | tuple) and len(found) == 2 else ""


def tokenizer_problem(encoder: Encoder) -> str:
    """Why a tokenizer does not belong to its text encoder. Where its files are missing, transformers opens an empty one
    without a word.
    """
    tokenizer = encoder.tokenizer
    rows, words = int(encoder.module.get_input_embeddings().num_embeddings), len(tokenizer)
    ids = tokenizer("a picture").input_ids
    its = f"its {encoder.tokenizer_name}".replace("_", " ")
    theirs = f"its {encoder.name}".replace("_", " ")
    if words < rows // 2 or len(ids) < 3:
        return f"{its} knows {words} tokens, and {theirs} {rows}: are the tokenizer's files missing?"
    if words > rows:
        return f"{its} knows {words} tokens, and {theirs} {rows}"
    length = int(encoder.module.config.max_position_embeddings)
    if tokenizer.model_max_length > length:
        return f"{its} makes prompts of {tokenizer.model_max_length} tokens, {theirs} takes {length}"
    return ""
