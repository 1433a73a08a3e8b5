"""Several detectors as one: what any of them finds, or what enough of them agree on.

Detections of one label that overlap by at least `iou` are the same thing; where they lie is told by the surest. Scores
of different detectors cannot be compared, so each is rescaled first: its own threshold becomes 1/2. A thing's score is
the `votes`-th best score among the detectors that saw it. So with the ensemble's threshold of 1/2 a thing is found
exactly when `votes` detectors find it: 1 is the union.

A detector that only says what is in the picture (`classifier`) supports every place that the others name for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from conceptlib.detectors.base import LOWEST_SCORE, OBJECT, Detector, detector_lock, level_of, locates, reads, uses_gpu
from conceptlib.geometry import Detections, iou
from conceptlib.specs.params import Params as BaseParams
from conceptlib.specs.params import PositiveInt

THRESHOLD = 0.5


class Params(BaseParams):
    """Which detectors, and how they are put together.

    detectors: names or files of specs, artifacts, or files of weights, two or more.
    votes: how many detectors must find a thing; 1: the union.
    iou: overlap from which two boxes of a label are the same thing.
    """

    detectors: Annotated[tuple[str, ...], Field(min_length=2)]
    votes: PositiveInt = 1
    iou: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _enough(self) -> Params:
        if self.votes > len(self.detectors):
            raise ValueError(f"{len(self.detectors)} detectors cannot give {self.votes} votes")
        return self


def members(params: Params) -> tuple[str, ...]:
    """The detectors that it is made of."""
    return params.detectors


def load(
    spec: Any, *, members: Sequence[Detector], weights: Path | None = None, device: str | None = None
) -> EnsembleDetector:
    """The detector of a spec, of loaded members."""
    return EnsembleDetector(spec.name, spec.params, members)


class EnsembleDetector:
    """See `conceptlib.detectors.base.Detector`."""

    threshold = THRESHOLD
    artifact = ""

    def __init__(self, name: str, params: Params, members: Sequence[Detector]) -> None:
        self.name = name
        self.params = params
        self.members = tuple(members)
        self.labels = tuple(dict.fromkeys(label for member in self.members for label in member.labels))
        self.locates = any(locates(member) for member in self.members)
        levels = {level_of(member) for member in self.members}
        self.level = levels.pop() if len(levels) == 1 else OBJECT
        self.reads = any(reads(member) for member in self.members)
        self.on_cpu = not any(uses_gpu(member, None) for member in self.members)

    def lock(self) -> dict[str, Any]:
        """Adapter, how the members are put together, and each member's lock."""
        params = self.params.model_dump(mode="json", exclude={"detectors"})
        return {"adapter": "ensemble", "params": params, "members": [detector_lock(member) for member in self.members]}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """See `Detector.detect`."""
        lowest = max(LOWEST_SCORE, THRESHOLD if min_score is None else min_score)
        seen = [
            [(member, one) for one in member.detect(images, min_score=_raw(lowest, member.threshold))]
            for member in self.members
        ]
        return [self._together(list(answers), lowest) for answers in zip(*seen, strict=True)]

    def _together(self, answers: list[tuple[Detector, Detections]], lowest: float) -> Detections:
        answers = [(member, one) for member, one in answers if len(one)]
        if not answers:
            return Detections.empty()
        whole = concatenate([one for _, one in answers])
        voter = np.concatenate([np.full(len(one), index) for index, (_, one) in enumerate(answers)])
        scores = np.concatenate([_rescaled(one.scores, member.threshold) for member, one in answers])
        leaders, votes = self._groups(whole, voter, scores)
        final = np.array([np.sort(vote)[::-1][: self.params.votes][-1] for vote in votes], np.float32)
        enough = np.array([len(vote) >= self.params.votes for vote in votes])
        keep = np.flatnonzero(enough & (final >= lowest))
        if not len(keep):
            return Detections.empty()
        chosen = [leaders[index] for index in keep]
        return Detections(
            whole.boxes[chosen],
            np.clip(final[keep], 0, 1),
            tuple(whole.labels[index] for index in chosen),
            None if whole.quads is None else whole.quads[chosen],
            None if whole.payloads is None else tuple(whole.payloads[index] for index in chosen),
            None if whole.visible is None else whole.visible[chosen],
        ).sorted()

    def _groups(self, whole: Detections, voter: np.ndarray, scores: np.ndarray) -> tuple[list[int], list[list[float]]]:
        """Things that were seen: the index of the detection that tells where each is, and one score a detector."""
        labels, located = np.array(whole.labels), whole.located
        free = np.ones(len(whole), bool)
        leaders: list[int] = []
        votes: list[list[float]] = []
        # Those with a place come first; what has none only makes a thing of its own where no place is known.
        for index in sorted(range(len(whole)), key=lambda i: (not located[i], -scores[i], i)):
            if not free[index]:
                continue
            same = free & (labels == labels[index])
            near = same & located
            if located[index]:
                near[near] = iou(whole.boxes[index : index + 1], whole.boxes[near])[0] >= self.params.iou
                near[index] = True  # even if it has no area
                free[near] = False
                group = near | ((labels == labels[index]) & ~located)
            else:
                group = same & ~located
                free[group] = False
                if any(labels[leader] == labels[index] for leader in leaders):
                    continue  # it supported the places already
            best: dict[int, float] = {}
            for one in np.flatnonzero(group):
                best[int(voter[one])] = max(best.get(int(voter[one]), 0.0), float(scores[one]))
            leaders.append(index)
            votes.append(list(best.values()))
        return leaders, votes


def concatenate(items: Sequence[Detections]) -> Detections:
    """All detections of one picture in one object. Where only some have corners, payloads or visible shares, the
    others get their box's corners, an empty text, and 1."""
    quads = [
        one.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) if one.quads is None else one.quads for one in items
    ]
    payloads = [one.payloads or ("",) * len(one) for one in items]
    visible = [np.ones(len(one), np.float32) if one.visible is None else one.visible for one in items]
    return Detections(
        np.concatenate([one.boxes for one in items]),
        np.concatenate([one.scores for one in items]),
        tuple(label for one in items for label in one.labels),
        np.concatenate(quads) if any(one.quads is not None for one in items) else None,
        tuple(text for texts in payloads for text in texts) if any(one.payloads is not None for one in items) else None,
        np.concatenate(visible) if any(one.visible is not None for one in items) else None,
    )


def _rescaled(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Scores with `threshold` moved to 1/2, 0 and 1 left where they are, and straight lines between."""
    scores = scores.astype(np.float64)
    above = THRESHOLD + THRESHOLD * (scores - threshold) / (1 - threshold) if threshold < 1 else np.ones_like(scores)
    below = THRESHOLD * scores / threshold if threshold > 0 else np.zeros_like(scores)
    return np.asarray(np.where(scores >= threshold, above, below))


def _raw(score: float, threshold: float) -> float:
    """The inverse of `_rescaled`: what a member must be asked for, so that everything from `score` on is there."""
    if score >= THRESHOLD:
        return threshold + (score - THRESHOLD) / THRESHOLD * (1 - threshold)
    return score / THRESHOLD * threshold
