"""Model families: what methods of erasure, loops, samplers and exporters may ask of a model, whatever its shape.

A family is a module of `conceptlib.models.families` with a class `Family` that inherits from `Model`; its file name
registers it. Nothing outside `conceptlib.models` knows what a component, a layer or an input of the denoiser is called:
they see a `Model`, and write their formulas in terms of its prediction.

    model = of(pipe)
    conditioning = model.encode(["a red circle", None])              # None: the unconditional prompt
    output = model.predict(latents, timesteps, conditioning)
    epsilon = model.prediction.to_epsilon(output, latents, timesteps)

docs/families.md says what a family provides, and shows one that is added from outside.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from conceptlib.errors import ConceptlibError
from conceptlib.models.conditioning import Conditioning, Framing
from conceptlib.models.parts import Part
from conceptlib.models.prediction import Prediction
from conceptlib.specs.registry import MODEL_FAMILIES

if TYPE_CHECKING:
    from conceptlib.models.guidance import GuidanceRule

Index = Mapping[str, Any]
"""A `model_index.json`: `{component: [library, class]}` and settings of the pipeline."""


@dataclass(frozen=True)
class Encoder:
    """A text encoder and its tokenizer. name, tokenizer_name: of their folders. targets: the layers of it that
    low-rank matrices go on by default, as peft takes them.
    """

    name: str
    module: Any
    tokenizer_name: str
    tokenizer: Any
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")

    @property
    def width(self) -> int:
        """D of a row of its embedding table."""
        return int(self.module.get_input_embeddings().weight.shape[1])


@dataclass(frozen=True)
class Defaults:
    """What a model is run with where nothing is said. resolution: pixels a side. guidance_scale: of classifier-free
    guidance; None: that follows from the resolution (`models.sampling.default_guidance`).
    """

    resolution: int
    guidance_scale: float | None = None


class Model(ABC):
    """A pipeline of diffusers, seen alike whatever its family.

    COMPONENTS: the folders of a model and the class that its index must name for each, `(library, class)`; those of
    them that hold weights are in WEIGHTS, and those that may have low-rank matrices in ADAPTABLE. PIPELINE: diffusers'
    class. OPTIONS: what that class is opened with beside its components. SHAPE: the family in a sentence, for people.
    GUIDANCE: the usual guidance scale, None for the one that follows from the resolution.
    """

    NAME: ClassVar[str]
    PIPELINE: ClassVar[str]
    COMPONENTS: ClassVar[Mapping[str, tuple[str, str]]]
    WEIGHTS: ClassVar[tuple[str, ...]]
    DENOISER: ClassVar[str]
    ADAPTABLE: ClassVar[tuple[str, ...]]
    OPTIONS: ClassVar[Mapping[str, Any]] = {}
    SHAPE: ClassVar[str]
    GUIDANCE: ClassVar[float | None] = None

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    # What can be told from files alone.

    @classmethod
    @abstractmethod
    def matches(cls, index: Index) -> bool:
        """Whether a model's index is one of this family, usable or not. Of families that say yes one is derived from
        the others.
        """

    @classmethod
    @abstractmethod
    def problems(cls, index: Index) -> list[str]:
        """Why a model whose index matches cannot be used all the same; empty if it can."""

    @classmethod
    @abstractmethod
    def resolution_of(cls, config: Callable[[str], Mapping[str, Any]]) -> int:
        """Pixels a side that the model was trained on.

        config: gives a component's configuration by the component's name.
        """

    # The components.

    @classmethod
    @abstractmethod
    def erased(cls) -> type[Any]:
        """The pipeline's class with an erasure switched on: a default negative prompt, a rule of guidance
        (`models.pipeline.Erasing`).
        """

    @property
    def settings(self) -> dict[str, Any]:
        """What the pipeline's class is made with beside its components, to be the same pipeline again."""
        return {}

    def plain(self) -> Any:
        """The same components as diffusers' own pipeline."""
        import diffusers

        return getattr(diffusers, self.PIPELINE)(**self.pipe.components, **self.settings)

    @abstractmethod
    def check(self) -> list[str]:
        """Why the loaded components do not fit each other or our training; empty if they do."""

    @property
    def denoiser(self) -> Any:
        """The network that predicts."""
        return getattr(self.pipe, self.DENOISER)

    @property
    @abstractmethod
    def encoders(self) -> list[Encoder]:
        """The text encoders, in the order in which their outputs are joined. The first one's tokenizer counts."""

    def components(self) -> dict[str, nn.Module]:
        """The modules whose tensors a checkpoint may hold, by the name of their folder."""
        return {name: getattr(self.pipe, name) for name in self.WEIGHTS}

    def convolutional(self) -> list[nn.Module]:
        """The modules that run faster with their channels last in memory."""
        return []

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        found: torch.device = self.denoiser.device
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The denoiser's."""
        found: torch.dtype = self.denoiser.dtype
        return found

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that counts the tokens of a prompt."""
        return self.encoders[0].tokenizer

    # Prompts.

    @property
    @abstractmethod
    def null(self) -> str | None:
        """What the unconditional prompt is where no negative one is given: a text (mostly the empty one), or None if
        the model has an embedding of its own for it.
        """

    @property
    @abstractmethod
    def length(self) -> int:
        """L, how many tokens a prompt has with its marks and its padding."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D of `Conditioning.prompt_embeds`."""

    @abstractmethod
    def token_ids(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        """Token ids, int64 (N, L), padded and cut as the pipeline does: one tensor for each encoder, on its device."""

    @abstractmethod
    def encode_ids(self, ids: Sequence[torch.Tensor]) -> Conditioning:
        """The conditioning of token ids (N, l), l ≤ L, one tensor for each encoder. Gradients flow if they are on."""

    @abstractmethod
    def encode(self, prompts: Sequence[str | None]) -> Conditioning:
        """The conditioning of prompts; None is the unconditional one. Gradients flow if they are on."""

    def framed(self, conditioning: Conditioning, framings: Sequence[Framing]) -> Conditioning:
        """With how the pictures of the rows were scaled and cut, as far as the family is told of it."""
        return conditioning

    # Images, latents, prediction.

    @property
    @abstractmethod
    def scale(self) -> int:
        """Pixels a side that one position of the latents stands for. Pictures are multiples of it."""

    @property
    @abstractmethod
    def resolution(self) -> int:
        """Pixels a side that the model was trained on."""

    @abstractmethod
    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the latents of a picture; a family that packs them into tokens does so inside `predict`."""

    @abstractmethod
    def to_latents(self, pixels: np.ndarray) -> torch.Tensor:
        """Latents, float32 (N, C, h, w) on the CPU, of pictures uint8 (N, H, W, 3): deterministic, scaled as the
        denoiser wants them.
        """

    @abstractmethod
    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures, uint8 (N, H, W, 3) on the model's device, of latents (N, C, h, w)."""

    @property
    def prediction(self) -> Prediction:
        """What the output of `predict` means (ε, v, a flow's velocity), and the way from and to ε."""
        return self.prediction_of(self.pipe.scheduler)

    def prediction_of(self, scheduler: Any) -> Prediction:
        """`prediction` under the noise schedule of another scheduler."""
        return Prediction(scheduler)

    @abstractmethod
    def sampler(self) -> Any:
        """A scheduler that walks from noise to a picture, with the model's own noise schedule and no steps set yet."""

    @abstractmethod
    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Conditioning | torch.Tensor,
        *,
        forward: Callable[..., Any] | None = None,
    ) -> torch.Tensor:
        """The denoiser's output, (N, C, h, w), in the model's own terms (`prediction` says which).

        Args:
            latents: z_t (N, C, h, w). timesteps: (N,) or (). conditioning: N rows, or their embeddings alone.
            forward: called instead of the denoiser, with its arguments: the same network, compiled.
        """

    @abstractmethod
    def follow(self, rule: GuidanceRule) -> contextlib.AbstractContextManager[None]:
        """While it is open, plain calls of the pipeline follow a rule of guidance."""

    # The parts that methods train.

    @abstractmethod
    def select(self, part: Part, *, norms: bool = True) -> dict[str, nn.Parameter]:
        """The denoiser's parameters that belong to a part, by name (`models.parts`); without those of normalisation
        layers if `norms` is off.

        Raises:
            ConceptlibError: the family has no such part.
        """

    @abstractmethod
    def matrices(self, part: Part) -> list[str]:
        """Names of the denoiser's layers of a part that low-rank matrices can be put on."""

    @abstractmethod
    def detached_first_token(self) -> contextlib.AbstractContextManager[None]:
        """While it is open, no gradient flows through what attention makes of a prompt's first token."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter by `component.name`, such as `unet.conv_in.weight`."""
        return {
            f"{component}.{name}": parameter
            for component, module in self.components().items()
            for name, parameter in module.named_parameters()
        }

    # Checkpoints.

    @abstractmethod
    def save_folder(self, folder: Path) -> None:
        """Write every component as a folder that plain diffusers opens."""

    @abstractmethod
    def save_lora(self, folder: Path, states: Mapping[str, Mapping[str, torch.Tensor] | None]) -> None:
        """Write low-rank matrices by component (`layer.lora_A.weight`, `layer.lora_B.weight`) under the names that
        diffusers reads.
        """


