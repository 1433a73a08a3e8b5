"""The negative prompt: nothing is trained; the concepts' phrases are what classifier-free guidance steers away from.

The plainest erasure there is, and the one that the others have to beat. It is off where guidance is (scale 1 or less)
or where the caller gives a negative prompt.
"""

from __future__ import annotations

from typing import Any

from conceptlib.erasers.base import Job, Result
from conceptlib.specs.params import Params as BaseParams


class Params(BaseParams):
    """Settings: none. The recipe's concepts say it all."""


def needs(params: Params) -> frozenset[str]:
    """Nothing, not even a change of the model."""
    return frozenset()


def run(job: Job) -> Result:
    """Every phrase of the concepts, joined by commas."""
    phrases = ", ".join(dict.fromkeys(phrase for concept in job.concepts for phrase in concept.phrases))
    return Result(
        adapter="config", negative_prompt=phrases, convention="negative prompt", config={"negative_prompt": phrases}
    )


def apply(pipe: Any, config: dict[str, Any]) -> None:
    """Set the default negative prompt."""
    pipe.negative_prompt_default = str(config["negative_prompt"])
