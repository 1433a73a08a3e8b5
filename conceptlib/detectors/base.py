"""What a detector is, and what an adapter's module provides.

An adapter is a module of `conceptlib.detectors.adapters`. Its top level imports nothing heavy and has

* `Params(conceptlib.specs.Params)`: what `params` of a spec may say;
* `load(spec, *, weights, device) -> Detector`: `weights` is the folder of a trained detector artifact, or None;

and where it makes sense

* `needs_training(params) -> bool`: whether `load` needs such a folder (without it: no);
* `train(spec, data, folder, *, device, progress) -> dict` and `set_threshold(folder, threshold)`: it can be trained;
* `export(spec, folder, path) -> dict`: what was trained can be written as one file, with the suffix `EXPORTED`;
* `FILES`: suffixes of the weights that it opens without a spec, and `of_file(path, trust) -> Params`;
* `members(params) -> tuple[str, ...]`: other detectors that it needs; `load` is given them as `members`;
* `training_lock(params) -> dict`: what decides the trained weights beside the spec and the pictures, such as other
  weights' sha256 (JSON);
* `VERSION`: raised whenever the same parameters and weights come to find, or the same spec to train, something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from conceptlib.geometry import Detections
from conceptlib.specs.registry import ADAPTERS

OBJECT, LINE, WORD = "object", "line", "word"
"""What one box of a detector stands for, see `conceptlib.detectors.levels`."""
LOWEST_SCORE = 0.001
"""Scores below this are never reported: what `detect` is asked for when a whole precision-recall curve is wanted."""


@runtime_checkable
class Detector(Protocol):
    """Finds concepts in pictures.

    name: the spec's name. labels: the concepts that it can find. threshold: the score, in [0, 1], from which it calls
    something found.
    artifact: id of the detector artifact that it was loaded from, or "".

    One that only says what is in a picture, not where (`Detections.of_image`), has `locates = False`; one that never
    computes on a GPU `on_cpu = True`. One whose boxes are lines or words of a text has `level = "line"` or `"word"`,
    and `reads = True` if their payloads are what stands there (`conceptlib.detectors.levels`).
    """

    name: str
    labels: tuple[str, ...]
    threshold: float
    artifact: str

    def lock(self) -> dict[str, Any]:
        """What decides the result: adapter, parameters, weights' sha256, library version. JSON; see `detector_lock`."""
        ...

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """Find concepts in every picture by itself: how pictures are batched changes nothing.

        Args:
            images: uint8 (height, width, 3), RGB, of any sizes.
            min_score: report everything from this score on, in [0, 1]; None: from `threshold` on.

        Returns:
            One for each image, best score first: boxes xyxy in pixels of that image and inside it;
            `Detections.empty()` where nothing was found.
        """
        ...


@dataclass(frozen=True)
class TrainingSet:
    """What an adapter trains on.

    Args:
        labels: the concepts to find; an adapter's classes, in this order.
        count: how many pictures `examples` gives.
        long_side: median length of the pictures' longer side, in pixels.
        examples: call it to go through the pictures in a fixed order: uint8 (height, width, 3) RGB, and what is in it.
    """

    labels: tuple[str, ...]
    count: int
    long_side: int
    examples: Callable[[], Iterator[tuple[np.ndarray, Detections]]]


def detector_lock(detector: Detector) -> dict[str, Any]:
    """What a lock says of a detector: its own lock, and the version of its adapter's code."""
    lock = detector.lock()
    adapter = str(lock.get("adapter", ""))
    return lock | (ADAPTERS.version_lock(adapter) if adapter in ADAPTERS else {})


def training_lock(adapter: ModuleType, name: str, params: Any) -> dict[str, Any]:
    """What decides trained weights beside the spec and the pictures: the versions of the code that is trained with."""
    more: dict[str, Any] = adapter.training_lock(params) if hasattr(adapter, "training_lock") else {}
    return more | ADAPTERS.version_lock(name)


def needs_training(adapter: ModuleType, params: Any) -> bool:
    """Whether a detector of this adapter with these parameters exists only once it was trained."""
    return bool(adapter.needs_training(params)) if hasattr(adapter, "needs_training") else False


def locates(detector: Detector) -> bool:
    """Whether a detector says where things are; an image classifier does not."""
    return bool(getattr(detector, "locates", True))


def level_of(detector: Detector) -> str:
    """`object`, `line` or `word`: what one box of the detector stands for."""
    return str(getattr(detector, "level", OBJECT))


def reads(detector: Detector) -> bool:
    """Whether the payloads of the detector's boxes are the text that stands there."""
    return bool(getattr(detector, "reads", False))


def uses_gpu(detector: Detector, device: str | None) -> bool:
    """Whether a worker that runs the detector on `device` (None: the best there is) should have a GPU to itself."""
    return not getattr(detector, "on_cpu", False) and (device is None or device.startswith("cuda"))


def can_train(adapter: ModuleType) -> bool:
    """Whether an adapter's module has the functions that `train_detector` calls."""
    return hasattr(adapter, "train") and hasattr(adapter, "set_threshold")


def weights_folder(path: Path) -> Path:
    """The folder inside a detector artifact (or its staging folder) that is the adapter's own."""
    return path / "weights"


def as_image(image: np.ndarray) -> np.ndarray:
    """`image` itself; raises ValueError (a mistake in code, not in data) unless it is uint8 (height, width, 3)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a detector takes uint8 (height, width, 3) images, not {image.dtype} {image.shape}")
    return image
