"""Retain accuracy: are the target's neighbours still drawn? UnlearnCanvas: IRA, in-domain.

- `retain_accuracy`: share of the neighbours' images in which the neighbour is recognised;
- `accuracy.<neighbour>`: the same for one, with its `distance` to the target: the cosine distance of the text encoder's
  states, before the erasure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from conceptlib.evaluators.base import Inputs, Metric, Prompts, Score, Skip
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import wilson

METRIC = Metric("retain_accuracy", "share", higher_is_better=True, interval="wilson95", needs=("recognised",))
ALSO = (replace(METRIC, name="accuracy.*"),)


class Params(BaseParams):
    """Nothing to set."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """The neighbours together, then one by one."""
    prompts, named, kept = inputs.prompts, inputs.recognised, ~inputs.target
    if not prompts.neighbours:
        raise Skip("these prompts name no neighbours of the target")
    far = inputs.once("distances", lambda: distances(prompts, _pipeline(inputs)))
    about = {"target": prompts.target, "domain": prompts.domain}
    scores = [Score("retain_accuracy", _share(named[kept]), about, each=named[kept])]
    for value in prompts.neighbours:
        own = {**about, "distance": far.get(value)}
        scores.append(Score(f"accuracy.{value}", _share(named[prompts.of(value)]), own))
    return scores


def distances(prompts: Prompts, pipe: Any) -> dict[str, float]:
    """How far each neighbour is from the target to the text encoder: the cosine distance of
    `conceptlib.erasers.neighbours`, in [0, 2]. A value that its captions do not name has none.

    Args:
        prompts: whose values.
        pipe: the model before erasure.
    """
    from conceptlib.erasers.neighbours import cosine_distance
    from conceptlib.models.words import phrase_states

    first = {row["value"]: row["caption"] for row in reversed(prompts.rows)}
    named = [value for value in prompts.values if value in first[value]]
    if prompts.target not in named:
        return {}
    states = dict(zip(named, phrase_states(pipe, named), strict=True))
    own = states.pop(prompts.target)
    return {value: round(float(cosine_distance(state[None], own[None])), 6) for value, state in states.items()}


def _share(verdict: np.ndarray) -> Any:
    return wilson(int(np.sum(verdict)), len(verdict))


def _pipeline(inputs: Inputs) -> Any:
    from conceptlib.models.loading import load_pipeline

    return load_pipeline(inputs.model, device=inputs.device, dtype=inputs.dtype)
