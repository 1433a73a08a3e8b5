"""Source pictures that carry a concept already: a detector looks before anything is drawn, and they are left out.

A code that is drawn over a picture with another code would have a truth that is wrong, and a picture without an overlay
would not be clean.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from conceptlib.concepts.resizing import resize_to
from conceptlib.errors import ConceptlibError

if TYPE_CHECKING:
    from conceptlib.store import Store

REASON = "has-concept"
LEAST_SIDE = 1024
"""Pixels of the longer side that a picture is looked at with, where it has them; more where more will be stored."""


@dataclass(frozen=True)
class Exclude:
    """Tells which of some concepts a detector finds in a picture. Can be pickled: whoever uses it loads the detector.

    Args:
        ref: of the detector; of a trained one its artifact's id. home: the store's folder.
        concepts: those that count.
        side: pixels of the longer side that pictures are brought to.
        lock: what decides its answers. trained: the id of the detector's artifact, of a trained one.
    """

    ref: str
    home: Path
    concepts: tuple[str, ...]
    side: int
    lock: Any
    trained: str = ""

    def __call__(self, image: Image.Image) -> list[str]:
        """The concepts found in an RGB picture of any size."""
        detector = _detector(self.ref, self.home)
        (found,) = detector.detect([np.asarray(resize_to(image, self.side, "max-side"))])
        return sorted({label for label in found.labels if label in self.concepts})


def exclude_by(ref: str, concepts: Sequence[str], resolution: int, store: Store | None) -> Exclude:
    """What leaves out pictures in which the detector `ref` finds one of the concepts.

    Raises:
        NotFound: no such detector. ConceptlibError: it cannot be loaded, or finds none of these concepts.
    """
    from conceptlib.detectors.base import detector_lock
    from conceptlib.detectors.load import load_detector
    from conceptlib.store import Store

    store = store or Store()
    detector = load_detector(ref, store=store, device="cpu")
    wanted = tuple(concept for concept in concepts if concept in detector.labels)
    if not wanted:
        raise ConceptlibError(
            f"the detector {detector.name} finds {', '.join(detector.labels)}, and none of the dataset's concepts",
            where="params.exclude",
            hint=f"a detector of {' or '.join(concepts)}; `conceptlib detectors ls` lists them",
        )
    lock = {"detector": detector_lock(detector), "threshold": detector.threshold, "concepts": list(wanted)}
    return Exclude(
        detector.artifact or ref, store.root, wanted, max(LEAST_SIDE, 2 * resolution), lock, detector.artifact
    )


@functools.lru_cache(maxsize=2)
def _detector(ref: str, home: Path) -> Any:
    from conceptlib.detectors.load import load_detector
    from conceptlib.store import Store

    return load_detector(ref, store=Store(home), device="cpu")
