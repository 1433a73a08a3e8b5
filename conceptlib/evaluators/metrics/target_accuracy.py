"""Target accuracy: is what was erased still drawn when the caption names it? UnlearnCanvas calls 1 minus this UA.

The share of the target's images in which a judge recognises the target; lower is better after an erasure.
"""

from __future__ import annotations

import numpy as np

from conceptlib.evaluators.base import Inputs, Metric, Score
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import wilson

METRIC = Metric("target_accuracy", "share", higher_is_better=False, interval="wilson95", needs=("recognised",))


class Params(BaseParams):
    """Nothing to set."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """The share of the target's images in which it is recognised."""
    named = inputs.recognised[inputs.target]
    about = {"target": inputs.prompts.target, "domain": inputs.prompts.domain}
    return [Score("target_accuracy", wilson(int(np.sum(named)), len(named)), about, each=named)]
