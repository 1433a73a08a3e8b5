"""CLIP score of the neighbours' images and what their captions name.

Mean of 2.5 max(cos, 0), with "A photo depicts {concept}" as the text.
"""

from __future__ import annotations

from conceptlib.evaluators.base import Inputs, Metric, Score
from conceptlib.evaluators.metrics._clip import of_rows
from conceptlib.specs.params import Params as BaseParams

METRIC = Metric("retain_clip_score", "score", higher_is_better=True, interval="normal95", needs=("similarity",))


class Params(BaseParams):
    """Nothing to set; the judge names the network."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """The mean over the neighbours' images and what their captions name."""
    return of_rows(inputs, "retain_clip_score", ~inputs.target)
