"""A detector judges: any of `conceptlib detectors ls`, image classifiers among them.

What it finds is kept as an artifact of kind `annotations`, so that the images of a base are searched once for all its
checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams

if TYPE_CHECKING:
    import numpy as np

    from conceptlib.detectors.base import Detector
    from conceptlib.evaluators.job import Job
    from conceptlib.geometry import Detections
    from conceptlib.progress import Progress
    from conceptlib.store import Artifact

GIVES = ("detections",)


class Params(BaseParams):
    """detector: which one, with its own calibrated threshold."""

    detector: str = "yolo-icd"


def reads(params: Params, prompts: Prompts) -> bool:
    """A detector looks at any images."""
    return True


def load(params: Params, job: Job, prompts: Prompts) -> DetectorJudge:
    """The judge.

    Raises:
        ConceptlibError: there is no such detector, no concept to look for, or the detector knows none of them: it would
            call every image clean, before as after.
    """
    from conceptlib.detectors.load import load_detector

    if not job.concepts:
        raise ConceptlibError(
            "there is no concept to look for", where=str(job.spec.source), hint="name it: concepts=[qr-code]"
        )
    found = load_detector(job.detector or params.detector, store=job.store, device=job.device)
    if not set(job.concepts) & set(found.labels):
        raise ConceptlibError(
            f"{found.name} does not know {' or '.join(job.concepts)}: it looks for {', '.join(found.labels)}",
            hint="--detector NAME for one that does; --suite erasure needs none",
        )
    return DetectorJudge(found, job)


class DetectorJudge:
    """Annotates whole artifacts of images."""

    def __init__(self, detector: Detector, job: Job) -> None:
        self.detector, self.job = detector, job

    @property
    def artifact(self) -> str:
        """The id of the detector artifact, "" for one that was not trained here."""
        return self.detector.artifact

    def lock(self) -> dict[str, Any]:
        from conceptlib.detectors.base import detector_lock

        return {"detector": detector_lock(self.detector)}

    def about(self) -> dict[str, Any]:
        """What a score says of it."""
        found = self.detector
        return {"detector": found.name, "detector_artifact": found.artifact, "threshold": found.threshold}

    def annotate(self, images: Artifact, progress: Progress) -> Artifact:
        """What the detector finds in the images, as an artifact."""
        from conceptlib.detectors.annotate import annotate

        guarded: Any = _Guarded(self.detector)
        return annotate(images, guarded, store=self.job.store, progress=progress)


class _Guarded:
    """The detector, except that a failure says which image it failed on. It is never counted as "nothing there"."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        from conceptlib.evaluators.judging import one_by_one

        def ask(batch: Sequence[np.ndarray]) -> list[Detections]:
            found = list(self._detector.detect(batch, min_score=min_score))
            if len(found) != len(batch):
                raise ConceptlibError(f"it answered {len(found)} times for {len(batch)} images")
            return found

        return one_by_one(ask, images, self._detector.name)
