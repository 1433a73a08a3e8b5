"""A judge that cannot tell is an error with its row; it is never counted as "nothing there"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts, Reading
from conceptlib.evaluators.judges.detector import _Guarded
from conceptlib.evaluators.judging import judged
from tests.support.brightness import BrightnessDetector

BAD = 70
PROMPTS = Prompts("file", [{"caption": f"image {k}", "seed": k, "value": "x"} for k in range(100)])


def images(n: int = 100) -> Any:
    return (Image.new("RGB", (8, 8), (k, k, k)) for k in range(n))


class Judge:
    """Answers rightly but for the image `BAD`, of which it says `answer` (or raises it)."""

    def __init__(self, name: str, answer: Any) -> None:
        self.name, self.answer = name, answer

    def read(self, batch: Any, rows: Any) -> Reading:
        levels = [image.getpixel((0, 0))[0] for image in batch]
        if BAD in levels and isinstance(self.answer, Exception):
            raise self.answer
        if self.name == "labels":
            return Reading(labels={"object": [self.answer if level == BAD else "star" for level in levels]})
        if self.name == "recognised":
            return Reading(recognised=np.array([self.answer if level == BAD else True for level in levels]))
        if self.name == "few":
            return Reading(recognised=np.ones(len(batch) - (BAD in levels), bool))
        return Reading(similarity=np.array([self.answer if level == BAD else level / 255 for level in levels]))


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("raises", RuntimeError("out of memory"), "out of memory"),
        ("raises", KeyError("weights"), "weights"),
        ("raises", ValueError(), "ValueError"),
        ("similarity", float("nan"), "no number"),
        ("similarity", float("inf"), "no number"),
        ("labels", "", "no word for object"),
        ("labels", None, "no word for object"),
        ("recognised", 0.5, "true or false"),
        ("few", None, "0 recognised for 1 images"),
    ],
)
def test_the_row_of_a_failure_is_told(name: str, answer: Any, said: str) -> None:
    with pytest.raises(ConceptlibError, match=said) as caught:
        judged(Judge(name, answer), "mine", images(), PROMPTS, lambda done: None)
    assert f"row {BAD}" in caught.value.where and f"image {BAD}" in caught.value.where
    assert "nothing was counted" in caught.value.hint and "mine" in caught.value.what


def test_readings_of_batches_are_in_order() -> None:
    done: list[int] = []
    reading = judged(Judge("similarity", BAD / 255), "mine", images(), PROMPTS, done.append)
    assert reading.similarity is not None and done == [64, 100]
    assert (np.asarray(reading.similarity) * 255).round().astype(int).tolist() == list(range(100))
    with pytest.raises(ConceptlibError, match="99 images for 100 captions"):
        judged(Judge("similarity", 0.1), "mine", images(99), PROMPTS, done.append)


def test_a_detectors_failure_is_told_too() -> None:
    class Broken(BrightnessDetector):
        def detect(self, images: Any, *, min_score: float | None = None) -> Any:
            if any(image.mean() == 7 for image in images):
                raise RuntimeError("no such kernel")
            return super().detect(images)

    pictures = [np.full((8, 8, 3), level, np.uint8) for level in (3, 5, 7, 9)]
    guarded: Any = _Guarded(Broken(4.0))
    assert guarded.labels == ("qr-code",) and [len(found) for found in guarded.detect(pictures[:2])] == [0, 1]
    with pytest.raises(ConceptlibError, match="brightness failed: no such kernel") as caught:
        guarded.detect(pictures)
    assert caught.value.where == "row 2 of the batch"
