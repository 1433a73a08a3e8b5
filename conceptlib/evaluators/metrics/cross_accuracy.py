"""Cross-domain accuracy: is the rest of the caption still drawn? UnlearnCanvas: CRA.

- `cross_accuracy`: mean share of the other label columns that are right in the neighbours' images;
- `accuracy_<column>`: the share of the neighbours' images in which one column is right;
- `target_cross_accuracy`: as the first, in the target's images.

A column that captions leave out counts too: who says no style asks for a plain one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from conceptlib.evaluators.base import Inputs, Metric, Score, Skip
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import mean, wilson

METRIC = Metric("cross_accuracy", "share", higher_is_better=True, interval="normal95", needs=("labels",))
ALSO = (replace(METRIC, name="target_cross_accuracy"), replace(METRIC, name="accuracy_*", interval="wilson95"))


class Params(BaseParams):
    """Nothing to set."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """The mean over columns, each column, and the mean in the target's images."""
    target, others = inputs.target, inputs.others
    if not others:
        raise Skip("the images have no other labels")
    about = {"target": inputs.prompts.target, "domain": inputs.prompts.domain}
    cross = np.mean(list(others.values()), axis=0)
    kept = cross[~target]
    scores = [Score("cross_accuracy", mean(kept, low=0, high=1), about, each=kept)] if len(kept) else []
    for name, verdict in others.items():
        own = verdict[~target]
        scores += [Score(f"accuracy_{name}", wilson(int(own.sum()), len(own)), about)] if len(own) else []
    return [*scores, Score("target_cross_accuracy", mean(cross[target], low=0, high=1), about)]
