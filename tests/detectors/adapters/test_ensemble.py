"""Several detectors as one: unions, votes, rescaled scores, classifiers among them, and rings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conceptlib.detectors.adapters import ensemble, zxing
from conceptlib.detectors.adapters.ensemble import _raw, _rescaled
from conceptlib.detectors.base import detector_lock
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from tests.support.pictures import picture

IMAGE = np.zeros((64, 64, 3), np.uint8)
HERE, NEAR, FAR = [0, 0, 20, 20], [2, 0, 22, 20], [40, 40, 60, 60]


class Says:
    """A detector that always says the same."""

    artifact = ""

    def __init__(
        self, *things: tuple[list[float] | None, float, str], threshold: float = 0.5, payload: str | None = None
    ) -> None:
        self.name, self.threshold, self.things, self.payload = "says", threshold, things, payload
        self.labels = tuple(dict.fromkeys(label for *_, label in things)) or ("qr-code",)
        self.locates = any(box is not None for box, *_ in things) or not things

    def lock(self) -> dict[str, Any]:
        return {"says": [list(map(str, thing)) for thing in self.things]}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        lowest = self.threshold if min_score is None else min_score
        kept = [thing for thing in self.things if thing[1] >= lowest]
        found = Detections(
            np.array([box or [0, 0, 0, 0] for box, *_ in kept], np.float32).reshape(-1, 4),
            [score for _, score, _ in kept],
            tuple(label for *_, label in kept),
            payloads=None if self.payload is None else (self.payload,) * len(kept),
        )
        return [found for _ in images]


def made(*members: Any, **params: Any) -> ensemble.EnsembleDetector:
    given_ = ensemble.Params.model_validate({"detectors": ["a"] * len(members)} | params)
    return ensemble.load(SimpleNamespace(name="e", params=given_), members=members)


def test_union() -> None:
    one = Says((HERE, 1.0, "qr-code"), threshold=1.0, payload="hello")
    two = Says((NEAR, 0.6, "qr-code"), (FAR, 0.8, "qr-code"), (HERE, 0.7, "text"), (FAR, 0.3, "text"))
    both = made(one, two)
    assert both.labels == ("qr-code", "text") and both.threshold == 0.5 and both.locates
    (found,) = both.detect([IMAGE])
    assert sorted(zip(found.labels, found.boxes.tolist(), found.payloads or (), strict=True)) == [
        ("qr-code", HERE, "hello"),
        ("qr-code", FAR, ""),
        ("text", HERE, ""),
    ]
    assert found.scores.tolist() == pytest.approx([1.0, 0.8, 0.7])
    (everything,) = both.detect([IMAGE], min_score=0.001)
    assert len(everything) == 4 and everything.scores[-1] == pytest.approx(0.3)
    assert len(made(Says(), Says()).detect([IMAGE])[0]) == 0


def test_votes() -> None:
    one, two = Says((HERE, 0.9, "qr-code"), (FAR, 0.9, "qr-code")), Says((NEAR, 0.6, "qr-code"))
    (found,) = made(one, two, votes=2).detect([IMAGE])
    assert found.boxes.tolist() == [HERE] and found.scores.tolist() == pytest.approx([0.6])  # the second best score
    assert len(made(one, two, votes=2, iou=0.9).detect([IMAGE])[0]) == 0
    unsure = Says((NEAR, 0.4, "qr-code"))
    assert len(made(one, unsure, votes=2).detect([IMAGE])[0]) == 0
    # The same detector twice in one place has one vote.
    twice = Says((HERE, 0.9, "qr-code"), (NEAR, 0.9, "qr-code"))
    assert len(made(twice, Says(), votes=2).detect([IMAGE])[0]) == 0
    with pytest.raises(ValidationError, match="cannot give 3 votes"):
        made(one, two, votes=3)


def test_scores_are_rescaled_to_a_common_threshold() -> None:
    """A detector with a threshold of 0.1 that says 0.2 is surer than one with 0.9 that says 0.85."""
    low, high = Says((HERE, 0.2, "qr-code"), threshold=0.1), Says((FAR, 0.85, "qr-code"), threshold=0.9)
    (found,) = made(low, high).detect([IMAGE], min_score=0.01)
    assert found.boxes.tolist() == [HERE, FAR]
    assert found.scores.tolist() == pytest.approx([0.5 + 0.5 * 0.1 / 0.9, 0.5 * 0.85 / 0.9])
    assert len(made(low, high).detect([IMAGE])[0]) == 1


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_rescaling_keeps_order_and_has_an_inverse(score: float, threshold: float) -> None:
    there = float(_rescaled(np.array([score]), threshold)[0])
    assert 0 <= there <= 1 and (there >= 0.5) == (score >= threshold)
    assert _raw(there, threshold) == pytest.approx(score, abs=1e-9)


def test_a_classifier_supports_places_and_stands_alone_without() -> None:
    says_so = Says((None, 0.9, "watermark"))
    finder = Says((HERE, 0.7, "watermark"), (FAR, 0.6, "watermark"), (FAR, 0.9, "text"))
    (confirmed,) = made(finder, says_so, votes=2).detect([IMAGE])
    assert confirmed.boxes.tolist() == [HERE, FAR] and confirmed.labels == ("watermark", "watermark")
    (union,) = made(finder, says_so).detect([IMAGE])
    assert len(union) == 3 and union.located.all()
    (alone,) = made(Says((FAR, 0.9, "text")), says_so).detect([IMAGE])
    assert [(label, bool(where)) for label, where in zip(alone.labels, alone.located, strict=True)] == [
        ("text", True),
        ("watermark", False),
    ]
    assert not made(says_so, says_so).locates


def test_a_spec_of_real_detectors(tmp_path: Path) -> None:
    big = Path("big.yaml")
    big.write_text("kind: detector\nname: big\nadapter: zxing\nparams: {upscale: 1, inverted: false}\n")
    text = "kind: detector\nname: both\nadapter: ensemble\nparams:\n  detectors: [zxing, big.yaml]\n  votes: 2\n"
    Path("both.yaml").write_text(text)
    detector = load_detector("both.yaml")
    image, truth = picture(3, True, 256)
    (found,) = detector.detect([np.asarray(image)])
    assert found.payloads == truth.payloads and found.quads is not None
    assert [member["adapter"] for member in detector.lock()["members"]] == ["zxing", "zxing"]
    assert detector.lock() != load_detector("zxing").lock()


def test_the_lock_has_the_version_of_every_members_code(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("both.yaml").write_text("kind: detector\nname: both\nadapter: ensemble\nparams: {detectors: [zxing, zxing]}\n")
    detector = load_detector("both.yaml")
    monkeypatch.setattr(zxing, "VERSION", 1)
    before = detector_lock(detector)
    assert before["members"] == [member.lock() for member in detector.members] and "code_version" not in str(before)
    monkeypatch.setattr(zxing, "VERSION", 2)
    members = [member | {"code_version": 2} for member in before["members"]]
    assert len(members) == 2 and detector_lock(detector) == before | {"members": members}
    monkeypatch.setattr(ensemble, "VERSION", 3, raising=False)
    assert detector_lock(detector)["code_version"] == 3


def test_an_ensemble_of_itself(tmp_path: Path) -> None:
    Path("detectors").mkdir()
    for name, other in (("one", "two"), ("two", "one")):
        text = f"kind: detector\nname: {name}\nadapter: ensemble\nparams: {{detectors: [zxing, {other}]}}\n"
        Path(f"detectors/{name}.yaml").write_text(text)
    with pytest.raises(ConceptlibError, match="made of itself: one → two → one"):
        load_detector("one")
