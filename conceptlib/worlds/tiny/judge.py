"""The classifier of the world as its judge: what it reads in pictures, and what pictures are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from conceptlib.store.hashing import sha256_file
from conceptlib.worlds.tiny.classifier import load_classifier, predict, to_pixels
from conceptlib.worlds.tiny.words import ATTRIBUTES, SIZE

WEIGHTS = Path(__file__).parent / "weights" / "classifier" / "model.safetensors"


class TinyJudge:
    """See `conceptlib.worlds.base.Judge`. Its features are the 192 of the layer under the classifier's heads."""

    @cached_property
    def sha256(self) -> str:
        return sha256_file(WEIGHTS)

    def read(self, images: Sequence[Image.Image]) -> dict[str, list[str]]:
        found = predict(to_size(images))
        return {name: found[name] for name in ATTRIBUTES}

    @torch.no_grad()
    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        model = load_classifier()
        return np.asarray(model.neck(model.body(to_pixels(to_size(images)))).numpy(), np.float32)


def to_size(images: Sequence[Image.Image]) -> np.ndarray:
    """Pictures as the classifier wants them: uint8 (n, 64, 64, 3)."""
    side = (SIZE, SIZE)
    return np.stack([np.asarray(p if p.size == side else p.resize(side, Image.Resampling.BICUBIC)) for p in images])
