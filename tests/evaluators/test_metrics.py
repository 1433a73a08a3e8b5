"""Concept rate and caption accuracy on hand-made answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Inputs, Prompts, Skip
from conceptlib.evaluators.metrics import erase_seconds
from conceptlib.evaluators.metrics.caption_accuracy import caption_accuracy, right, stated
from conceptlib.evaluators.metrics.concept_rate import concept_rate, has_concept
from conceptlib.geometry import Detections


def found(*pairs: tuple[str, float]) -> Detections:
    n = len(pairs)
    return Detections(
        boxes=np.tile(np.array([1, 2, 9, 10], np.float32), (n, 1)).reshape(n, 4),
        scores=np.array([score for _, score in pairs], np.float32),
        labels=tuple(label for label, _ in pairs),
    )


@pytest.mark.parametrize(
    ("labels", "threshold", "expected"),
    [
        (["qr-code"], 0.0, [False, True, False, True]),
        (["qr-code"], 0.5, [False, False, False, True]),
        (["qr-code", "watermark"], 0.5, [False, False, True, True]),
        (["text"], 0.0, [False, False, False, False]),
    ],
)
def test_has_concept_counts_images_not_boxes(labels: list[str], threshold: float, expected: list[bool]) -> None:
    images = [found(), found(("qr-code", 0.4)), found(("watermark", 0.9)), found(("qr-code", 0.7), ("qr-code", 0.2))]
    assert has_concept(images, labels, threshold).tolist() == expected


def test_concept_rate_is_the_share_of_images() -> None:
    rate = concept_rate(np.array([True, False, False, True]))
    assert (rate.value, rate.n) == (0.5, 4)
    with pytest.raises(ConceptlibError):
        concept_rate(np.array([], bool))


def test_caption_accuracy_needs_every_attribute_right() -> None:
    asked = [
        {"object": "star", "colour": "red", "background": "sand", "style": "plain"},
        {"object": "moon", "colour": "blue", "background": "night", "style": "dotted"},
        {"object": "heart", "colour": "pink", "background": "sky", "style": "plain"},
        {"object": "cross", "colour": "cyan", "background": "grass", "style": "plain"},
    ]
    seen = {
        "object": ["star", "moon", "heart", "cross"],
        "colour": ["red", "blue", "red", "cyan"],
        "background": ["sand", "night", "sky", "brick"],
        "style": ["striped"] * 4,
    }
    columns = ("object", "colour", "background")
    verdicts = right(asked, seen, columns)
    scores = caption_accuracy(verdicts)
    assert {name: score.value for name, score in scores.items()} == {
        "accuracy_object": 1.0,
        "accuracy_colour": 0.75,
        "accuracy_background": 0.75,
        "caption_accuracy": 0.5,
    }
    assert verdicts["caption"].tolist() == [True, True, False, False]


def test_captions_that_say_less_are_told_apart() -> None:
    rows = [
        {"object": "star", "colour": "red", "background": "sand"},
        {"object": "star", "colour": None, "background": "sand"},
        {},
    ]
    assert stated(rows, ["object", "colour", "background"]).tolist() == [True, False, False]
    assert stated(rows, ["object"]).tolist() == [True, True, False]


def test_only_the_checkpoint_took_its_time() -> None:
    """`base+negative` costs no training; and a suite without the base has the time too."""
    made: Any = SimpleNamespace(seconds=12.345, info={"peak_memory_mb": 7})
    prompts = Prompts("file", [])
    base = Inputs("base", prompts, checkpoint=made)
    for inputs in (base, Inputs("base+negative", prompts, checkpoint=made, base=base)):
        with pytest.raises(Skip):
            erase_seconds.compute(inputs, erase_seconds.Params())
    for name in ("checkpoint", "checkpoint-no-negative"):
        scores = erase_seconds.compute(Inputs(name, prompts, checkpoint=made), erase_seconds.Params())
        assert [(one.metric, one.estimate.value) for one in scores] == [("erase_seconds", 12.35), ("peak_memory_mb", 7)]
