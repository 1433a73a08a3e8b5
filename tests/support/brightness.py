"""A detector for tests: it calls the brighter part of all pictures a QR code, or what it is told to, so that any model
draws some.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptlib.geometry import Detections


class BrightnessDetector:
    """Finds one box in every picture whose mean is above `level` (0 to 255), and nothing in others."""

    name = "brightness"
    threshold = 0.5
    artifact = ""

    def __init__(self, level: float, label: str = "qr-code") -> None:
        self.level, self.labels = level, (label,)

    def lock(self) -> dict[str, Any]:
        return {"adapter": "brightness", "level": self.level, "labels": list(self.labels)}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        box = Detections(np.array([[2, 2, 20, 20]], np.float32), np.array([0.9], np.float32), self.labels)
        return [box if image.mean() > self.level else Detections.empty() for image in images]
