"""The YOLO adapter on real networks of few steps: training, weights, finding, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conceptlib.concepts.overlays import text
from conceptlib.detectors.adapters import _ultralytics, _yolo_model, _yolo_train, yolo
from conceptlib.detectors.base import TrainingSet, training_lock
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections, iou
from conceptlib.models.threads import Threads
from tests.support.pictures import picture


def spec(**params: Any) -> SimpleNamespace:
    return SimpleNamespace(name="small", seed=3, params=yolo.Params.model_validate(params))


def training_set(count: int = 60) -> TrainingSet:
    pictures = [picture(index, index % 3 != 0) for index in range(count)]

    def examples() -> Iterator[tuple[np.ndarray, Detections]]:
        for image, found in pictures:
            yield np.asarray(image), found

    return TrainingSet(("qr-code",), count, 64, examples)


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return training_set()


@pytest.fixture(scope="module")
def trained(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights after a short training that already finds codes."""
    folder = tmp_path_factory.mktemp("weights")
    short = spec(steps=80, batch_size=12, learning_rate=4e-3, degrade=0.0, distractors=[])
    yolo.train(short, data, folder, device="cpu")
    return folder


def test_learns(trained: Path, data: TrainingSet) -> None:
    about = _yolo_model.read_description(trained)["training"]
    first = yolo.train(spec(steps=1, batch_size=16), data, trained.parent / "one-step", device="cpu")
    assert sum(about["losses"].values()) < 0.6 * sum(first["losses"].values())
    detector = yolo.load(spec(), weights=trained, device="cpu")
    fresh = [picture(index, index % 2 == 0) for index in range(500, 560)]
    found = detector.detect([np.asarray(image) for image, _ in fresh], min_score=0.001)
    best = np.array([f.scores[0] if len(f) else 0.0 for f in found])
    polluted = np.array([len(t) > 0 for _, t in fresh])
    assert np.quantile(best[polluted], 0.1) > 5 * np.quantile(best[~polluted], 0.9)
    hits = [iou(f.boxes[:1], t.boxes)[0, 0] > 0.5 for f, (_, t) in zip(found, fresh, strict=True) if len(t) and len(f)]
    assert sum(hits) >= 24  # of 30


