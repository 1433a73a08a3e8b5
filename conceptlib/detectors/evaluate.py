"""Scoring a detector against known geometry: average precision, recall by size, false alarms on clean pictures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import batches, detect_rows, pictures_of
from conceptlib.detectors.base import LOWEST_SCORE, Detector, Progress
from conceptlib.detectors.coco import Quality, measure
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.stats import wilson
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write

SCORES = "scores.json"
_COLUMNS = ("image_id", "image", "width", "height")


def evaluate_detector(
    detector: str | Path | Artifact | Detector,
    dataset: str | Path | Artifact,
    *,
    store: Store | None = None,
    split: str = "test",
    truth: str | Path | Artifact | None = None,
    batch_size: int = 32,
    device: str | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Score a detector on one split of a dataset, or find it scored.

    Args:
        detector: as for `load_detector`. dataset: of kind `dataset` or `images`.
        truth: an annotation set of that dataset; None: its exact geometry, `truth`.
        progress: hears ("evaluate NAME", pictures done, pictures in all).

    Returns:
        An artifact of kind `evaluation` called `<detector>/<dataset>`, with `scores.json`: a list of `{"subject",
        "metric", "value", "low", "high", "n"}`, the interval Wilson's at 95 % where the value is a share of things
        counted. Metrics: see `scores_of`.
        `info`: the scores by metric, `images_per_second` (decoding and detecting, on this machine), `threshold`.

    Raises:
        NotFound: no such detector, dataset or truth. ConceptlibError: no such split, or the truth does not cover it
            or knows none of the detector's concepts.
    """
    store = store or Store()
    pictures = pictures_of(dataset, store)
    finder = load_detector(detector, store=store, device=device)
    known = truth_for(pictures, truth, store)
    lock = {"detector": finder.lock(), "split": split}
    parents = {"dataset": pictures.id, "annotations": known.id} | (
        {"detector": finder.artifact} if finder.artifact else {}
    )
    name = f"{finder.name}/{pictures.name}"
    with store.draft("evaluation", name, lock=lock, parents=parents) as draft:
        if draft.done:
            return draft.done
        quality, speed = score(finder, pictures, known, split, batch_size=batch_size, progress=progress)
        scores = scores_of(quality, finder.name)
        atomic_write(draft.path / SCORES, json.dumps(scores, indent=2) + "\n")
        info = {row["metric"]: row["value"] for row in scores}
        about = {"detector": finder.name, "dataset": pictures.name, "split": split, "threshold": finder.threshold}
        return draft.commit(
            info=info | about | {"images_per_second": round(speed, 1), "images": quality.clean + quality.polluted}
        )


def truth_for(pictures: Artifact, truth: str | Path | Artifact | None, store: Store) -> Artifact:
    """The annotation set to compare with. Raises NotFound; ConceptlibError if it belongs to other pictures."""
    if truth is None:
        made = store.list("annotations", "truth", parent=pictures.id)
        if made:
            return made[-1]
        from conceptlib.concepts.build import truth_of

        return truth_of(pictures, store)
    if not isinstance(truth, Artifact):
        own = [
            one for one in store.list("annotations", parent=pictures.id) if str(truth) in (one.name, one.id, one.ref)
        ]
        truth = own[-1] if own else store.get(truth, kind="annotations")
    if truth.parents.get("dataset") != pictures.id:
        raise ConceptlibError(
            f"the annotation set {truth.ref} belongs to other pictures than {pictures.ref}",
            where=truth.path,
            hint=f"conceptlib annotate {pictures.name} --detector {truth.name}",
        )
    return truth


def score(
    detector: Detector,
    pictures: Artifact,
    truth: Artifact,
    split: str,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> tuple[Quality, float]:
    """Compare a detector with an annotation set on one split: the quality, and pictures a second."""
    table = ImageTable(pictures)
    total = table.count(split)
    known = AnnotationTable(truth).by_image(split)
    if not any(label in detector.labels for item in known.values() for label in item.labels):
        raise ConceptlibError(
            f"split {split!r} of {truth.ref} has no {' or '.join(detector.labels)} to find",
            where=truth.path,
            hint="score it on a dataset that contains what it finds",
        )
    expected: list[Detections] = []
    found: list[Detections] = []
    seconds = 0.0
    for batch in batches(table.rows(split, _COLUMNS), batch_size):
        if progress is not None:
            progress(f"evaluate {detector.name}", len(found), total)
        if missing := [row["image_id"] for row in batch if row["image_id"] not in known]:
            raise ConceptlibError(
                f"the annotation set {truth.ref} has no row for image {missing[0]!r}", where=truth.path
            )
        expected.extend(known[row["image_id"]] for row in batch)
        started = time.perf_counter()
        found.extend(detect_rows(table, batch, detector, batch_size, min_score=LOWEST_SCORE))
        seconds += time.perf_counter() - started
    if progress is not None:
        progress(f"evaluate {detector.name}", total, total)
    return measure(expected, found, detector.labels, detector.threshold), len(found) / max(seconds, 1e-9)


def scores_of(quality: Quality, subject: str) -> list[dict[str, Any]]:
    """Rows for `scores.json`.

    `mAP50`, `mAP50-95`: average precision by pycocotools, in [0, 1]. At the detector's threshold and IoU 0.5:
    `recall`, `precision` of boxes and `recall/<bucket>` by the box's size (see `conceptlib.detectors.coco`). Of whole
    pictures: `image-recall`, the share of pictures with the concept in which something is found, and
    `false-positive-rate`, the share of pictures without it in which something is found.
    """
    rows: list[dict[str, Any]] = []
    for metric, value in (("mAP50", quality.map50), ("mAP50-95", quality.map50_95)):
        rows.append(
            {
                "subject": subject,
                "metric": metric,
                "value": value,
                "low": None,
                "high": None,
                "n": quality.boxes,
                "interval": None,
            }
        )
    shares = {"recall": (quality.hits, quality.boxes), "precision": (quality.hits, quality.reported)}
    shares |= {f"recall/{name}": counts for name, counts in quality.by_size.items()}
    shares |= {"image-recall": (quality.seen, quality.polluted), "false-positive-rate": (quality.alarms, quality.clean)}
    rows.extend(wilson(k, n).score(subject, metric) for metric, (k, n) in shares.items() if n)
    return rows


def table_row(evaluation: Artifact) -> dict[str, Any]:
    """A detector's evaluation as one row of a table; `scores` holds all of `scores.json`."""
    info = evaluation.info
    sizes = {key.partition("/")[2]: value for key, value in info.items() if key.startswith("recall/")}
    return {
        "detector": info["detector"],
        "dataset": info["dataset"],
        "split": info["split"],
        "threshold": info["threshold"],
        "mAP50": info["mAP50"],
        "mAP50-95": info["mAP50-95"],
        "recall": info.get("recall"),
        "precision": info.get("precision"),
        "recall by size": ", ".join(f"{name} {value:.2f}" for name, value in sizes.items()),
        "false alarms": info.get("false-positive-rate"),
        "images": info["images"],
        "images/s": info["images_per_second"],
        "evaluation": evaluation.ref,
        "scores": json.loads((evaluation.path / SCORES).read_text()),
    }
