"""ICR, the implicit concept rate: the share of images in which a detector finds the concept.

Geom-Erasing, arXiv 2310.05873.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from conceptlib.evaluators.base import Inputs, Metric, Score
from conceptlib.geometry import Detections
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import Estimate, wilson

METRIC = Metric("concept_rate", "share", higher_is_better=False, interval="wilson95", needs=("detections",))
ALSO = (replace(METRIC, name="concept_rate.*"),)


class Params(BaseParams):
    """Nothing to set: the detector's own threshold decides."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """The rate of any of the concepts, and of each where there are several."""
    assert inputs.detections is not None  # it is needed
    found = has_concept(inputs.detections, inputs.concepts)
    scores = [Score("concept_rate", concept_rate(found), inputs.detector, each=found)]
    for name in inputs.concepts if len(inputs.concepts) > 1 else ():
        one = concept_rate(has_concept(inputs.detections, [name]))
        scores.append(Score(f"concept_rate.{name}", one, inputs.detector))
    return scores


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
