"""CLIP score and CLIP accuracy (Kumari et al., ICCV 2023): the arithmetic, on cosines that a judge gives."""

from __future__ import annotations

import numpy as np

from conceptlib.evaluators.base import Inputs, Score, Skip
from conceptlib.stats import Estimate, mean, wilson

WEIGHT = 2.5


def clip_score(cosines: np.ndarray) -> Estimate:
    """Mean of 2.5 max(cos, 0) over images (Hessel et al., EMNLP 2021), with its normal 95 % interval.

    Args:
        cosines: (n,), in [-1, 1].

    Raises:
        ConceptlibError: no images.
    """
    return mean(WEIGHT * np.maximum(cosines, 0))


def clip_accuracy(cosines: np.ndarray, anchor: np.ndarray) -> Estimate:
    """Share of images that are nearer to the concept than to the anchor, with its Wilson 95 % interval.

    Args:
        cosines, anchor: (n,), of each image with the concept and with the anchor.

    Raises:
        ConceptlibError: no images.
    """
    return wilson(int(np.sum(cosines > anchor)), len(cosines))


def of_rows(inputs: Inputs, name: str, rows: np.ndarray) -> list[Score]:
    """The CLIP score of some rows, as a metric's answer."""
    cosines = inputs.readings["similarity"].similarity
    assert cosines is not None  # it is needed
    if not rows.any():
        raise Skip("no row of that kind was drawn")
    about = {"target": inputs.prompts.target, "domain": inputs.prompts.domain}
    return [Score(name, clip_score(np.asarray(cosines)[rows]), about)]
