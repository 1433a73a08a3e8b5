"""YOLO detectors: trained from scratch on a built dataset, or anybody's weights.

A trained detector is an artifact of `model.safetensors` and `model.json`. It applies the threshold that was
calibrated at the end of its training; pictures are letterboxed to the training size, and every picture's result is
its own. Training and its weights need the extra `yolo` (ultralytics, AGPL-3.0); what was exported to ONNX, here or
elsewhere, runs on the extra `onnx` alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from conceptlib.detectors.base import LOWEST_SCORE, TrainingSet, as_image
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.progress import Progress
from conceptlib.specs.params import FloatRange, Fraction, PositiveFloat, PositiveInt, within
from conceptlib.specs.params import Params as BaseParams
from conceptlib.specs.registry import OVERLAYS

CHUNK = 32
"""Pictures that go through the network at once."""

# What decides a detection once the weights are there; the other parameters are in the weights' hash.
_INFERENCE = ("confidence", "nms_iou", "max_detections", "concepts")
FILES = (".onnx", ".pt")
"""Weights that may be given in the place of a spec."""

EXPORTED = ".onnx"

_UNTOLD = (
    "a .pt file is a pickle: opening one from somebody you do not trust can run their code on your machine. "
    "conceptlib reads it through ultralytics' restricted unpickler, but only if you say so: `--trust`, or trust: true "
    "in the spec"
)


class Params(BaseParams):
    """A YOLO network.

    Finding:
        confidence: score from which something counts as found; null: as calibrated in training.
        nms_iou: overlap above which the weaker of two boxes is dropped. max_detections: at most so many in a picture.

    Own weights instead of training:
        weights: an `.onnx`, or a `.pt` of ultralytics. trust: open a `.pt` although it is a pickle.
        concepts: which concept each of its classes is; others are not reported; empty: classes keep their names.

    Training:
        start: weights to begin with, of the same architecture: `nudenet` (YOLOv8n, in that extra), an `.onnx`, a `.pt`
            (with trust) or a folder of trained weights; null: random ones.
        architecture: `compact` (YOLOv8's blocks, strides 8 and 16, for small pictures) or one of ultralytics'.
        imgsz: side of the input, pixels, a multiple of 32; null: the pictures' longer side, at most 640.
        steps, batch_size, learning_rate, weight_decay: of AdamW.
        window: side of the squares, pixels, a multiple of 32, that are cut at random out of the pictures to train on;
            null: the whole pictures. zoom: how much a picture is scaled before, at random between the two.
        flip: mirror half of the pictures. tint: change their colours. degrade: share of pictures that are blurred,
            recompressed and so on.
        distractors: overlays of other concepts, laid over `distractor_share` of the pictures, so that they are not
            taken for what is sought.
        cache_megabytes: memory for decoded pictures; of more, a sample is used.
        max_false_positive_rate: calibration allows false alarms on at most this share of clean pictures.
    """

    confidence: Fraction | None = None
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_detections: PositiveInt = 100
    weights: str = ""
    trust: bool = False
    concepts: dict[str, str] = Field(default_factory=dict)
    start: str | None = None
    architecture: Literal["compact", "yolov8n", "yolov8s", "yolov8m", "yolo11n", "yolo11s", "yolo11m"] = "compact"
    imgsz: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] | None = None
    steps: PositiveInt = 200
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: PositiveFloat = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    window: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] | None = None
    zoom: Annotated[FloatRange, within(0.1, 4)] = (0.6, 1.2)
    flip: bool = True
    tint: bool = False
    degrade: Fraction = 0.5
    distractors: tuple[str, ...] = ("text", "watermark")
    distractor_share: Fraction = 0.25
    cache_megabytes: Annotated[int, Field(ge=16)] = 1024
    max_false_positive_rate: Fraction = 0.005

    @model_validator(mode="after")
    def _pickles_need_trust(self) -> Params:
        pickled = self.weights and not self.weights.lower().endswith(".onnx")
        if (pickled or (self.start or "").lower().endswith(".pt")) and not self.trust:
            raise ValueError(_UNTOLD)
        return self


def needs_training(params: Params) -> bool:
    """Unless the user brings weights."""
    return not params.weights


def of_file(path: Path, trust: bool) -> Params:
    """The parameters that stand for a file of weights. Raises ConceptlibError for a pickle without `trust`."""
    if path.suffix.lower() == ".pt" and not trust:
        raise ConceptlibError(_UNTOLD, where=path, hint="export it to ONNX where it was made: an .onnx needs no trust")
    return Params(weights=str(path), trust=trust)


def load(spec: Any, *, weights: Path | None = None, device: str | None = None) -> YoloDetector:
    """The detector of a spec: from a folder of trained weights, else from `params.weights`.

    Raises:
        ConceptlibError: the extra is missing; the weights cannot be read or do not fit.
    """
    from conceptlib.detectors.adapters import _onnx, _ultralytics, _yolo_model
    from conceptlib.detectors.adapters._yolo_onnx import OnnxNetwork
    from conceptlib.detectors.adapters._yolo_torch import TorchNetwork
    from conceptlib.store.hashing import sha256_file

    params: Params = spec.params
    path = weights / _yolo_model.WEIGHTS if weights is not None else Path(os.path.expanduser(params.weights))
    made_by = {"weights": sha256_file(path)} if path.is_file() else {}
    if path.suffix.lower() == ".onnx":
        graph = OnnxNetwork(path, device)
        made_by["onnxruntime"] = str(_onnx.library("onnx").__version__)
        return YoloDetector(spec.name, params, graph, graph.description, made_by)
    model, description = _yolo_model.load(weights) if weights is not None else _yolo_model.load_pt(path)
    made_by["ultralytics"] = _ultralytics.version()
    network = TorchNetwork(model, len(description["labels"]), device)
    return YoloDetector(spec.name, params, network, description, made_by)


def export(spec: Any, folder: Path, path: Path) -> dict[str, Any]:
    """Write the trained weights in `folder` as ONNX; the calibrated threshold goes with them.

    Returns:
        `labels`, `imgsz`, `threshold`.

    Raises:
        ConceptlibError: an extra (`yolo`, `onnx`) is missing, or the weights are damaged.
    """
    from conceptlib.detectors.adapters import _yolo_model, _yolo_onnx

    model, description = _yolo_model.load(folder)
    if spec.params.confidence is not None:
        description["threshold"] = spec.params.confidence
    _yolo_onnx.write(model.eval(), description, path)
    return {key: description[key] for key in ("labels", "imgsz", "threshold")}


def training_lock(params: Params) -> dict[str, Any]:
    """The sha256 of the weights that it begins with, and the versions of the overlays that it learns to leave alone.

    Raises:
        ConceptlibError: there are no such weights.
    """
    from conceptlib.detectors.adapters import _yolo_start

    names = params.distractors if params.distractor_share > 0 else ()
    versions = {name: version for name in names if (version := OVERLAYS.version_lock(name))}
    begun = {"start": _yolo_start.digest(params.start)} if params.start else {}
    return begun | ({"distractors": versions} if versions else {})


def train(
    spec: Any, data: TrainingSet, folder: Path, *, device: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Train on `data`, from a checkpoint in `folder` if there is one, and write the weights there (once).

    Returns:
        What is worth knowing: rows, steps, imgsz, what it began with, number of weights, last losses.

    Raises:
        ConceptlibError: the extra is missing, there is nothing to learn from, or the training diverges.
    """
    from conceptlib.detectors.adapters import _ultralytics, _yolo_model, _yolo_train
    from conceptlib.models.devices import choose

    _ultralytics.prepare()
    if (folder / _yolo_model.DESCRIPTION).exists():
        return dict(_yolo_model.read_description(folder)["training"])
    params: Params = spec.params
    imgsz = params.imgsz or min(640, max(32, -(-data.long_side // 32) * 32))
    others = _yolo_train.distractor(data.labels, params.distractors, params.distractor_share)
    cached = _yolo_train.cache(data, imgsz, params.cache_megabytes, others, spec.seed)
    config = _yolo_model.architecture(params.architecture, len(data.labels))
    model, losses = _yolo_train.train(
        config,
        cached,
        params,
        seed=spec.seed,
        folder=folder,
        device=choose(device, "float32").device,
        progress=progress,
        stage=f"train {spec.name}",
    )
    about = {
        "rows": len(cached.images),
        "rows_available": data.count,
        "steps": params.steps,
        "imgsz": imgsz,
        "start": Path(params.start).name if params.start else "random",
        "weights": sum(p.numel() for p in model.parameters()),
        "losses": {key: round(value, 4) for key, value in losses.items()},
    }
    description = {
        "architecture": config,
        "labels": list(data.labels),
        "imgsz": imgsz,
        "strides": [int(stride) for stride in model.stride],
        "threshold": 0.25,
        "ultralytics": _ultralytics.version(),
        "training": about,
    }
    _yolo_model.save(folder, model, description)
    (folder / _yolo_train.CHECKPOINT).unlink(missing_ok=True)
    return about


def set_threshold(folder: Path, threshold: float) -> None:
    """Write the calibrated threshold, in [0, 1], into the description."""
    from conceptlib.detectors.adapters import _yolo_model

    _yolo_model.write_description(folder, _yolo_model.read_description(folder) | {"threshold": threshold})


class YoloDetector:
    """See `conceptlib.detectors.base.Detector`.

    Args:
        name: the spec's name.
        params: of the spec; only those about finding matter here.
        network: `TorchNetwork` or `OnnxNetwork`.
        description: what `model.json` or the ONNX file's metadata says.
        made_by: what else decides the result: the runtime's version, the sha256 of the file of weights.
    """

    artifact = ""

    def __init__(
        self,
        name: str,
        params: Params,
        network: Callable[[np.ndarray, float, float, int], list[np.ndarray]],
        description: dict[str, Any],
        made_by: dict[str, str],
    ) -> None:
        self.name = name
        self.params = params
        self.imgsz = int(description["imgsz"])
        self.threshold = float(description["threshold"] if params.confidence is None else params.confidence)
        classes = tuple(map(str, description["labels"]))
        if unknown := sorted(set(params.concepts) - set(classes)):
            raise ConceptlibError(
                f"the weights have no class {unknown[0]!r}",
                where="params.concepts",
                hint=f"they have: {', '.join(classes)}",
            )
        # One concept a class, or None for a class that is not reported.
        self._concepts = [params.concepts.get(name) if params.concepts else name for name in classes]
        self.labels = tuple(dict.fromkeys(concept for concept in self._concepts if concept))
        self._network = network
        self._made_by = made_by

    def lock(self) -> dict[str, Any]:
        """Adapter, parameters about finding, threshold, input size, the weights' sha256 and the library's version."""
        params = {key: value for key, value in self.params.model_dump(mode="json").items() if key in _INFERENCE}
        found_with = params | {"confidence": self.threshold, "imgsz": self.imgsz}
        return {"adapter": "yolo", "params": found_with} | self._made_by

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """See `Detector.detect`."""
        lowest = max(LOWEST_SCORE, self.threshold if min_score is None else min_score)
        found: list[Detections] = []
        for start in range(0, len(images), CHUNK):
            found.extend(self._chunk([as_image(image) for image in images[start : start + CHUNK]], lowest))
        return found

    def _chunk(self, images: list[np.ndarray], lowest: float) -> list[Detections]:
        from conceptlib.detectors.adapters._letterbox import letterbox

        squares, frames = letterbox(images, self.imgsz)
        kept = self._network(squares, lowest, self.params.nms_iou, self.params.max_detections)
        return [self._detections(rows, frame, lowest) for rows, frame in zip(kept, frames, strict=True)]

    def _detections(self, rows: np.ndarray, frame: Any, lowest: float) -> Detections:
        """Rows (N, 6) of x1, y1, x2, y2 in the square, score, class, to what is seen in the picture."""
        boxes = frame.restore(rows[:, :4])
        concepts = [self._concepts[int(index)] for index in rows[:, 5]]
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (rows[:, 4] >= lowest)
        keep = [index for index, concept in enumerate(concepts) if concept and real[index]]
        if not keep:
            return Detections.empty()
        return Detections(boxes[keep], np.clip(rows[keep, 4], 0, 1), tuple(str(concepts[index]) for index in keep))
