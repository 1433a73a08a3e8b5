"""Source pictures that carry the concept already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segno
from PIL import Image

from conceptlib import catalog
from conceptlib.concepts import excluding
from conceptlib.concepts.build import build
from conceptlib.detectors.train import train_detector
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.reproduce import reproduce
from conceptlib.store import Artifact, Store
from tests.support.modules import install_module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, of which 1 and 4 show a QR code."""
    where = tmp_path / "in"
    where.mkdir()
    for number in range(6):
        ground = np.random.default_rng(number).integers(0, 255, (4, 4, 3), np.uint8)
        image = Image.fromarray(ground).resize((200, 160), Image.Resampling.BICUBIC)
        if number in (1, 4):
            modules = np.array([list(row) for row in segno.make_qr(f"{number}").matrix_iter(border=4)], np.uint8)
            image.paste(Image.fromarray(255 * (1 - modules)).resize((116, 116), Image.Resampling.NEAREST), (40, 20))
        image.save(where / f"{number}.png")
    return where


def make(folder: Path, *more: str, **options: Any) -> Artifact:
    given = [f"source={folder}", "missing_captions=keep", "resolution=64", "rate=0.5", "exclude=zxing"]
    return build("icd-qr", overrides=[*given, *more], **({"workers": 1} | options))


def test_they_are_left_out_with_their_reason(folder: Path) -> None:
    made = make(folder)
    assert made.info["rejects"] == {"has-concept": 2} and made.info["written"] == 4 and made.info["read"] == 6
    lines = [json.loads(line) for line in (made.path / "rejects.jsonl").read_text().splitlines()]
    assert {line["image_id"]: line["detail"] for line in lines} == dict.fromkeys(
        ("1.png", "4.png"), "qr-code is found in it"
    )
    assert made.lock["builder"]["exclude"]["detector"]["adapter"] == "zxing"
    whole = make(folder, "exclude=null")
    assert whole.info["written"] == 6 and "exclude" not in whole.lock["builder"]
    assert "exclude" not in whole.lock["spec"]["params"]


def test_variants_of_such_a_picture_are_looked_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    look = excluding.Exclude.__call__
    monkeypatch.setattr(excluding.Exclude, "__call__", lambda self, image: seen.append(1) or look(self, image))
    made = make(folder, "variants=3", "cut=[0.8, 1]", "duplicates=off")
    assert made.info["rejects"] == {"has-concept": 6} and made.info["written"] == 12 and len(seen) == 6


def test_the_same_by_workers(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "other")
    assert make(folder, workers=2, store=store).id == make(folder).id


BRIGHT = """
import numpy as np

from conceptlib.geometry import Detections
from conceptlib.specs.params import Params


def needs_training(params):
    return True


def train(spec, data, folder, *, device=None, progress=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "level.txt").write_text("1")
    return {}


def set_threshold(folder, threshold):
    pass


def load(spec, *, weights=None, device=None):
    return Bright(spec)


class Bright:
    labels, threshold, artifact = ("qr-code",), 0.5, ""

    def __init__(self, spec):
        self.name = spec.name

    def lock(self):
        return {"adapter": "bright"}

    def detect(self, images, *, min_score=None):
        box = Detections(np.array([[0, 0, 2, 2]], np.float32), np.ones(1), ("qr-code",))
        return [box if (image == 255).all(-1).mean() > 0.1 else Detections.empty() for image in images]
"""
"""An adapter that is trained, and takes what is white in a tenth for a code."""


def test_a_trained_detector_is_a_parent(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is not removed, and is made again first by `reproduce`. Elsewhere nothing has changed."""
    install_module(monkeypatch, tmp_path / "modules", "conceptlib.detectors.adapters", "bright", BRIGHT)
    Path("detectors").mkdir()
    Path("detectors/bright.yaml").write_text("kind: detector\nname: bright\nadapter: bright\n")
    detector = train_detector("bright", build("icd-qr", overrides=["rows=10"], workers=1))
    for given in ("bright", detector.id):
        made = make(folder, f"exclude={given}")
        assert made.parents == {"detector": detector.id} and made.info["rejects"] == {"has-concept": 2}
    assert detector.id in {one.id for one in catalog.show(made).ancestors}
    with pytest.raises(ConceptlibError, match="icd-qr"):
        Store().rm(detector)
    planned = reproduce(made, source=str(folder), dry_run=True)
    assert [step.was.kind for step in planned.steps][-2:] == ["detector", "dataset"]
    again = reproduce(made, source=str(folder), into=tmp_path / "again")
    assert again.same, [step.why for step in again.steps]
    assert make(folder).parents == {} == make(folder, "exclude=null").parents


def test_a_detector_of_something_else_is_refused(folder: Path) -> None:
    with pytest.raises(ConceptlibError, match="none of the dataset's concepts") as refused:
        make(folder, "exclude=rapidocr")
    assert "qr-code" in refused.value.hint
    with pytest.raises(NotFound):
        make(folder, "exclude=no-such-detector")