def test_same_seed_same_weights_and_resuming_changes_nothing(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = spec(steps=8, batch_size=4)
    yolo.train(short, data, tmp_path / "whole", device="cpu")

    def stop(stage: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    used: list[int] = []  # numbers of threads that are only tried: trials must have no effect
    monkeypatch.setattr(Threads, "of", lambda device, state="": Threads(2, state=state, use=used.append))
    with pytest.raises(KeyboardInterrupt):
        yolo.train(short, data, tmp_path / "stopped", device="cpu", progress=stop)
    assert used[:4] == [2, 2, 2, 1]
    assert (tmp_path / "stopped" / _yolo_train.CHECKPOINT).exists()
    steps: list[int] = []
    yolo.train(short, data, tmp_path / "stopped", device="cpu", progress=lambda stage, done, total: steps.append(done))
    assert steps[0] == 7, "Ctrl-C keeps what was done"
    whole, stopped = (load_file(tmp_path / name / _yolo_model.WEIGHTS) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)
    assert not (tmp_path / "stopped" / _yolo_train.CHECKPOINT).exists()
    yolo.train(SimpleNamespace(name="small", seed=4, params=short.params), data, tmp_path / "other", device="cpu")
    other = load_file(tmp_path / "other" / _yolo_model.WEIGHTS)
    assert any(not torch.equal(whole[key], other[key]) for key in whole)


def test_a_checkpoint_is_written_every_minute(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, found = 0.0, []

    def slow(stage: str, done: int, total: int) -> None:
        nonlocal now
        now += 35.0
        path = tmp_path / _yolo_train.CHECKPOINT
        found.append(int(safe_open(path, "pt").metadata()["step"]) if path.exists() else 0)

    monkeypatch.setattr("conceptlib.timing.time.monotonic", lambda: now)
    yolo.train(spec(steps=5, batch_size=2), data, tmp_path, device="cpu", progress=slow)
    assert found[:5] == [0, 0, 2, 2, 4]


def test_a_torn_checkpoint_is_started_over(data: TrainingSet, tmp_path: Path) -> None:
    (tmp_path / _yolo_train.CHECKPOINT).write_bytes(b"\x00" * 40)
    steps: list[int] = []
    yolo.train(spec(steps=1, batch_size=2), data, tmp_path, device="cpu", progress=lambda *a: steps.append(a[1]))
    assert steps == [0, 1]


def test_weights_roundtrip_exactly(trained: Path, tmp_path: Path) -> None:
    model, description = _yolo_model.load(trained)
    _yolo_model.save(tmp_path, model, description)
    again, told = _yolo_model.load(tmp_path)
    assert told == description
    for (name, one), (_, two) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, two), name
    assert {path.name for path in trained.iterdir()} == {"model.json", "model.safetensors"}  # and no pickle


def test_batches_change_nothing(trained: Path) -> None:
    detector = yolo.load(spec(), weights=trained, device="cpu")
    images = [
        np.asarray(picture(index, True, size)[0]) for index, size in enumerate((64, 100, 64, 64, 180, 64, 64) * 5)
    ]
    together = detector.detect(images, min_score=0.01)
    assert sum(map(len, together)) > 10
    for one, image in zip(together, images, strict=True):
        (alone,) = detector.detect([image], min_score=0.01)
        assert len(alone) == len(one)
        assert np.allclose(alone.boxes, one.boxes, atol=1e-2) and np.allclose(alone.scores, one.scores, atol=1e-4)


def test_boxes_are_pixels_of_the_given_picture(trained: Path) -> None:
    """A wide picture, and a square one that is what the network sees of it: the same boxes, moved by the border."""
    detector = yolo.load(spec(), weights=trained, device="cpu")
    detector.imgsz = 128
    wide = np.full((64, 128, 3), 114, np.uint8)
    wide[:, :64] = np.asarray(picture(2, True)[0])
    square = np.full((128, 128, 3), 114, np.uint8)
    square[32:96] = wide
    in_wide, in_square = detector.detect([wide, square], min_score=0.001)
    assert len(in_wide) > 0
    best = in_square.boxes[0] - np.array([0, 32, 0, 32])
    assert np.allclose(in_wide.boxes[0], np.clip(best, 0, [128, 64, 128, 64]), atol=1e-2)
    assert (in_wide.boxes >= 0).all() and (in_wide.boxes <= [128, 64, 128, 64]).all()


def test_threshold(trained: Path, tmp_path: Path) -> None:
    model, description = _yolo_model.load(trained)
    _yolo_model.save(tmp_path, model, description)
    yolo.set_threshold(tmp_path, 0.125)
    detector = yolo.load(spec(), weights=tmp_path, device="cpu")
    images = [np.asarray(picture(index, index % 2 == 0)[0]) for index in range(20)]
    assert detector.threshold == 0.125
    everything, some = detector.detect(images, min_score=0.001), detector.detect(images)
    for all_, above in zip(everything, some, strict=True):
        assert np.array_equal(above.scores, all_.scores[all_.scores >= 0.125])
        assert (np.diff(all_.scores) <= 0).all()
    assert yolo.load(spec(confidence=0.5), weights=tmp_path, device="cpu").threshold == 0.5


def test_lock_follows_weights_and_inference_only(trained: Path, tmp_path: Path) -> None:
    lock = yolo.load(spec(), weights=trained, device="cpu").lock()
    assert yolo.load(spec(steps=7, flip=False), weights=trained, device="cpu").lock() == lock
    assert yolo.load(spec(nms_iou=0.3), weights=trained, device="cpu").lock() != lock
    model, description = _yolo_model.load(trained)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    _yolo_model.save(tmp_path, model, description)
    assert yolo.load(spec(), weights=tmp_path, device="cpu").lock()["weights"] != lock["weights"]


def test_weights_that_do_not_fit(trained: Path, tmp_path: Path) -> None:
    _yolo_model.save(tmp_path, *_yolo_model.load(trained))
    tensors = load_file(tmp_path / _yolo_model.WEIGHTS)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, tmp_path / _yolo_model.WEIGHTS)
    with pytest.raises(ConceptlibError, match="do not fit"):
        _yolo_model.load(tmp_path)
    (tmp_path / _yolo_model.WEIGHTS).write_bytes(b"nonsense")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        _yolo_model.load(tmp_path)
    (tmp_path / _yolo_model.DESCRIPTION).write_text("{}")
    with pytest.raises(ConceptlibError, match="description"):
        _yolo_model.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "__import__('os').system('true')"},
        {"backbone": [[-1, 1, "torchvision.ops.Permute", [[0]]]]},
        {"backbone": [[-1, 1, "Conv", ["__import__('os')", 3, 2]]]},
        {"backbone": []},
        {"head": [], "backbone": "Conv"},
        {"backbone": [[-1, 10**9, "Conv", [64, 3, 2]]]},
        {"backbone": [[-1, 1, "Conv", [10**9, 3, 2]]]},
        {"backbone": [[-1, 1, "Conv", [64, 3, 2]]] * 2000},
        {"backbone": [[-1, 600, "Conv", [64, 3, 2]]] * 2},
        {"width_multiple": 1e9},
        {"nc": 10**9},
    ],
)
def test_a_description_is_data_never_code(change: dict[str, Any]) -> None:
    config = _yolo_model.architecture("compact", 1) | change
    if change.get("backbone") == []:
        config["head"] = []
    with pytest.raises(ConceptlibError, match="not loaded"):
        _yolo_model.build(config, where="model.json")


