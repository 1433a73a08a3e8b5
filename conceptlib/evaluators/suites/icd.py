"""Implicit concepts: how often a model draws them unasked, and what else it does.

For each subject the suite draws the same held-out captions from the same seeds and reports

- `concept_rate` (ICR): share of pictures in which the detector finds one of the concepts (`concept_rate.<name>` for
  each, if several);
- `caption_accuracy`, `accuracy_object`, `accuracy_colour`, `accuracy_background`: see
  `conceptlib.evaluators.caption`; captions of the world;
- `kid`: distance to clean pictures, see `conceptlib.evaluators.kid`.

and, for the erased subjects, `concept_rate_change` and `caption_accuracy_change` against `base`: paired, since the
rows are the same.

Subjects: `base` (the model before erasure, no negative prompt), `base+negative` (the same with the concepts' phrases
as negative prompt), `checkpoint` (with the negative prompt that belongs to it), `checkpoint-no-negative`, and `clean`
(no model: renderings of the captions, which show what the detector and the classifier do on perfect pictures).
Pictures and annotations are artifacts, so those of a base are made once for all its checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.job import Job, Measured, Plan
from conceptlib.specs import Params as BaseParams

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from conceptlib.detectors.base import Detector
    from conceptlib.evaluators.captions import HeldOut
    from conceptlib.store import Artifact

Subject = Literal["base", "base+negative", "checkpoint", "checkpoint-no-negative", "clean"]
Metric = Literal["concept_rate", "caption_accuracy", "kid"]
HEADINGS: Mapping[str, str] = {
    "base": "before",
    "base+negative": "negative prompt only",
    "checkpoint": "after erasing {concepts}",
    "checkpoint-no-negative": "after erasing {concepts}, no negative prompt",
    "clean": "clean pictures",
}


class Params(BaseParams):
    """What the suite measures.

    n: pictures a subject. captions: `world`, `dataset`, or `auto` (see `conceptlib.evaluators.captions`). detector:
        which one, with its own calibrated threshold. guidance_scale, batch_size: null for the model's usual ones.
        features: network for KID: `tiny`, a Hub id or a folder; `auto` takes `tiny` for the world and leaves KID out
        elsewhere. examples: captions in the grid.
    """

    n: Annotated[int, Field(ge=4, le=100_000)] = 512
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)] = ("base", "checkpoint")
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("concept_rate", "caption_accuracy", "kid")
    captions: Literal["auto", "world", "dataset"] = "auto"
    detector: str = "yolo-icd"
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    features: str = "auto"
    kid_subsets: Annotated[int, Field(ge=1, le=100_000)] = 100
    kid_subset_size: Annotated[int, Field(ge=2, le=100_000)] = 256
    examples: Annotated[int, Field(ge=1, le=64)] = 8


@dataclass(frozen=True)
class Drawn:
    """One subject's pictures and what the detector found in them."""

    subject: str
    images: Artifact
    annotations: Artifact


def plan(job: Job) -> Plan:
    """Draw and annotate what is not there yet, and say what the scores rest on."""
    from conceptlib.detectors.annotate import annotate
    from conceptlib.detectors.base import detector_lock
    from conceptlib.detectors.load import load_detector
    from conceptlib.evaluators.captions import held_out, lineage

    if not job.concepts:
        raise ConceptlibError(
            "there is no concept to look for", where=str(job.spec.source), hint="name it: concepts=[qr-code]"
        )
    params: Params = job.spec.params  # type: ignore[assignment]
    parents = lineage(job.checkpoint, job.store)
    held = held_out(params.n, job.spec.seed, params.captions, parents.get("dataset"))
    detector = load_detector(job.detector or params.detector, store=job.store, device=job.device)
    _refuse_blind(detector, job.concepts)
    drawn = []
    for subject in _subjects(job, params):
        images = _draw(subject, job, params, held)
        progress = partial(_renamed, job, f"look for {' and '.join(job.concepts)}: {subject}")
        drawn.append(Drawn(subject, images, annotate(images, detector, store=job.store, progress=progress)))
    lock = {"detector": detector_lock(detector), "captions": held.source, **_networks(params, held)}
    roles = {"checkpoint": job.checkpoint.id} if job.checkpoint else {}
    roles |= {"detector": detector.artifact} if detector.artifact else {}
    for one in drawn:
        roles |= {f"images:{one.subject}": one.images.id, f"annotations:{one.subject}": one.annotations.id}
    return Plan(roles, lock, partial(_measure, job, params, held, drawn, parents, detector))


