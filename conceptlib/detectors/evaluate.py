"""Scoring detectors against known geometry: average precision, recall by size and opacity, false alarms.

evaluation = evaluate_detector("zxing", "icd-qr-photos", clean="photos")
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conceptlib import scores as rows_of
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import pictures_of
from conceptlib.detectors.base import (
    LOWEST_SCORE,
    OBJECT,
    WORD,
    Detector,
    detector_lock,
    level_of,
    locates,
    reads,
)
from conceptlib.detectors.batches import decoded
from conceptlib.detectors.coco import Quality, measure
from conceptlib.detectors.drawn import Opacities
from conceptlib.detectors.failures import FAILURES, alarms_in, failures_in
from conceptlib.detectors.levels import truth_at, words_read
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.progress import Progress
from conceptlib.specs.registry import version_lock
from conceptlib.stats import wilson
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write

VERSION = 1
"""Of what is measured here, see `conceptlib.specs.registry`."""
_COLUMNS = ("image_id", "image", "width", "height")


@dataclass(frozen=True)
class Outcome:
    """What scoring gave: the quality, pictures a second, and every picture with something missed or wrongly found
    (rows of `failures.json`, see `conceptlib.detectors.failures`).
    """

    quality: Quality
    images_per_second: float
    failures: list[dict[str, Any]]


def evaluate_detector(
    detector: str | Path | Artifact | Detector,
    dataset: str | Path | Artifact,
    *,
    store: Store | None = None,
    split: str = "test",
    truth: str | Path | Artifact | None = None,
    clean: str | Path | Artifact | None = None,
    batch_size: int = 32,
    device: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Artifact:
    """Score a detector on one split of a dataset, or find it scored.

    Args:
        detector: as for `load_detector`. dataset: of kind `dataset` or `images`.
        truth: an annotation set of that dataset; None: its exact geometry, `truth`.
        clean: pictures that hold nothing to find, all of whose splits are searched for false alarms.
        trust: as for `load_detector`.
        progress: hears ("evaluate NAME", pictures done, pictures in all).

    Returns:
        An artifact of kind `evaluation` called `<detector>/<dataset>`, with `scores.json`: a list of `{"subject",
        "metric", "value", "low", "high", "n", "level"}`, the interval Wilson's at 95 % where the value is a share of
        things counted. Metrics: see `scores_of`. `failures.json` has a row for every picture with a miss or a false
        alarm. `info`: the scores by metric, `images_per_second` (decoding and detecting, on this machine), `threshold`,
        `level`: what a box stands for (`conceptlib.detectors.levels`).

    Raises:
        NotFound: no such detector, dataset or truth. ConceptlibError: no such split, or the truth does not cover it
            or knows none of the detector's concepts.
    """
    store = store or Store()
    pictures = pictures_of(dataset, store)
    spotless = pictures_of(clean, store) if clean is not None else None
    finder = load_detector(detector, store=store, device=device, trust=trust)
    known = truth_for(pictures, truth, store)
    lock = {"detector": detector_lock(finder), "split": split} | version_lock(VERSION) | _level_lock(finder)
    parents: dict[str, str | Artifact] = {"dataset": pictures, "annotations": known}
    if finder.artifact:
        parents["detector"] = finder.artifact
    if spotless is not None:
        parents["clean"] = spotless
    name = f"{finder.name}/{pictures.name}"
    with store.draft("evaluation", name, lock=lock, parents=parents) as draft:
        if draft.done:
            return draft.done
        outcome = score(finder, pictures, known, split, clean=spotless, batch_size=batch_size, progress=progress)
        scores = scores_of(outcome.quality, finder.name)
        rows_of.write(draft.path, scores)
        atomic_write(draft.path / FAILURES, json.dumps(outcome.failures, indent=1) + "\n")
        info = {row["metric"]: row["value"] for row in scores}
        about = {"detector": finder.name, "dataset": pictures.name, "split": split, "threshold": finder.threshold}
        about |= {"level": outcome.quality.level}
        images = outcome.quality.clean + outcome.quality.polluted
        return draft.commit(
            info=info | about | {"images_per_second": round(outcome.images_per_second, 1), "images": images}
        )


def _level_lock(detector: Detector) -> dict[str, Any]:
    """What is measured beyond whole objects; nothing for other detectors, whose keys stay as they were."""
    level: dict[str, Any] = {"level": level_of(detector)} if level_of(detector) != OBJECT else {}
    return level | ({"words": True} if reads(detector) else {})


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
    clean: Artifact | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Outcome:
    """Compare a detector with an annotation set on one split, and count its false alarms on clean pictures."""
    table = ImageTable(pictures)
    total = table.count(split)
    level, known = truth_at(AnnotationTable(truth), split, level_of(detector), detector.labels)
    if not any(label in detector.labels for item in known.values() for label in item.objects.labels):
        raise ConceptlibError(
            f"split {split!r} of {truth.ref} has no {' or '.join(detector.labels)} to find",
            where=truth.path,
            hint="score it on a dataset that contains what it finds",
        )
    opacity = Opacities(pictures)
    expected: list[Detections] = []
    found: list[Detections] = []
    opacities: list[list[float | None]] = []
    failures: list[dict[str, Any]] = []
    words = [(0, 0)]
    seconds = 0.0
    if progress is not None:
        progress(f"evaluate {detector.name}", 0, total)
    started = time.perf_counter()  # until a batch's answers are there: waiting for its pictures, and detecting
    for batch, images in decoded(table, table.rows(split, _COLUMNS), batch_size):
        answers = list(detector.detect(images, min_score=LOWEST_SCORE))
        seconds += time.perf_counter() - started
        if missing := [row["image_id"] for row in batch if row["image_id"] not in known]:
            raise ConceptlibError(
                f"the annotation set {truth.ref} has no row for image {missing[0]!r}", where=truth.path
            )
        for row, answer in zip(batch, answers, strict=True):
            item = known[row["image_id"]]
            told = opacity(row, item.objects)
            expected.append(item.boxes)
            opacities.append([told[owner] for owner in item.owners])
            failures += failures_in(row["image_id"], item.boxes, answer, detector)
            if reads(detector):
                sure = answer.filter(answer.scores >= detector.threshold)
                words.append(words_read(item.objects, sure, detector.labels))
        found.extend(answers)
        if progress is not None:
            progress(f"evaluate {detector.name}", len(found), total)
        started = time.perf_counter()
    quality = measure(expected, found, detector.labels, detector.threshold, opacities)
    read, there = (sum(counts) for counts in zip(*words, strict=True))
    quality = replace(quality, level=level, words=there, words_read=read)
    if not locates(detector):
        quality = replace(quality, located=False)
    if clean is not None:
        alarms, count = alarms_in(detector, ImageTable(clean), batch_size, progress)
        failures += alarms
        quality = replace(quality, other_clean=count, other_alarms=len(alarms))
    return Outcome(quality, len(found) / max(seconds, 1e-9), failures)


def scores_of(quality: Quality, subject: str) -> list[dict[str, Any]]:
    """Rows for `scores.json`.

    `mAP50`, `mAP50-95`: average precision by pycocotools, in [0, 1]; with several concepts also `AP50/<concept>`. At
    the detector's threshold and IoU 0.5: `recall`, `precision` of boxes, `recall/<bucket>` by the box's size and
    `recall-opacity/<bucket>` by the overlay's opacity where it is known (see `conceptlib.detectors.coco`). Of whole
    pictures: `image-recall`, the share of pictures with the concept in which something is found, and
    `false-positive-rate`, the share of pictures without it in which something is found; `clean-false-positive-rate`
    is that of the clean pictures given beside the dataset. A detector that does not say where things are has only
    those of whole pictures. Of one that reads also `word-recall`: the share of the truth's words that it read. `level`
    says what was counted: `object`, `line`, `word` or `picture`.
    """
    rows: list[dict[str, Any]] = []
    precision = {"mAP50": quality.map50, "mAP50-95": quality.map50_95}
    precision |= {f"AP50/{label}": value for label, value in quality.ap50.items()} if len(quality.ap50) > 1 else {}
    if quality.located:
        extra = {"low": None, "high": None, "n": quality.boxes, "interval": None, "level": quality.level}
        rows += [{"subject": subject, "metric": metric, "value": value} | extra for metric, value in precision.items()]
    shares: dict[str, tuple[int, int]] = {}
    if quality.located:
        shares |= {"recall": (quality.hits, quality.boxes), "precision": (quality.hits, quality.reported)}
        shares |= {f"recall/{name}": counts for name, counts in quality.by_size.items()}
        shares |= {f"recall-opacity/{name}": counts for name, counts in quality.by_opacity.items()}
    shares |= {"image-recall": (quality.seen, quality.polluted), "false-positive-rate": (quality.alarms, quality.clean)}
    shares["clean-false-positive-rate"] = (quality.other_alarms, quality.other_clean)
    shares["word-recall"] = (quality.words_read, quality.words)
    whole = {"image-recall", "false-positive-rate", "clean-false-positive-rate"}
    levels = dict.fromkeys(whole, "picture") | {"word-recall": WORD}
    for metric, (k, n) in shares.items():
        if n:
            rows.append(wilson(k, n).score(subject, metric, level=levels.get(metric, quality.level)))
    return rows


def table_row(evaluation: Artifact) -> dict[str, Any]:
    """A detector's evaluation as one row of a table; `scores` holds all of `scores.json`."""
    info = evaluation.info

    def buckets(prefix: str) -> str:
        found = {key.removeprefix(prefix): value for key, value in info.items() if key.startswith(prefix)}
        return ", ".join(f"{name} {value:.2f}" for name, value in found.items())

    return {
        "detector": info["detector"],
        "dataset": info["dataset"],
        "split": info["split"],
        "threshold": info["threshold"],
        "level": info.get("level", OBJECT),
        "mAP50": info.get("mAP50"),
        "mAP50-95": info.get("mAP50-95"),
        "AP50 by concept": buckets("AP50/"),
        "recall": info.get("recall"),
        "precision": info.get("precision"),
        "words read": info.get("word-recall"),
        "recall by size": buckets("recall/"),
        "recall by opacity": buckets("recall-opacity/"),
        "image recall": info.get("image-recall"),
        "false alarms": info.get("false-positive-rate"),
        "on clean": info.get("clean-false-positive-rate"),
        "images": info["images"],
        "images/s": info["images_per_second"],
        "evaluation": evaluation.ref,
        "scores": rows_of.read(evaluation.path),
    }
