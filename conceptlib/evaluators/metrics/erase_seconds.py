"""Seconds to make the checkpoint, and the most memory meanwhile, as its manifest tells them.

Times differ from run to run, so a suite with this metric gives another id for each training.
"""

from __future__ import annotations

from conceptlib.evaluators.base import Inputs, Metric, Score, Skip
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import Estimate

METRIC = Metric("erase_seconds", "seconds", higher_is_better=False)
ALSO = (Metric("peak_memory_mb", "count", higher_is_better=False),)


class Params(BaseParams):
    """Nothing to set."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """Of a checkpoint; neither the base nor its negative prompt was erased here."""
    made = inputs.checkpoint
    if made is None or not inputs.subject.startswith("checkpoint"):
        raise Skip("only what was erased here has a time")
    scores = [Score("erase_seconds", Estimate.point(round(made.seconds, 2), 1))]
    memory = made.info.get("peak_memory_mb")
    return [*scores, Score("peak_memory_mb", Estimate.point(float(memory), 1))] if memory is not None else scores