def _subjects(job: Job, params: Params) -> list[str]:
    """The subjects that exist: a base by itself has no checkpoint to measure."""
    return [name for name in dict.fromkeys(params.subjects) if job.erased or not name.startswith("checkpoint")] or [
        "base"
    ]


def _refuse_blind(detector: Detector, concepts: Sequence[str]) -> None:
    """A detector that knows none of the concepts would call every picture clean, before as after."""
    if not set(concepts) & set(detector.labels):
        raise ConceptlibError(
            f"{detector.name} does not know {' or '.join(concepts)}: it looks for {', '.join(detector.labels)}",
            hint="--detector NAME for one that does; --suite erasure needs none",
        )


def _phrases(job: Job) -> list[str]:
    """What the concepts are called: as the checkpoint says, for its targets need no concept spec."""
    from conceptlib.specs import load_concepts

    return list(job.targets) or [concept.phrase for concept in load_concepts(job.concepts)]


def _draw(subject: str, job: Job, params: Params, held: HeldOut) -> Artifact:
    """The subject's pictures as an `images` artifact."""
    from conceptlib.models.generate import generate

    if subject == "clean":
        return _render(job, held)
    source = job.source if subject.startswith("checkpoint") else job.base
    negative = {
        "checkpoint": "checkpoint",
        "base+negative": ", ".join(_phrases(job)),
    }.get(subject, "")
    return generate(
        source,
        held.rows,
        negative=negative,
        num_steps=params.num_steps,
        guidance_scale=params.guidance_scale,
        batch_size=params.batch_size,
        store=job.store,
        device=job.device,
        dtype=job.dtype,
        progress=partial(_renamed, job, f"draw {len(held.rows)} pictures: {subject}"),
    )


def _render(job: Job, held: HeldOut) -> Artifact:
    """Renderings of the held-out captions of the world: what a perfect model would draw."""
    from conceptlib.concepts.tables import ImageTable, image_row, shard_name
    from conceptlib.worlds.tiny import world

    if held.source != "world":
        raise ConceptlibError(
            "only captions of the world can be rendered", hint="leave `clean` out of subjects, or say captions=world"
        )
    lock = {"world": job.spec.seed, "rows": len(held.rows)}
    with job.store.draft("images", "clean", lock=lock) as draft:
        if draft.done:
            return draft.done
        scenes = world.rows(job.spec.seed, len(held.rows), split="held-out")
        pictures = (
            image_row(row["image_id"], scene.image(), caption=scene.caption, seed=row["seed"]) | scene.labels
            for row, scene in zip(held.rows, scenes, strict=True)
        )
        ImageTable.write(draft.path / "data" / shard_name("test", 0, 1), pictures)
        return draft.commit(info={"rows": len(held.rows)})


def _networks(params: Params, held: HeldOut) -> dict[str, Any]:
    """The networks that the scores rest on, pinned by hash."""
    from conceptlib.evaluators.features import WORLD, classifier_sha256, load_extractor

    found: dict[str, Any] = {}
    if "caption_accuracy" in params.metrics and held.source == "world":
        found["classifier_sha256"] = classifier_sha256()
    name = _features(params, held)
    if name == WORLD:
        found |= {"features": WORLD, "features_sha256": classifier_sha256()}
    elif name:
        found |= load_extractor(name).lock()
    return found


def _features(params: Params, held: HeldOut) -> str | None:
    """The name of KID's network; None if there is to be no KID."""
    from conceptlib.evaluators.features import WORLD

    if "kid" not in params.metrics:
        return None
    if params.features != "auto":
        return params.features
    return WORLD if held.source == "world" else None


def _measure(
    job: Job, params: Params, held: HeldOut, drawn: Sequence[Drawn], parents: Mapping[str, Artifact], detector: Detector
) -> Measured:

    from conceptlib.concepts.tables import AnnotationTable
    from conceptlib.evaluators.concept_rate import concept_rate, has_concept
    from conceptlib.evaluators.stats import paired_difference

    scores: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    hits: dict[str, np.ndarray] = {}
    correct: dict[str, np.ndarray] = {}
    about = {"detector": detector.name, "detector_artifact": detector.artifact, "threshold": detector.threshold}
    for one in drawn:
        found = list(AnnotationTable(one.annotations).by_image().values())
        hits[one.subject] = has_concept(found, job.concepts)
        if "concept_rate" in params.metrics:
            scores.append(concept_rate(hits[one.subject]).score(one.subject, "concept_rate", **about))
            for name in job.concepts if len(job.concepts) > 1 else ():
                share = concept_rate(has_concept(found, [name]))
                scores.append(share.score(one.subject, f"concept_rate.{name}", **about))
    if "caption_accuracy" in params.metrics:
        scores += _caption_scores(job, held, drawn, correct, skipped)
    if "kid" in params.metrics:
        scores += _kid_scores(job, params, held, drawn, parents, skipped)
    for name, values in (("concept_rate", hits), ("caption_accuracy", correct)):
        for subject in values if name in params.metrics and "base" in values else ():
            if subject not in ("base", "clean"):
                scores.append(paired_difference(values[subject], values["base"]).score(subject, f"{name}_change"))
    info = {"detector": detector.name, "captions": held.source, "n": len(held.rows), "skipped": skipped}
    return Measured(scores, _picture(job, params, drawn, hits, detector.name), info)


