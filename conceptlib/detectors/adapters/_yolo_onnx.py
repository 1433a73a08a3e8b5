"""YOLO networks as ONNX: run by onnxruntime with our own decoding and suppression, and written from our weights.

Running needs neither torch nor ultralytics, and an ONNX file is a graph, not a pickle: nothing in it can run code. A
network has one input, float32 (N, 3, side, side), RGB in [0, 1], and gives

* (N, 4 + classes, anchors): centre x, centre y, width, height in pixels of the square, and a score for each class; or
* (N, boxes, 6), boxes of a network that suppresses by itself: x1, y1, x2, y2, score, class.

Class names and the side are metadata of the file, under the keys that ultralytics' exporter uses (`names`, `imgsz`);
`threshold` is ours.
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.detectors.adapters import _onnx
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import iou
from conceptlib.store.files import atomic_path

MOST_CANDIDATES = 30_000
OPSET = 17


class OnnxNetwork:
    """A YOLO network in an ONNX file.

    description: `labels`, `imgsz`, `threshold`, as `_yolo_model.read_description` gives them for our weights.

    Raises:
        ConceptlibError: see `_onnx.session`; or the file says no class names, or is no network of this kind.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
        self._path = path
        self._session = _onnx.session(path, device)
        given = self._session.get_inputs()[0]
        told = self._session.get_modelmeta().custom_metadata_map
        fixed = [length for length in given.shape[2:] if isinstance(length, int)]
        labels = _names(told.get("names", ""), path)
        sides = _numbers(told.get("imgsz", "")) or fixed or [640]
        if len(given.shape) != 4 or len(set(sides)) != 1 or (fixed and fixed != [sides[0]] * 2):
            raise ConceptlibError(
                f"the network wants pictures of the shape {given.shape}, not squares",
                where=path,
                hint="export it again with one number for imgsz",
            )
        self._input, self._batch = given.name, given.shape[0] if isinstance(given.shape[0], int) else 0
        self._type = np.float16 if "float16" in given.type else np.float32
        self.description: dict[str, Any] = {
            "labels": labels,
            "imgsz": int(sides[0]),
            "threshold": float(told.get("threshold", 0.25)),
        }

    def __call__(self, squares: np.ndarray, lowest: float, nms_iou: float, most: int) -> list[np.ndarray]:
        """What is in uint8 (N, side, side, 3) RGB squares: for each, (n, 6) rows of x1, y1, x2, y2, score, class.

        Best score first, at most `most` rows with a score above `lowest`, none of which overlaps a better one of its
        class by more than `nms_iou`.
        """
        values = (np.ascontiguousarray(squares.transpose(0, 3, 1, 2)).astype(np.float32) / 255).astype(self._type)
        step = self._batch or len(values)
        found: list[np.ndarray] = []
        for start in range(0, len(values), step):
            part = values[start : start + step]
            padded = np.concatenate([part, np.zeros((step - len(part), *part.shape[1:]), part.dtype)])
            raw = np.asarray(self._session.run(None, {self._input: padded})[0], np.float32)
            found += [self._rows(one, lowest, nms_iou, most) for one in raw[: len(part)]]
        return found

    def _rows(self, raw: np.ndarray, lowest: float, nms_iou: float, most: int) -> np.ndarray:
        classes = len(self.description["labels"])
        if raw.ndim == 2 and raw.shape[0] == 4 + classes:
            return suppress(decode(raw, lowest), nms_iou, most)
        if raw.ndim == 2 and raw.shape[1] == 6:
            sure = raw[raw[:, 4] > lowest]
            return sure[np.argsort(-sure[:, 4], kind="stable")][:most]
        raise ConceptlibError(
            f"the network gives numbers of the shape {raw.shape}, which are no boxes of {classes} classes",
            where=self._path,
            hint="it must be a detection network exported by conceptlib or ultralytics",
        )


def decode(raw: np.ndarray, lowest: float) -> np.ndarray:
    """(4 + classes, anchors) of centres, sizes and class scores to rows (n, 6): x1, y1, x2, y2, score, class.

    Each anchor has its best class; only scores above `lowest` are kept.
    """
    best = raw[4:].max(axis=0)
    keep = np.flatnonzero(best > lowest)
    keep = keep[np.argsort(-best[keep], kind="stable")][:MOST_CANDIDATES]
    centre, half = raw[:2, keep].T, raw[2:4, keep].T / 2
    classes = raw[4:, keep].argmax(axis=0)
    return np.concatenate([centre - half, centre + half, best[keep, None], classes[:, None]], axis=1).astype(np.float32)


def suppress(rows: np.ndarray, nms_iou: float, most: int) -> np.ndarray:
    """Drop every row (x1, y1, x2, y2, score, class) that overlaps a better one of its class by more than `nms_iou`.

    Args:
        rows: (n, 6), best score first. most: rows that are kept at most.
    """
    kept: list[int] = []
    free = np.arange(len(rows))
    while len(free) and len(kept) < most:
        best, free = free[0], free[1:]
        kept.append(int(best))
        same = rows[free, 5] == rows[best, 5]
        over = np.zeros(len(free))
        if same.any():
            over[same] = iou(_ordered(rows[best : best + 1, :4]), _ordered(rows[free[same], :4]))[0]
        free = free[over <= nms_iou]
    return rows[kept]


def _ordered(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def _names(text: str, path: Path) -> list[str]:
    """Class names from the text of a Python dict or list, as ultralytics writes it."""
    try:
        value = ast.literal_eval(text)
        names = [value[index] for index in range(len(value))]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError("no names")
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise ConceptlibError(
            "the ONNX file does not say what its classes are called (metadata `names`)",
            where=path,
            hint="export it with conceptlib or ultralytics, which write them",
        ) from None
    return names


def _numbers(text: str) -> list[int]:
    try:
        value = ast.literal_eval(text)
        return [int(number) for number in (value if isinstance(value, (list, tuple)) else [value])]
    except (ValueError, SyntaxError, TypeError):
        return []


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write a network as ONNX (opset 17, any number of pictures at once), atomically.

    Args:
        model: `DetectionModel` on the CPU, in evaluation mode. description: what `model.json` says.

    Raises:
        ConceptlibError: onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConceptlibError(
            "exporting needs onnx, which is not installed", hint="pip install 'conceptlib[onnx]'"
        ) from error
    import torch

    side = int(description["imgsz"])
    # Folded by ultralytics instead of the exporter, layers keep their names: a training can begin with the file.
    model = copy.deepcopy(model).eval().fuse(verbose=False)
    head = model.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", True
    with atomic_path(path) as temporary:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer: that constants are constants
            torch.onnx.export(
                model,
                (torch.zeros(1, 3, side, side),),
                str(temporary),
                input_names=["images"],
                output_names=["output0"],
                dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,  # the newer exporter needs onnxscript, and gains nothing here
            )
        graph = onnx.load(str(temporary))
        for key, value in _metadata(description).items():
            entry = graph.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.save(graph, str(temporary))


def _metadata(description: Mapping[str, Any]) -> dict[str, str]:
    side = int(description["imgsz"])
    return {
        "task": "detect",
        "names": str(dict(enumerate(map(str, description["labels"])))),
        "imgsz": str([side, side]),
        "stride": str(max(description.get("strides", [32]))),
        "threshold": repr(float(description["threshold"])),
        "producer": "conceptlib",
    }
