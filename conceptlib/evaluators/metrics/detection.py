"""What `conceptlib detectors eval` measures of a detector against known geometry: here are the meanings of its numbers.

Average precision has no interval; the other shares have Wilson's. A suite cannot ask for them: they are of a detector,
not of a model's images.
"""

from __future__ import annotations

from dataclasses import replace

from conceptlib.evaluators.base import Metric
from conceptlib.specs.params import Params as BaseParams

METRIC = Metric("mAP50", "share", higher_is_better=True, needs=("detections",))
_SHARE = replace(METRIC, interval="wilson95")
ALSO = (
    *(replace(METRIC, name=name) for name in ("mAP50-95", "AP50/*")),
    *(replace(_SHARE, name=name) for name in ("recall", "recall/*", "recall-opacity/*", "word-recall")),
    *(replace(_SHARE, name=name) for name in ("precision", "image-recall")),
    *(replace(_SHARE, name=n, higher_is_better=False) for n in ("false-positive-rate", "clean-false-positive-rate")),
)


class Params(BaseParams):
    """Nothing to set."""