def _caption_scores(
    job: Job, held: HeldOut, drawn: Sequence[Drawn], correct: dict[str, np.ndarray], skipped: dict[str, str]
) -> list[dict[str, Any]]:
    """Caption accuracy of each subject; the verdicts go into `correct`."""
    from conceptlib.detectors.batches import batches
    from conceptlib.evaluators.caption import ATTRIBUTES, caption_accuracy, right, stated
    from conceptlib.evaluators.features import BATCH, world_pixels
    from conceptlib.worlds.tiny.classifier import predict

    if held.source != "world":
        skipped["caption_accuracy"] = "the captions are not the world's, and only those can be read back"
        return []
    asked = stated(held.rows)
    scores = []
    for one in drawn:
        seen: dict[str, list[str]] = {name: [] for name in ATTRIBUTES}
        done = 0
        for batch in batches(_pictures(one.images), BATCH):
            words = predict(world_pixels(batch))
            for name in ATTRIBUTES:
                seen[name] += words[name]
            done += len(batch)
            job.progress(f"read the pictures: {one.subject}", done, len(held.rows))
        verdicts = {name: verdict[asked] for name, verdict in right(held.rows, seen).items()}
        correct[one.subject] = verdicts["caption"]
        scores += [estimate.score(one.subject, name) for name, estimate in caption_accuracy(verdicts).items()]
    return scores


def _kid_scores(
    job: Job,
    params: Params,
    held: HeldOut,
    drawn: Sequence[Drawn],
    parents: Mapping[str, Artifact],
    skipped: dict[str, str],
) -> list[dict[str, Any]]:
    """KID of each subject against the same clean pictures."""
    from conceptlib.evaluators.captions import clean_pictures
    from conceptlib.evaluators.features import load_extractor
    from conceptlib.evaluators.kid import feature_scale, kid

    name = _features(params, held)
    if name is None:
        skipped["kid"] = "no network to compare real pictures by: name one, such as features=facebook/dinov2-small"
        return []
    extractor = load_extractor(name, job.device)
    clean = clean_pictures(params.n, job.spec.seed, held, parents.get("dataset"), parents.get("annotations"))
    reference = extractor.features(clean)
    scale = feature_scale(reference)
    scores = []
    for k, one in enumerate(drawn):
        job.progress("compare with clean pictures", k, len(drawn))
        estimate = kid(
            extractor.features(_pictures(one.images)) / scale,
            reference / scale,
            subsets=params.kid_subsets,
            subset_size=params.kid_subset_size,
            seed=job.spec.seed,
        )
        scores.append(
            estimate.score(one.subject, "kid", reference=len(reference), scale=round(scale, 6), **extractor.lock())
        )
    return scores


def _picture(
    job: Job, params: Params, drawn: Sequence[Drawn], hits: Mapping[str, np.ndarray], detector: str
) -> Image.Image:
    """The grid, one band a subject."""
    from conceptlib.reports.erasure import Series, erasure_grid

    phrases = _phrases(job)
    plural = " and ".join(f"{phrase}s" for phrase in phrases)
    series = [
        Series(HEADINGS[one.subject].format(concepts=plural), one.images, one.annotations, hits[one.subject])
        for one in drawn
    ]
    return erasure_grid(series, job.concepts, phrases, detector, examples=params.examples)


def _pictures(images: Artifact) -> Iterator[Image.Image]:
    from conceptlib.concepts.tables import ImageTable

    table = ImageTable(images)
    for row in table.rows(columns=["image_id", "image"]):
        yield table.decode(row)


def _renamed(job: Job, name: str, stage: str, done: int, total: int) -> None:
    """Progress of a step under the name that the suite gives it."""
    job.progress(name, done, total)
