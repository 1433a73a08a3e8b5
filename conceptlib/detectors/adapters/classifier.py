"""Image classifiers of timm and transformers: whether something is in the picture, not where.

What is found has no place (`Detections.of_image`): it counts in concept rates and false alarms, has no box to score,
and Geom-Erasing appends the concept's name alone. Weights are safetensors, pinned by sha256; of a Hub repository also
by its revision. No code of a repository runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from conceptlib.detectors.base import LOWEST_SCORE, as_image
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.specs.params import Fraction, PositiveInt
from conceptlib.specs.params import Params as BaseParams

CHUNK = 16
"""Pictures that go through the network at once."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Params(BaseParams):
    """A classifier.

    library: whose format it is. model: a Hub id (`timm/resnet18.a1_in1k`), a folder with `config.json` and
        `model.safetensors`, or for timm a file of weights.
    revision: the Hub commit, 40 hex digits. sha256: of the weights. Both are required for a Hub id.
    concepts: which concept each class is, by the class's name; the probabilities of a concept's classes add up.
    activation: softmax (one class a picture) or sigmoid (any number of classes; of a concept's the largest counts).
    confidence: probability from which a concept counts as found.

    For a file of weights alone:
        architecture: its name in timm. classes: their names, in order. hidden: widths of the layers before the last
        one of its head (Linear, ReLU, and dropout after the first, as LAION's watermark detector has them).
        imgsz: side of the square that pictures are squeezed into.
    """

    library: Literal["timm", "transformers"]
    model: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    concepts: Annotated[dict[str, str], Field(min_length=1)]
    activation: Literal["softmax", "sigmoid"] = "softmax"
    confidence: Fraction = 0.5
    architecture: str = ""
    classes: tuple[str, ...] = ()
    hidden: tuple[PositiveInt, ...] = ()
    imgsz: Annotated[int, Field(ge=16, le=2048)] | None = None

    @property
    def on_hub(self) -> bool:
        """Whether `model` is a Hub id: of its form, and neither a folder nor a file here."""
        return bool(_HUB_ID.fullmatch(self.model)) and not (
            self.model.endswith(".safetensors") or Path(self.model).expanduser().exists()
        )

    @model_validator(mode="after")
    def _pinned(self) -> Params:
        if self.on_hub and not (self.revision and self.sha256):
            raise ValueError("a model of the Hub must be pinned: give its revision (a commit) and its weights' sha256")
        alone = self.model.endswith(".safetensors")
        if alone and not (self.library == "timm" and self.architecture and len(self.classes) > 1 and self.imgsz):
            raise ValueError(
                "a file of weights alone needs library: timm, the architecture, the classes' names and imgsz"
            )
        return self


def load(spec: Any, *, weights: Path | None = None, device: str | None = None) -> ClassifierDetector:
    """The detector of a spec.

    Raises:
        ConceptlibError: the library or the weights are missing, the hash is another, the weights do not fit, or the
            classifier has no class that `concepts` names.
    """
    from conceptlib.detectors.adapters import _classifier_model
    from conceptlib.store.hashing import sha256_file

    params: Params = spec.params
    folder = _folder(params)
    path = folder if folder.is_file() else folder / "model.safetensors"
    if not path.is_file():
        raise ConceptlibError(
            "there are no weights in safetensors here",
            where=path,
            hint="docs/detectors.md says where they come from and how a .pt is turned into one",
        )
    digest = sha256_file(path)
    if params.sha256 not in (None, digest):
        raise ConceptlibError(
            f"the weights are others: sha256 {digest[:12]}…, not {str(params.sha256)[:12]}…",
            where=path,
            hint="fetch them again, or, if the new ones are meant, write their sha256 into the spec",
        )
    network = _classifier_model.load(params, path, device)
    return ClassifierDetector(spec.name, params, network, digest)


class ClassifierDetector:
    """See `conceptlib.detectors.base.Detector`.

    Args:
        name: the spec's name. network: `_classifier_model.Network`. digest: sha256 of the weights.
    """

    artifact = ""
    locates = False

    def __init__(self, name: str, params: Params, network: Any, digest: str) -> None:
        if unknown := sorted(set(params.concepts) - set(network.classes)):
            shown = ", ".join(network.classes[:12]) + (", ..." if len(network.classes) > 12 else "")
            raise ConceptlibError(
                f"the classifier has no class {unknown[0]!r}", where="params.concepts", hint=f"it has: {shown}"
            )
        self.name = name
        self.params = params
        self.labels = tuple(dict.fromkeys(params.concepts.values()))
        self.threshold = params.confidence
        self._network = network
        self._digest = digest
        self._columns = [
            [network.classes.index(name) for name, concept in params.concepts.items() if concept == label]
            for label in self.labels
        ]

    def lock(self) -> dict[str, Any]:
        """Adapter, parameters, the weights' sha256 and the library's version."""
        params = self.params.model_dump(mode="json", exclude={"model"} if not self.params.on_hub else None)
        library = self.params.library
        return {"adapter": "classifier", "params": params, "weights": self._digest, library: version(library)}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """See `Detector.detect`: at most one detection a concept, without a place."""
        lowest = max(LOWEST_SCORE, self.threshold if min_score is None else min_score)
        found = []
        for start in range(0, len(images), CHUNK):
            chunk = [as_image(image) for image in images[start : start + CHUNK]]
            found += [self._found(row, lowest) for row in self._network(chunk)]
        return found

    def _found(self, probabilities: np.ndarray, lowest: float) -> Detections:
        combine = np.sum if self.params.activation == "softmax" else np.max
        scores = np.clip([combine(probabilities[columns]) for columns in self._columns], 0, 1)
        found = Detections.of_image(self.labels, scores)
        return found.filter(found.scores >= lowest).sorted()


def _folder(params: Params) -> Path:
    """Where the model lies on this machine; fetched from the Hub if it is there. Raises ConceptlibError."""
    if not params.on_hub:
        return Path(os.path.expanduser(params.model))
    from conceptlib import hubfiles

    wanted = ["config.json", "preprocessor_config.json", "model.safetensors"]
    try:
        return hubfiles.snapshot(params.model, wanted, params.revision).folder
    except hubfiles.HubError as error:
        raise error.about("the classifier cannot be fetched", "what was fetched once works offline") from None