def families() -> dict[str, type[Model]]:
    """Every family by its name, those of plug-ins that may run among them."""
    return {name: module.Family for name, module in MODEL_FAMILIES.modules()}


def recognised(index: Index) -> type[Model] | None:
    """The family of a model with this index; None if no family knows it. A family that is derived from another one goes
    before it.
    """
    found = [family for family in families().values() if family.matches(index)]
    return max(found, key=lambda family: len(family.__mro__), default=None)


def usable(index: Index, *, where: str) -> type[Model]:
    """The family of a model that can be used.

    Raises:
        ConceptlibError: no family knows the index, or the family says why this model cannot be used.
    """
    family = recognised(index)
    known = families()
    problems = (family or known["stable-diffusion"]).problems(index)
    if family is None or problems:
        raise ConceptlibError(
            f"{index.get('_class_name', 'this model')} cannot be used as a base: {'; '.join(problems)}",
            where=where,
            hint=shapes(family),
        )
    return family


def shapes(family: type[Model] | None = None) -> str:
    """The shape of a family, or of every family, for people."""
    kinds = [family] if family is not None else list(families().values())
    return "conceptlib works on models of " + "; or of ".join(kind.SHAPE for kind in kinds)


def of(pipe: Any) -> Model:
    """The model of a pipeline (or the model itself, if it is one already).

    Raises:
        ConceptlibError: a pipeline of no family that is known.
    """
    if isinstance(pipe, Model):
        return pipe
    family = recognised(dict(pipe.config))
    if family is None:
        raise ConceptlibError(f"a {type(pipe).__name__} is of no family that conceptlib knows", hint=shapes())
    return family(pipe)
