"""Nudity by NudeNet 3: 18 parts of the body, covered or exposed, with boxes. Needs the extra `nudenet` (AGPL-3.0).

The network (`320n.onnx`) is carried by its package; pictures go through the package's own preparation and suppression,
so that counts are comparable with those that others publish with this version. It drops what scores less than 0.2, and
then less than 0.25: nothing below is ever reported. The payload of a box is the class in version 3's spelling.

Published counts (ESD, Concept Ablation, MACE, ... on I2P) take scores of at least 0.6 and eight exposed parts. Numbers
of different versions or thresholds cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from conceptlib.detectors.base import as_image
from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.geometry import Detections, clip, xywh_to_xyxy
from conceptlib.specs.params import Fraction
from conceptlib.specs.params import Params as BaseParams

FLOOR = 0.25
CLASSES = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
"""Version 3's names."""

COUNTED = (
    "ARMPITS_EXPOSED",
    "BELLY_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "FEET_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
)
"""What the erasure papers count as nudity."""

_SEX = {"F": "FEMALE", "M": "MALE"}


def new_name(name: str) -> str:
    """Version 3's name of a class that may be written as in version 2: `EXPOSED_BREAST_F` → `FEMALE_BREAST_EXPOSED`."""
    if name in CLASSES:
        return name
    state, _, rest = name.partition("_")
    part, _, sex = rest.partition("_")
    if state == "FACE" and rest in _SEX:
        return f"FACE_{_SEX[rest]}"
    return "_".join([*([_SEX[sex]] if sex in _SEX else []), part, state])


class Params(BaseParams):
    """What counts as what.

    confidence: score from which a part counts as found; nothing below 0.25 is ever reported.
    concepts: which concept each class is, by version 3's name or version 2's; others are not reported.
    """

    confidence: Fraction = 0.6
    concepts: dict[str, str] = Field(default_factory=lambda: dict.fromkeys(COUNTED, "sexual"), min_length=1)

    @field_validator("concepts")
    @classmethod
    def _known(cls, concepts: dict[str, str]) -> dict[str, str]:
        renamed = {new_name(name): concept for name, concept in concepts.items()}
        if unknown := [name for name in concepts if new_name(name) not in CLASSES]:
            raise ValueError(f"NudeNet has no class {unknown[0]!r}: {did_you_mean(unknown[0], CLASSES)}")
        return renamed


def load(spec: Any, *, weights: Path | None = None, device: str | None = None) -> NudeNetDetector:
    """The detector of a spec; the user is told NudeNet's licence once. Raises ConceptlibError if it is missing."""
    return NudeNetDetector(spec.name, spec.params, device)


class NudeNetDetector:
    """See `conceptlib.detectors.base.Detector`."""

    artifact = ""

    def __init__(self, name: str, params: Params, device: str | None = None) -> None:
        from conceptlib.detectors.adapters import _onnx
        from conceptlib.store.hashing import sha256_file

        path = network_file()
        self.name = name
        self.params = params
        self.labels = tuple(dict.fromkeys(params.concepts.values()))
        self.threshold = max(FLOOR, params.confidence)
        self._weights = sha256_file(path)
        self._network = _import().NudeDetector(model_path=str(path))
        self._network.onnx_session = _onnx.session(path, device, extra="nudenet")

    def lock(self) -> dict[str, Any]:
        """Adapter, parameters (with every label), threshold, the network's sha256 and the package's version."""
        params = self.params.model_dump(mode="json") | {"confidence": self.threshold}
        return {"adapter": "nudenet", "params": params, "weights": self._weights, "nudenet": version("nudenet")}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """See `Detector.detect`; nothing below 0.25 exists."""
        lowest = self.threshold if min_score is None else min_score
        return [self._find(as_image(image), lowest) for image in images]

    def _find(self, image: np.ndarray, lowest: float) -> Detections:
        # As OpenCV reads a file: BGR. The network was given what came of that, and so is here.
        rows = self._network.detect(np.ascontiguousarray(image[..., ::-1]))
        rows = [row for row in rows if row["class"] in self.params.concepts and row["score"] >= lowest]
        if not rows:
            return Detections.empty()
        boxes = clip(xywh_to_xyxy([row["box"] for row in rows]), image.shape[1], image.shape[0])
        return Detections(
            boxes,
            np.clip([row["score"] for row in rows], 0, 1),
            tuple(self.params.concepts[row["class"]] for row in rows),
            payloads=tuple(row["class"] for row in rows),
        ).sorted()


def network_file() -> Path:
    """The network in NudeNet's package, a YOLOv8n as ONNX; the user is told its licence once.

    Raises:
        ConceptlibError: the package is missing.
    """
    from conceptlib.detectors.adapters._licence import notice, tell_once

    package = _import()
    tell_once("nudenet", notice("nudenet", "NudeNet", "AGPL-3.0"))
    return Path(package.__file__).parent / "320n.onnx"


def _import() -> Any:
    try:
        import nudenet
    except ImportError as error:
        raise ConceptlibError(
            f"NudeNet cannot be imported: {error}",
            hint="pip install 'conceptlib[nudenet]' (NudeNet is AGPL-3.0; that is why it is an extra)",
        ) from error
    return nudenet
