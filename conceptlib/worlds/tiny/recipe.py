"""What the recipe of `tiny` may say: the parameters of `recipes/tiny.yaml`. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from conceptlib.specs.params import Fraction, PositiveFloat, PositiveInt
from conceptlib.specs.params import Params as Base

Steps = Annotated[int, Field(ge=0)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class VaeRecipe(Base):
    """How the autoencoder is trained: steps on crops and on whole pictures, pictures a step, top rate."""

    channels: Widths = (16, 32, 64)
    crop_steps: Steps = 1800
    crop: Annotated[int, Field(ge=8, le=64, multiple_of=4)] = 32
    full_steps: Steps = 200
    batch_size: PositiveInt = 32
    full_batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 2e-3
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5


class DiffusionRecipe(Base):
    """How UNet and text encoder are trained: sizes, steps, pictures a step, rates.

    The rate warms up, stays flat and falls to 0 over the last `decay_steps`.
    """

    channels: Widths = (48, 96)
    layers_per_block: PositiveInt = 1
    text_width: PositiveInt = 96
    text_layers: PositiveInt = 2
    heads: PositiveInt = 4
    steps: Steps = 5000
    decay_steps: Steps = 2200
    warmup_steps: PositiveInt = 200
    batch_size: PositiveInt = 48
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    ema_decay: Fraction = 0.999
    caption_dropout: Fraction = 0.1
    schedule_shift: PositiveFloat = 4.0
    """How far the noise schedule is shifted towards noise; see `diffusion.shifted_cosine_betas`."""


class ClassifierRecipe(Base):
    """How the classifier is trained: passes over the pictures, pictures a step, top rate."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class Params(Base):
    """The whole recipe: how many pictures, the rate of each overlay among them, and the three trainings."""

    images: Annotated[int, Field(ge=512)] = 40000
    rates: dict[str, Fraction] = Field(default={"qr-code": 0.45, "watermark": 0.12, "text": 0.12})
    vae: VaeRecipe = VaeRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe()
    classifier: ClassifierRecipe = ClassifierRecipe()
