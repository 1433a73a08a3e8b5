"""QR codes read by zxing-cpp: exact corners and the payload, for codes that can be read at all.

A code counts as found only if it decodes, so there are no false alarms to calibrate away: the score is always 1.
Codes drawn too softly to be read are not found; `yolo` finds those. zxing-cpp needs about two pixels a module, so
that 64-pixel pictures must be enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from conceptlib.detectors.base import as_image
from conceptlib.geometry import Detections, clip, iou, quad_to_xyxy
from conceptlib.specs.params import Params as BaseParams

VERSION = 2
SAME_CODE_IOU = 0.5
QR = ("QRCode", "QRCodeModel1", "QRCodeModel2")
"""zxing-cpp's formats that are QR codes. Its `QRCode` alone stands for the whole family when it is asked for, Micro QR
and rMQR included; as the format of a code that was read it is a QR code proper."""
MICRO = ("MicroQRCode", "RMQRCode")


class Params(BaseParams):
    """How zxing-cpp reads.

    label: the concept that a code is.
    upscale: the picture is tried as it is and enlarged 2, 3, ... times up to this factor (bicubic).
    max_side: it is not enlarged beyond so many pixels a side, since enlarging is what costs time.
    micro: also Micro QR and rMQR codes; off: QR codes (models 1 and 2) alone.
    inverted: also light codes on dark ground.
    unreadable: also codes whose position is found but whose content is damaged (the payload is then empty).
    """

    label: Annotated[str, Field(min_length=1)] = "qr-code"
    upscale: Annotated[int, Field(ge=1, le=8)] = 2
    max_side: Annotated[int, Field(ge=64, le=8192)] = 4096
    micro: bool = False
    inverted: bool = True
    unreadable: bool = False


def load(spec: Any, *, weights: Path | None = None, device: str | None = None) -> ZxingDetector:
    """The detector of a spec. It has no weights and runs on the CPU."""
    return ZxingDetector(spec.name, spec.params)


class ZxingDetector:
    """See `conceptlib.detectors.base.Detector`."""

    threshold = 1.0
    artifact = ""
    on_cpu = True

    def __init__(self, name: str, params: Params) -> None:
        self.name = name
        self.params = params
        self.labels = (params.label,)

    def lock(self) -> dict[str, Any]:
        """Adapter, parameters and the library's version."""
        from importlib.metadata import version

        return {"adapter": "zxing", "params": self.params.model_dump(mode="json"), "zxing-cpp": version("zxing-cpp")}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """Read the codes of every picture; `min_score` changes nothing, since every score is 1."""
        return [self._read(as_image(image)) for image in images]

    def _read(self, image: np.ndarray) -> Detections:
        height, width = image.shape[:2]
        quads: list[np.ndarray] = []
        payloads: list[str] = []
        for factor in range(1, self.params.upscale + 1):
            if factor > 1 and max(height, width) * factor > self.params.max_side:
                break
            for quad, payload in self._codes(image, factor):
                box = quad_to_xyxy(quad[None])
                known = iou(quad_to_xyxy(np.stack(quads)), box)[:, 0] if quads else np.zeros(0)
                if known.size and known.max() > SAME_CODE_IOU:
                    # Seen at a smaller size already. Corners are whole pixels there: the larger, the more exact.
                    index = int(known.argmax())
                    if payload or not payloads[index]:
                        quads[index], payloads[index] = quad, payload
                    continue
                quads.append(quad)
                payloads.append(payload)
        boxes = clip(quad_to_xyxy(np.stack(quads)), width, height) if quads else np.zeros((0, 4), np.float32)
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if not inside.any():
            return Detections.empty()
        found = Detections(
            boxes, np.ones(len(boxes), np.float32), self.labels * len(boxes), np.stack(quads), tuple(payloads)
        )
        return found.filter(inside)

    def _codes(self, image: np.ndarray, factor: int) -> list[tuple[np.ndarray, str]]:
        """One a code: corners (4, 2) in pixels of `image` (the code's top left, then clockwise) and payload."""
        import zxingcpp
        from PIL import Image

        if factor > 1:
            picture = Image.fromarray(image)
            picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
            image = np.asarray(picture)
        names = QR + MICRO if self.params.micro else QR
        wanted = [getattr(zxingcpp.BarcodeFormat, name) for name in names]
        asked = wanted if self.params.micro else wanted[1:]
        # zxing-cpp takes three channels to be BGR; it only looks at brightness, whose weights differ between the two.
        found = zxingcpp.read_barcodes(
            np.ascontiguousarray(image[..., ::-1]),
            formats=zxingcpp.BarcodeFormats(asked),
            try_invert=self.params.inverted,
            return_errors=self.params.unreadable,
        )
        codes = []
        for code in found:
            if code.format not in wanted:
                continue
            at = code.position
            corners = [(p.x, p.y) for p in (at.top_left, at.top_right, at.bottom_right, at.bottom_left)]
            codes.append((np.array(corners, np.float32) / factor, code.text if code.valid else ""))
        return codes
