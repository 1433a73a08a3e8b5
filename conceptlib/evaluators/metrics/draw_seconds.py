"""Seconds to draw one image, of the artifact that holds the images: a method that works at inference costs there.

Times differ from run to run, so a suite with this metric gives another id each time it is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptlib.evaluators.base import Inputs, Metric, Score, Skip
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import Estimate

if TYPE_CHECKING:
    from conceptlib.store import Artifact

METRIC = Metric("draw_seconds", "seconds", higher_is_better=False, needs=("images",))


class Params(BaseParams):
    """Nothing to set."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """Wall time of drawing, divided by the images."""
    images = inputs.artifact
    if images is None or not images.seconds:
        raise Skip("nobody knows how long the images took")
    n = max(1, int(images.info.get("images") or len(inputs.prompts.rows)))
    return [Score("draw_seconds", Estimate.point(seconds_each(images, n), n))]


def seconds_each(images: Artifact, n: int) -> float:
    """Wall time of drawing n images, divided by them."""
    return round(images.seconds / n, 4)