def test_architectures_of_ultralytics_build() -> None:
    for name in ("yolov8n", "yolo11n"):
        model = _yolo_model.build(_yolo_model.architecture(name, 2))
        assert model.model[-1].nc == 2 and json.loads(json.dumps(model.yaml))


def test_a_pickle_needs_trust_and_runs_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pickle.*trust"):
        spec(weights="model.pt")
    with pytest.raises(ConceptlibError, match="no such file"):
        yolo.load(spec(weights=str(tmp_path / "none.pt"), trust=True), device="cpu")

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "was-here"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        yolo.load(spec(weights=str(tmp_path / "evil.pt"), trust=True), device="cpu")
    assert not (tmp_path / "was-here").exists()


def test_own_weights_with_names_for_concepts(trained: Path, tmp_path: Path) -> None:
    model, _ = _yolo_model.load(trained)
    model.names = {0: "barcode"}
    torch.save({"model": model, "ema": None}, tmp_path / "mine.pt")
    own = spec(weights=str(tmp_path / "mine.pt"), trust=True, concepts={"barcode": "qr-code"}, confidence=0.05)
    detector = yolo.load(own, device="cpu")
    detector.imgsz = 64
    assert detector.labels == ("qr-code",)
    images = [np.asarray(picture(index, True)[0]) for index in range(4)]
    ours = yolo.load(spec(confidence=0.05), weights=trained, device="cpu").detect(images)
    for one, two in zip(detector.detect(images), ours, strict=True):
        assert np.allclose(one.boxes, two.boxes, atol=1e-4) and one.labels == two.labels
    with pytest.raises(ConceptlibError, match="no class 'qr'"):
        yolo.load(spec(weights=str(tmp_path / "mine.pt"), trust=True, concepts={"qr": "qr-code"}), device="cpu")


def test_what_is_learned_from(data: TrainingSet) -> None:
    cached = _yolo_train.cache(data, 32, 1024, None, 0)
    _, found = picture(1, True)
    assert cached.images.shape == (60, 32, 32, 3) and np.allclose(cached.boxes[1], found.boxes / 2)
    fewer = _yolo_train.cache(data, 640, 29, None, 0)
    assert len(fewer.images) == len(fewer.boxes) == 24  # 29 MiB hold 24 pictures of 640 px
    everything = _yolo_train.cache(data, 640, 1024, None, 0)
    rows = [int(np.flatnonzero((everything.images == image).all((1, 2, 3)))[0]) for image in fewer.images]
    assert rows == sorted(set(rows)) and len(set(np.diff(rows))) > 1
    assert all(np.array_equal(fewer.boxes[i], everything.boxes[row]) for i, row in enumerate(rows))
    nothing = TrainingSet(("watermark",), 60, 64, data.examples)
    with pytest.raises(ConceptlibError, match="no box"):
        _yolo_train.cache(nothing, 32, 1024, None, 0)


