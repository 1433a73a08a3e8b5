"""The classifier of the embedded model `tiny` judges images of the embedded world: object, colour, background, style.

It was trained on renderings, never on generated images. It lends its features (192, the layer under its heads) to the
metrics that compare images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptlib.evaluators.base import Prompts, Reading
from conceptlib.specs.params import Params as BaseParams

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.evaluators.job import Job

GIVES = ("labels",)


class Params(BaseParams):
    """Nothing to set."""


def reads(params: Params, prompts: Prompts) -> bool:
    """Whether it can judge these: captions whose labels are the world's words."""
    return prompts.judge == "tiny"


def load(params: Params, job: Job, prompts: Prompts) -> TinyJudge:
    """The judge; the weights are loaded with the first images."""
    return TinyJudge(prompts.columns)


class TinyJudge:
    """Reads one word an attribute of the world."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)

    def lock(self) -> dict[str, str]:
        return {"classifier_sha256": weights_sha256()}

    def read(self, images: Sequence[Image.Image], rows: Sequence[Mapping[str, Any]]) -> Reading:
        """The likeliest word of each column."""
        from conceptlib.worlds.tiny.classifier import predict

        words = predict(pixels(images))
        return Reading(labels={name: words[name] for name in self.columns})


def pixels(images: Sequence[Image.Image]) -> np.ndarray:
    """Images as the classifier wants them: uint8 (n, 64, 64, 3)."""
    from PIL import Image

    from conceptlib.worlds.tiny import world

    side = (world.SIZE, world.SIZE)
    return np.stack([np.asarray(p if p.size == side else p.resize(side, Image.Resampling.BICUBIC)) for p in images])


@cache
def weights_sha256() -> str:
    """The hash of the classifier's weights."""
    from conceptlib.store.hashing import sha256_file
    from conceptlib.worlds import tiny

    return sha256_file(tiny.path() / "classifier" / "model.safetensors")


def features(images: list[Image.Image]) -> np.ndarray:
    """The layer under the heads: float32 (n, 192)."""
    import torch

    from conceptlib.worlds.tiny.classifier import load_classifier, to_pixels

    model = load_classifier()
    with torch.no_grad():
        return np.asarray(model.neck(model.body(to_pixels(pixels(images)))).numpy(), np.float32)
