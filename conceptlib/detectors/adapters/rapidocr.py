"""Text in pictures by RapidOCR: PP-OCR's networks, carried by its package, run by onnxruntime. Needs the extra `ocr`.

Nothing is downloaded: the networks are those of the installed package (or of a folder that you give), and their hashes
are part of the lock. Every box is a line of text with its four corners and, unless `read` is off, what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from conceptlib.detectors.base import LINE, OBJECT, as_image
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections, clip, quad_to_xyxy
from conceptlib.specs.params import Fraction, PositiveFloat, PositiveInt
from conceptlib.specs.params import Params as BaseParams

NETWORKS = {"Det": "*_det_*.onnx", "Rec": "*_rec_*.onnx", "Cls": "*_cls_*.onnx"}
"""RapidOCR's sections and the files of its models folder that they mean: finding, reading, turning."""


class Params(BaseParams):
    """How RapidOCR looks for text.

    label: the concept that a line of text is.
    confidence: score from which a line counts as found.
    read: also read the lines. A line's score is then the reader's confidence, else the finder's; what cannot be read
        as anything is left out.
    upright: do not look whether a line stands on its head.
    box_threshold: mean of the finder's map inside a box, from which it is a box. unclip: how far a box is grown
        around the line's core, as a share of its area over its perimeter.
    join: lines one above the other, with a gap of less than so many line heights, are one thing; 0: every line by
        itself.
    min_side: a picture is enlarged for the finder until its shorter side has so many pixels.
    models: a folder with the `.onnx` files of RapidOCR; empty: those in its package.
    """

    label: Annotated[str, Field(min_length=1)] = "text"
    confidence: Fraction = 0.5
    read: bool = True
    upright: bool = True
    box_threshold: Fraction = 0.5
    unclip: PositiveFloat = 1.6
    join: Annotated[float, Field(ge=0)] = 0.0
    min_side: PositiveInt = 736
    models: str = ""


def load(spec: Any, *, weights: Path | None = None, device: str | None = None) -> RapidOcrDetector:
    """The detector of a spec. Raises ConceptlibError if RapidOCR or a network is missing."""
    return RapidOcrDetector(spec.name, spec.params, device)


class RapidOcrDetector:
    """See `conceptlib.detectors.base.Detector`."""

    artifact = ""

    def __init__(self, name: str, params: Params, device: str | None = None) -> None:
        from conceptlib.store.hashing import sha256_file

        _import()
        from rapidocr import RapidOCR

        self.name = name
        self.params = params
        self.labels = (params.label,)
        self.threshold = params.confidence
        self.level = OBJECT if params.join else LINE
        self.reads = params.read
        sections = ["Det", *(["Rec"] if params.read else []), *([] if params.upright else ["Cls"])]
        paths = {section: _network(params.models, section) for section in sections}
        self._weights = {section.lower(): sha256_file(path) for section, path in paths.items()}
        settings: dict[str, Any] = {
            "Global.log_level": "error",
            "Global.text_score": 0.0,  # what we report is decided here, by `confidence`
            "Global.use_rec": params.read,
            "Global.use_cls": not params.upright,
            "Det.box_thresh": params.box_threshold,
            "Det.unclip_ratio": params.unclip,
            "Det.limit_side_len": params.min_side,
        }
        self._reader: Any = RapidOCR(params=settings)
        # Its own loader would look on the network for a file that is missing or changed; a path is taken as it is.
        for section, path in paths.items():
            self._reader.cfg[section].model_path = str(path)
        self._load(paths, device)

    def _load(self, paths: dict[str, Path], device: str | None) -> None:
        """Build its parts now, each on a session of ours, which keeps to the threads and the device that were given."""
        from conceptlib.detectors.adapters import _onnx

        makers = {"Det": "_load_det_model", "Rec": "_load_rec_model", "Cls": "_load_cls_model"}
        for section, path in paths.items():
            part = getattr(self._reader, makers[section])()
            part.session.session = _onnx.session(path, device, extra="ocr")

    def lock(self) -> dict[str, Any]:
        """Adapter, parameters, the networks' sha256 and RapidOCR's version."""
        params = self.params.model_dump(mode="json", exclude={"models"})
        return {"adapter": "rapidocr", "params": params, "weights": self._weights, "rapidocr": version("rapidocr")}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """See `Detector.detect`. Lines below RapidOCR's own `box_threshold` have no score to ask for."""
        lowest = self.threshold if min_score is None else min_score
        return [self._read(as_image(image), lowest) for image in images]

    def _read(self, image: np.ndarray, lowest: float) -> Detections:
        height, width = image.shape[:2]
        result = self._reader(np.ascontiguousarray(image[..., ::-1]))  # it takes BGR, as OpenCV reads files
        if result.boxes is None or not len(result.boxes):
            return Detections.empty()
        quads = np.asarray(result.boxes, np.float32).reshape(-1, 4, 2)
        scores = np.clip(np.asarray(result.scores, np.float32), 0, 1)
        boxes = clip(quad_to_xyxy(quads), width, height)
        found = Detections(
            boxes,
            scores,
            self.labels * len(boxes),
            quads,
            tuple(result.txts) if self.params.read else None,
        )
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (scores >= lowest)
        found = found.filter(real)
        return (joined(found, self.params.join) if self.params.join else found).sorted()


def joined(lines: Detections, gap: float) -> Detections:
    """Blocks of lines: two belong together where they overlap horizontally, with a vertical gap of less than `gap`
    times the lower of the two heights.

    A block is an upright box; its score is its lines' mean, its payload their texts, from the top down.
    """
    order = np.argsort(lines.boxes[:, 1], kind="stable")
    blocks: list[list[int]] = []
    for index in order:
        x1, y1, x2, y2 = lines.boxes[index]
        for block in blocks:
            last = lines.boxes[block[-1]]
            height = min(y2 - y1, last[3] - last[1])
            if min(x2, last[2]) > max(x1, last[0]) and y1 - last[3] < gap * height:
                block.append(int(index))
                break
        else:
            blocks.append([int(index)])
    if not blocks:
        return lines
    boxes = np.stack([np.r_[lines.boxes[one][:, :2].min(0), lines.boxes[one][:, 2:].max(0)] for one in blocks])
    scores = np.array([lines.scores[one].mean() for one in blocks])
    said = lines.payloads
    texts = None if said is None else tuple("\n".join(said[index] for index in one) for one in blocks)
    return Detections(boxes, scores, tuple(lines.labels[one[0]] for one in blocks), payloads=texts)


def _network(folder: str, section: str) -> Path:
    """The file of a section in a folder of models. Raises ConceptlibError unless there is exactly one."""
    import rapidocr

    where = Path(folder).expanduser() if folder else Path(rapidocr.__file__).parent / "models"
    found = sorted(where.glob(NETWORKS[section]))
    if len(found) != 1:
        raise ConceptlibError(
            f"{len(found)} files are called {NETWORKS[section]}, and there must be one",
            where=where,
            hint="pip install --force-reinstall 'conceptlib[ocr]', or give a folder with RapidOCR's .onnx files",
        )
    return found[0]


def _import() -> None:
    try:
        import onnxruntime  # noqa: F401
        import rapidocr  # noqa: F401
    except ImportError as error:
        raise ConceptlibError(
            f"the rapidocr detector cannot be imported: {error}", hint="pip install 'conceptlib[ocr]'"
        ) from error