def test_distractors_leave_out_what_is_sought(data: TrainingSet) -> None:
    image = np.asarray(picture(0, False)[0])
    rng = np.random.default_rng(0)
    lay = _yolo_train.distractor(("qr-code",), ("text", "watermark"), 1.0)
    assert not np.array_equal(lay(image, rng), image)
    assert _yolo_train.distractor(("text",), ("text",), 1.0) is None
    assert _yolo_train.distractor(("qr-code",), ("text",), 0.0) is None


def test_training_depends_on_the_code_of_the_distractors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_lock(yolo, "yolo", yolo.Params()) == {}
    monkeypatch.setattr(text, "VERSION", 2, raising=False)
    monkeypatch.setattr(yolo, "VERSION", 3, raising=False)
    lock = {"distractors": {"text": {"code_version": 2}}, "code_version": 3}
    assert training_lock(yolo, "yolo", yolo.Params()) == lock
    for others in ({"distractors": ("watermark",)}, {"distractor_share": 0.0}):
        assert training_lock(yolo, "yolo", yolo.Params(**others)) == {"code_version": 3}


def test_batches_mirror_boxes_with_pictures() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:30, 4:20] = 255
    cached = _yolo_train.Cached(image[None], [np.array([[4, 10, 20, 30]], np.float32)], [np.zeros(1, np.int64)])
    params = spec(batch_size=16, degrade=0.0).params
    images, targets = _yolo_train._batch(cached, params, np.random.default_rng(0))
    lefts = set()
    for row in range(16):
        ys, xs = (images[row, 0] > 0.5).nonzero(as_tuple=True)
        cx, cy, w, h = (targets["bboxes"][row] * 64).tolist()
        assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2)
        lefts.add(int(xs.min()))
    assert lefts == {4, 44} and targets["batch_idx"].tolist() == list(range(16))


def test_missing_extra(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)  # what Python does for `import` of what is not there
    monkeypatch.setitem(sys.modules, "ultralytics.nn.tasks", None)
    _ultralytics._import.cache_clear()
    with pytest.raises(ConceptlibError) as error:
        yolo.load(spec(), weights=trained)
    assert "pip install 'conceptlib[yolo]'" in error.value.hint and "AGPL-3.0" in error.value.hint
    _ultralytics._import.cache_clear()


def test_importing_it_touches_nothing_else(tmp_path: Path) -> None:
    """In a fresh process: told once, settings at home, no thread limit for children, no file in the working folder."""
    script = """
import os, sys
from conceptlib.detectors.adapters import yolo, _ultralytics
assert not {"ultralytics", "torch"} & set(sys.modules), "the adapter imports heavy libraries"
from PIL import Image, ImageFile
opening = Image.open
_ultralytics.prepare(); _ultralytics.prepare()
assert Image.open is opening, "Pillow is patched"
from ultralytics import settings
print(settings["sync"], settings["runs_dir"], os.environ.get("OMP_NUM_THREADS"), ImageFile.LOAD_TRUNCATED_IMAGES)
"""
    home = tmp_path / "fresh"
    env = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "YOLO_CONFIG_DIR")}
    env |= {"CONCEPTLIB_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[3])}
    work = tmp_path / "elsewhere"
    work.mkdir()
    first = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=work, capture_output=True, text=True, check=True
    )
    assert first.stdout.split() == ["False", str(home / "ultralytics" / "runs"), "None", "False"]
    assert first.stderr.count("AGPL-3.0") == 1
    _told_once(home, env, work)
    assert not any(work.iterdir())


def _told_once(home: Path, env: dict[str, str], work: Path) -> None:
    assert "AGPL-3.0" in (home / "notices" / "ultralytics").read_text()
    script = "import logging; from conceptlib.detectors.adapters import _ultralytics as u; u._tell_licence()"
    again = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=work, capture_output=True, text=True, check=True
    )
    assert again.stderr == ""
