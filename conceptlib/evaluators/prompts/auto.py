"""Held-out captions of what the model was trained on: the source that its dataset was made from, where one says so
(`owns`), else the dataset's own test split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams
from conceptlib.specs.registry import PROMPTS

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job


class Params(BaseParams):
    """n: how many captions."""

    n: Annotated[int, Field(ge=4, le=100_000)] = 512


def prompts(params: Params, job: Job) -> Prompts:
    """The captions of the source that fits the model's dataset."""
    dataset = job.lineage.get("dataset")
    module, settings = PROMPTS.get("dataset"), {}
    for _, one in PROMPTS.modules():
        if hasattr(one, "owns") and (owned := one.owns(dataset)) is not None:
            module, settings = one, owned
            break
    found: Prompts = module.prompts(module.Params(n=params.n, **settings), job)
    return found
