"""ICR, the implicit concept rate: the share of images in which a detector finds the concept.

Geom-Erasing, arXiv 2310.05873.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from conceptlib.evaluators.stats import Estimate, wilson
from conceptlib.geometry import Detections


def has_concept(detections: Iterable[Detections], labels: Sequence[str], threshold: float = 0.0) -> np.ndarray:
    """Whether each image holds at least one detection of one of the labels.

    Args:
        detections: one an image.
        labels: concept names that count.
        threshold: lowest score that counts, in [0, 1]; detectors apply their own calibrated threshold before this one.

    Returns:
        bool (n,).
    """
    wanted = set(labels)
    return np.array(
        [
            any(label in wanted and score >= threshold for label, score in zip(d.labels, d.scores, strict=True))
            for d in detections
        ],
        dtype=bool,
    )


def concept_rate(found: np.ndarray) -> Estimate:
    """The share of images in which the concept was found, with its Wilson 95 % interval.

    Args:
        found: bool (n,), from `has_concept`.

    Raises:
        ConceptlibError: no images.
    """
    return wilson(int(np.sum(found)), len(found))
