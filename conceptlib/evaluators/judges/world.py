"""The classifier of a world judges images of that world: it reads a word for each label column.

Which world follows from the prompts, whose labels are its words. The classifier was trained on renderings, never on
generated images. It lends its features to the metrics that compare images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conceptlib.evaluators.base import Prompts, Reading
from conceptlib.specs.params import Params as BaseParams
from conceptlib.worlds import world

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.evaluators.job import Job
    from conceptlib.worlds import Judge

GIVES = ("labels",)


class Params(BaseParams):
    """Nothing to set."""


def reads(params: Params, prompts: Prompts) -> bool:
    """Whether it can judge these: captions whose labels are a world's words."""
    return bool(prompts.world)


def load(params: Params, job: Job, prompts: Prompts) -> WorldJudge:
    """The judge of the prompts' world."""
    return WorldJudge(world(prompts.world).judge(), prompts.columns)


class WorldJudge:
    """Reads one word a label column."""

    def __init__(self, judge: Judge, columns: Sequence[str]) -> None:
        self.judge, self.columns = judge, tuple(columns)

    def lock(self) -> dict[str, str]:
        return {"classifier_sha256": self.judge.sha256}

    def read(self, images: Sequence[Image.Image], rows: Sequence[Mapping[str, Any]]) -> Reading:
        """The likeliest word of each column."""
        words = self.judge.read(images)
        return Reading(labels={name: words[name] for name in self.columns})
