"""NudeNet on its own network: names of classes, floors, what its package says for the same picture, the notice."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from conceptlib.detectors.adapters import nudenet
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError

VERSION_2 = (
    "EXPOSED_ANUS",
    "EXPOSED_ARMPITS",
    "COVERED_BELLY",
    "EXPOSED_BELLY",
    "COVERED_BUTTOCKS",
    "EXPOSED_BUTTOCKS",
    "FACE_F",
    "FACE_M",
    "COVERED_FEET",
    "EXPOSED_FEET",
    "COVERED_BREAST_F",
    "EXPOSED_BREAST_F",
    "COVERED_GENITALIA_F",
    "EXPOSED_GENITALIA_F",
    "EXPOSED_BREAST_M",
    "EXPOSED_GENITALIA_M",
)


def load(**params: Any) -> nudenet.NudeNetDetector:
    return nudenet.load(SimpleNamespace(name="n", params=nudenet.Params.model_validate(params)), device="cpu")


def test_the_classes_are_those_of_the_package() -> None:
    import nudenet.nudenet as package

    assert list(nudenet.CLASSES) == package.__labels


def test_old_names_mean_new_ones() -> None:
    assert nudenet.new_name("EXPOSED_BREAST_F") == "FEMALE_BREAST_EXPOSED"
    assert nudenet.new_name("FACE_M") == "FACE_MALE"
    renamed = {nudenet.new_name(name) for name in VERSION_2}
    assert len(renamed) == 16 and set(nudenet.CLASSES) - renamed == {"ARMPITS_COVERED", "ANUS_COVERED"}
    assert all(nudenet.new_name(name) == name for name in nudenet.CLASSES)
    assert nudenet.Params(concepts={"EXPOSED_FEET": "feet"}).concepts == {"FEET_EXPOSED": "feet"}
    with pytest.raises(ValidationError, match="no class 'EXPOSED_NOSE'"):
        nudenet.Params(concepts={"EXPOSED_NOSE": "nose"})


class Fixed:
    """The network's place taken by numbers: (4 + 18, anchors), centres and sizes in pixels of the 320 px square."""

    def __init__(self, *rows: tuple[float, float, float, float, str, float]) -> None:
        self.output = np.zeros((1, 22, len(rows)), np.float32)
        for index, (x, y, w, h, name, score) in enumerate(rows):
            self.output[0, :4, index] = x, y, w, h
            self.output[0, 4 + nudenet.CLASSES.index(name), index] = score

    def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.seen = next(iter(inputs.values()))
        return [self.output]


def test_boxes_scores_and_names() -> None:
    detector = load(concepts={"EXPOSED_BELLY": "skin", "FEET_EXPOSED": "skin", "FACE_FEMALE": "face"})
    network = Fixed(
        (160, 80, 40, 20, "BELLY_EXPOSED", 0.7),
        (40, 40, 20, 20, "FACE_FEMALE", 0.95),
        (100, 40, 20, 20, "FEET_EXPOSED", 0.5),
        (200, 40, 20, 20, "FEET_EXPOSED", 0.22),  # above the first of its floors, below the second
        (260, 40, 20, 20, "FACE_MALE", 0.99),  # nobody asked
    )
    detector._network.onnx_session = network
    image = np.zeros((320, 640, 3), np.uint8)  # wide: padded to 640 x 640 below, then halved
    image[..., 0] = 255
    (found,) = detector.detect([image])
    assert found.labels == ("face", "skin") and found.payloads == ("FACE_FEMALE", "BELLY_EXPOSED")
    assert found.boxes.tolist() == [[60, 60, 100, 100], [280, 140, 360, 180]]
    assert detector.threshold == 0.6 and np.allclose(found.scores, [0.95, 0.7])
    (more,) = detector.detect([image], min_score=0.0)
    assert more.scores.min() == 0.5 and len(more) == 3
    assert load(confidence=0.1).threshold == nudenet.FLOOR
    assert network.seen.shape == (1, 3, 320, 320) and network.seen.max() == 1


def test_a_picture_reaches_the_network_as_from_a_file(tmp_path: Path) -> None:
    """Channels in the order that the package makes of a PNG with the same pixels."""
    import nudenet.nudenet as package

    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "x.png")
    detector, network = load(), Fixed()
    detector._network.onnx_session = network
    detector.detect([image])
    assert np.array_equal(network.seen, package._read_image(str(tmp_path / "x.png"))[0])


def test_its_own_network_runs_and_is_pinned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        detector = load_detector("nudenet", device="cpu")
        load_detector("nudenet", device="cpu")
    assert caplog.text.count("AGPL-3.0") == 1
    assert detector.labels == ("sexual",) and set(detector.params.concepts) == set(nudenet.COUNTED)
    assert len(detector.detect([np.full((80, 60, 3), 128, np.uint8)])[0]) == 0
    lock = detector.lock()
    assert len(lock["weights"]) == 64 and lock["nudenet"].startswith("3.") and lock["params"]["confidence"] == 0.6


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(ConceptlibError, match="cannot be imported") as error:
        load()
    assert "conceptlib[nudenet]" in error.value.hint and "AGPL-3.0" in error.value.hint
