"""Exported networks beside the ones they were exported from, foreign ONNX files, and files that are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from conceptlib.detectors.adapters import _yolo_model, yolo
from conceptlib.detectors.adapters._yolo_onnx import decode, suppress
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from tests.support.pictures import picture


def spec(**params: Any) -> SimpleNamespace:
    return SimpleNamespace(name="small", seed=3, params=yolo.Params.model_validate(params))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with three classes whose scores spread over [0, 1], as those of a trained network do."""
    target = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = _yolo_model.build(_yolo_model.architecture("compact", 3)).eval()
    with torch.no_grad():
        for weight in (one for one in model.parameters() if one.ndim > 1 and one.requires_grad):
            torch.nn.init.kaiming_normal_(weight)  # else the signal dies out on its way, and all scores are alike
        for branch in model.model[-1].cv3:
            branch[-1].weight.mul_(200)
            branch[-1].bias.fill_(-3.0)
    description = {
        "architecture": _yolo_model.architecture("compact", 3),
        "labels": ["qr-code", "text", "watermark"],
        "imgsz": 96,
        "strides": [8, 16],
        "threshold": 0.3,
        "training": {},
    }
    _yolo_model.save(target, model, description)
    return target


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "Mine 1.onnx"
    assert yolo.export(spec(), folder, path) == {
        "labels": ["qr-code", "text", "watermark"],
        "imgsz": 96,
        "threshold": 0.3,
    }
    return path


def pictures() -> list[np.ndarray]:
    return [np.asarray(picture(index, True, size)[0]) for index, size in enumerate((64, 96, 150) * 4)] + [
        np.asarray(picture(50, True, 128)[0])[:, :70]
    ]


def test_the_exported_network_finds_the_same(folder: Path, exported: Path) -> None:
    trained, runtime = yolo.load(spec(), weights=folder, device="cpu"), load_detector(str(exported), device="cpu")
    assert runtime.name == "mine-1" and runtime.labels == trained.labels and runtime.threshold == 0.3
    found, same = (one.detect(pictures(), min_score=0.001) for one in (trained, runtime))
    assert sum(map(len, found)) > 100 and len({label for one in found for label in one.labels}) == 3
    for one, two in zip(found, same, strict=True):
        assert one.labels == two.labels
        assert np.allclose(one.boxes, two.boxes, atol=0.5) and np.allclose(one.scores, two.scores, atol=1e-3)
    lock = runtime.lock()
    assert lock["onnxruntime"] and "ultralytics" not in lock and len(lock["weights"]) == 64


def test_it_runs_without_torch_and_ultralytics(exported: Path) -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(("ultralytics", "torch", "torchvision")))
import numpy as np
from conceptlib.detectors.load import load_detector
(found,) = load_detector(sys.argv[1], device="cpu").detect([np.full((50, 80, 3), 90, np.uint8)], min_score=0.001)
print(len(found))
"""
    done = subprocess.run([sys.executable, "-c", code, str(exported)], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0


def test_threshold_and_concepts_of_the_spec(exported: Path) -> None:
    mine = spec(weights=str(exported), confidence=0.6, concepts={"text": "caption", "qr-code": "qr-code"})
    detector = yolo.load(mine, device="cpu")
    assert detector.labels == ("qr-code", "caption") and detector.threshold == 0.6
    assert all(
        set(one.labels) <= {"qr-code", "caption"} and (one.scores >= 0.6).all() for one in detector.detect(pictures())
    )


def graph(path: Path, output: np.ndarray, names: str = "{0: 'stamp'}", batch: Any = "batch", **told: str) -> Path:
    """A foreign network that always answers the same."""
    size = list(output.shape)
    nodes = [helper.make_node("Constant", [], ["o"], value=onnx.numpy_helper.from_array(output.astype(np.float32)))]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [batch, 3, 64, 64])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, size)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    for key, value in ({"names": names} | told).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
    return path


def test_a_foreign_network_that_suppresses_by_itself(tmp_path: Path) -> None:
    rows = np.array([[[8, 8, 24, 24, 0.9, 0], [0, 0, 64, 64, 0.4, 0], [1, 1, 2, 2, 0.0005, 0]]])
    detector = load_detector(str(graph(tmp_path / "end2end.onnx", rows, batch=1)), device="cpu")
    assert detector.labels == ("stamp",) and detector.threshold == 0.25
    blank = np.zeros((128, 128, 3), np.uint8)
    for found in detector.detect([blank, blank]):  # one picture at a time, since the network takes no more
        assert found.boxes.tolist() == [[16, 16, 48, 48], [0, 0, 128, 128]]
        assert np.allclose(found.scores, [0.9, 0.4])


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        ("", (1, 5, 7), "what its classes are called"),
        ("{0: __import__('os')}", (1, 5, 7), "what its classes are called"),
        ("{0: 'a', 2: 'b'}", (1, 6, 7), "what its classes are called"),
        ("['a', 'b']", (1, 9, 7), "no boxes of 2 classes"),
    ],
)
def test_files_that_are_no_detection_networks(tmp_path: Path, names: str, shape: tuple[int, ...], message: str) -> None:
    path = graph(tmp_path / "odd.onnx", np.zeros(shape), names)
    with pytest.raises(ConceptlibError, match=message):
        load_detector(str(path), device="cpu").detect([np.zeros((64, 64, 3), np.uint8)])


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no such file"):
        load_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "torn.onnx").write_bytes(b"\x08\x01nonsense")
    with pytest.raises(ConceptlibError, match="cannot load the network"):
        load_detector(str(tmp_path / "torn.onnx"), device="cpu")
    with pytest.raises(ConceptlibError, match="no CUDA"):
        load_detector(str(graph(tmp_path / "g.onnx", np.zeros((1, 5, 7)))), device="cuda")
    with pytest.raises(ConceptlibError, match=r"pickle.*--trust"):
        load_detector(str(tmp_path / "stranger.pt"))
    with pytest.raises(ConceptlibError, match="no such file"):
        load_detector(str(tmp_path / "stranger.pt"), trust=True)


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2)),
        max_size=25,
    ),
    st.floats(0.1, 0.9),
)
def test_suppression_is_torchvisions(boxes: list[tuple[int, ...]], nms_iou: float) -> None:
    from torchvision.ops import batched_nms

    scores = np.linspace(0.99, 0.1, len(boxes), dtype=np.float32)
    rows = np.array(
        [(x, y, x + w, y + h, s, c) for (x, y, w, h, c), s in zip(boxes, scores, strict=True)], np.float32
    ).reshape(-1, 6)
    tensors = torch.from_numpy(rows)
    expected = batched_nms(tensors[:, :4], tensors[:, 4], tensors[:, 5], nms_iou).numpy()
    assert np.array_equal(suppress(rows, nms_iou, 100), rows[expected])
    assert np.array_equal(suppress(rows, nms_iou, 3), rows[expected][:3])


def test_decoding() -> None:
    raw = np.array(
        [[10, 50], [20, 50], [4, 20], [8, 10], [0.1, 0.3], [0.7, 0.2]], np.float32
    )  # two anchors, two classes
    assert np.allclose(decode(raw, 0.001), [[8, 16, 12, 24, 0.7, 1], [40, 45, 60, 55, 0.3, 0]])
    assert len(decode(raw, 0.5)) == 1 and decode(raw, 0.9).shape == (0, 6)
