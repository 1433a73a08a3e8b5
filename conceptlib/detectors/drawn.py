"""How the overlays of a built dataset were drawn, beyond the geometry that its truth holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.specs import BUILDERS, DatasetSpec
from conceptlib.store import Artifact

_SAME = 0.05  # pixels: what stored and redrawn corners may differ by


class Opacities:
    """Tells the opacity of every box of a dataset's truth, by drawing its overlays once more (on nothing).

    A dataset that was not built here, or whose builder cannot do that, has none; neither has a box that comes out
    elsewhere, since another version of the overlay drew it.
    """

    def __init__(self, pictures: Artifact) -> None:
        self._spec, self._drawn = _builder(pictures)

    def __call__(self, row: Mapping[str, Any], truth: Detections) -> list[float | None]:
        """The opacity of each box of the truth of one picture, in [0, 1]; None where it is not known.

        Args:
            row: the picture's `image_id`, `width` and `height`.
        """
        nothing: list[float | None] = [None] * len(truth)
        if self._drawn is None or not len(truth) or truth.quads is None:
            return nothing
        try:
            marks = self._drawn(self._spec, row["image_id"], (row["width"], row["height"]))
        except ConceptlibError:
            return nothing
        told = nothing
        for index, (quad, label) in enumerate(zip(truth.quads, truth.labels, strict=True)):
            for mark in marks:
                if mark.concept == label and np.abs(mark.quad - quad).max() < _SAME and "opacity" in mark.drawn:
                    told[index] = float(np.clip(mark.drawn["opacity"], 0, 1))
        return told


def _builder(pictures: Artifact) -> tuple[DatasetSpec | None, Any]:
    """The spec that a dataset was built from, and its builder's `drawn`; (None, None) where either is missing."""
    try:
        data = dict(pictures.lock["spec"])
        params = BUILDERS.params(data["builder"]).model_validate(data.pop("params"))
        spec = DatasetSpec.model_validate(data).model_copy(update={"params": params})
        return spec, BUILDERS.get(spec.builder).drawn
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError, ConceptlibError):
        return None, None
