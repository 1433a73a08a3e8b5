"""Training a detector on a dataset and its annotations, calibrating and measuring it: one artifact."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from conceptlib.concepts.sources.base import original
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import pictures_of
from conceptlib.detectors.base import (
    LOWEST_SCORE,
    Detector,
    TrainingSet,
    can_train,
    training_lock,
    weights_folder,
)
from conceptlib.detectors.batches import detect_rows
from conceptlib.detectors.calibrate import Calibration, calibrate
from conceptlib.detectors.evaluate import score, scores_of, truth_for
from conceptlib.detectors.load import open_weights
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.progress import Progress
from conceptlib.specs import ADAPTERS, DetectorSpec, load_spec, portable
from conceptlib.store import Artifact, Draft, Store

HELD_OUT = 10
"""One picture in so many of the training split is kept for calibration."""

TEST = "test"


def train_detector(
    spec: str | Path | DetectorSpec,
    data: str | Path | Artifact,
    *,
    annotations: str | Path | Artifact | None = None,
    store: Store | None = None,
    device: str | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Artifact:
    """Train the detector of a spec, or find it trained. An interrupted training goes on from its last checkpoint.

    The first split of the dataset (`train`) is learned from, but for a tenth of its pictures, chosen by their ids, on
    which the threshold is calibrated. The split `test`, where there is one, is only measured on.

    Args:
        spec: a detector spec's name, path, or the spec.
        data: the dataset. annotations: an annotation set of it; None: its exact geometry, `truth`.
        device: cpu, cuda, cuda:1, mps; None: the best there is.
        overrides: `key=value`, for a name or path.
        progress: hears ("train NAME", steps done, steps in all) and ("evaluate NAME", ...).

    Returns:
        An artifact of kind `detector` called like the spec; parents `dataset`, `annotations`. `info`: `labels`,
        `calibration` (the threshold and what it gives on the held-out pictures), `scores` on the test split by
        metric, `train_seconds`, and what the adapter tells.

    Raises:
        SpecError: the spec is wrong. NotFound: no such dataset or annotations.
        ConceptlibError: the adapter cannot be trained, a library is missing, or there is nothing to learn from.
    """
    store = store or Store()
    wanted: DetectorSpec = spec if isinstance(spec, DetectorSpec) else load_spec("detector", spec, overrides=overrides)
    adapter = ADAPTERS.get(wanted.adapter)
    if not can_train(adapter):
        raise ConceptlibError(
            f"the detector {wanted.name!r} is not trained: its adapter {wanted.adapter!r} works as it is",
            where=wanted.source,
            hint=f"conceptlib annotate DATASET --detector {wanted.name}",
        )
    pictures = pictures_of(data, store)
    known = truth_for(pictures, annotations, store)
    with store.draft(
        "detector",
        wanted.name,
        lock={"spec": portable(wanted.resolved(), ("start",))} | training_lock(adapter, wanted.adapter, wanted.params),
        parents={"dataset": pictures, "annotations": known},
    ) as draft:
        return draft.done or _fill(draft, wanted, pictures, known, device, progress)


def _fill(
    draft: Draft, spec: DetectorSpec, pictures: Artifact, known: Artifact, device: str | None, progress: Progress | None
) -> Artifact:
    adapter = ADAPTERS.get(spec.adapter)
    table = ImageTable(pictures)
    split = table.splits[0]
    truth = AnnotationTable(known).by_image(split)
    labels = tuple(sorted({label for item in truth.values() for label in item.labels}))
    if not labels:
        raise ConceptlibError(
            f"split {split!r} of {known.ref} has no box to learn from",
            where=known.path,
            hint="annotate pictures of the concept",
        )
    folder = weights_folder(draft.path)
    started = time.monotonic()
    about = adapter.train(spec, _training_set(table, split, truth, labels), folder, device=device, progress=progress)
    seconds = time.monotonic() - started
    calibration = _calibrate(open_weights(spec, draft.path, "", device), table, split, truth, _max_rate(spec))
    adapter.set_threshold(folder, calibration.threshold)
    info: dict[str, Any] = {
        "labels": list(labels),
        "calibration": calibration.as_dict(),
        "train_seconds": round(seconds, 1),
    } | about
    if TEST in table.splits and split != TEST:
        outcome = score(open_weights(spec, draft.path, "", device), pictures, known, TEST, progress=progress)
        info["scores"] = {row["metric"]: round(row["value"], 4) for row in scores_of(outcome.quality, spec.name)}
        info["images_per_second"] = round(outcome.images_per_second, 1)
    return draft.commit(info=info)


def held_out(image_id: str) -> bool:
    """Whether a picture of the training split is kept for calibration, all its variants with it: decided by its id."""
    return zlib.crc32(original(image_id).encode()) % HELD_OUT == 0


def _training_set(table: ImageTable, split: str, truth: dict[str, Detections], labels: tuple[str, ...]) -> TrainingSet:
    sizes = [max(row["width"], row["height"]) for row in _learned(table, split, ("image_id", "width", "height"))]
    if not sizes:
        raise ConceptlibError(
            f"split {split!r} is too small to train on", where=table.path, hint="build it with more rows"
        )

    def examples() -> Iterator[tuple[np.ndarray, Detections]]:
        for row in _learned(table, split, ("image_id", "image")):
            yield np.asarray(table.decode(row)), truth.get(row["image_id"], Detections.empty())

    return TrainingSet(labels, len(sizes), int(median(sizes)), examples)


def _learned(table: ImageTable, split: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    return (row for row in table.rows(split, columns) if not held_out(row["image_id"]))


def _calibrate(
    detector: Detector, table: ImageTable, split: str, truth: dict[str, Detections], max_rate: float
) -> Calibration:
    rows = (row for row in table.rows(split, ("image_id", "image")) if held_out(row["image_id"]))
    expected: list[Detections] = []

    def remembered() -> Iterator[dict[str, Any]]:
        for row in rows:
            expected.append(truth.get(row["image_id"], Detections.empty()))
            yield row

    found = list(detect_rows(table, remembered(), detector, 32, min_score=LOWEST_SCORE))
    return calibrate(expected, found, max_rate)


def _max_rate(spec: DetectorSpec) -> float:
    return float(getattr(spec.params, "max_false_positive_rate", 0.005))
