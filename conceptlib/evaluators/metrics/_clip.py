"""CLIP score (Hessel et al., EMNLP 2021): the arithmetic, on cosines that a judge gives."""

from __future__ import annotations

import numpy as np

from conceptlib.evaluators.base import Inputs, Score, Skip
from conceptlib.stats import Estimate, mean

WEIGHT = 2.5


def clip_score(cosines: np.ndarray) -> Estimate:
    """Mean of 2.5 max(cos, 0) over images, with its normal 95 % interval.

    Args:
        cosines: (n,), in [-1, 1].

    Raises:
        ConceptlibError: no images.
    """
    return mean(WEIGHT * np.maximum(cosines, 0))


def of_rows(inputs: Inputs, name: str, rows: np.ndarray) -> list[Score]:
    """The CLIP score of some rows, as a metric's answer."""
    cosines = inputs.readings["similarity"].similarity
    assert cosines is not None  # it is needed
    if not rows.any():
        raise Skip("no row of that kind was drawn")
    about = {"target": inputs.prompts.target, "domain": inputs.prompts.domain}
    return [Score(name, clip_score(np.asarray(cosines)[rows]), about)]
