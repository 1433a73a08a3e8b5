"""The one runner of suites: draws what is not there yet, asks the judges, computes the metrics.

A suite (`conceptlib.specs.SuiteSpec`) says which prompts, subjects, sampler, judges and metrics. Images and what a
detector finds in them are artifacts, so those of a base are made once for all its checkpoints, and a run that was
stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import NEEDS, Inputs, Prompts, Reading, Score, Skip
from conceptlib.evaluators.job import Job
from conceptlib.evaluators.judging import judged
from conceptlib.evaluators.known import meaning
from conceptlib.specs.registry import JUDGES, METRICS, PROMPTS
from conceptlib.stats import Estimate, mean, paired_difference

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.geometry import Detections
    from conceptlib.specs.suites import Part
    from conceptlib.store import Artifact

VERSION = 1
"""Raised whenever the same suite of the same images comes to give other scores."""
_JUDGED = ("detections", "labels", "recognised", "similarity")


@dataclass(frozen=True)
class Chosen:
    """A judge that is asked: its label in the suite, the loaded judge, and which needs it fills."""

    label: str
    judge: Any
    gives: tuple[str, ...]


@dataclass
class Subject:
    """One model's images, and what was said of them."""

    name: str
    images: Artifact
    annotations: dict[str, Artifact] = field(default_factory=dict)

    @cached_property
    def detections(self) -> tuple[Detections, ...]:
        """What the first detector found, one an image."""
        from conceptlib.concepts.tables import AnnotationTable

        first = next(iter(self.annotations.values()))
        return tuple(AnnotationTable(first).by_image().values())


@dataclass(frozen=True)
class Measured:
    """What came out: rows of `scores.json`, the grid, and what else should be known."""

    scores: list[dict[str, Any]]
    picture: Image.Image | None
    info: dict[str, Any]


class Run:
    """One evaluation. Made, its images are drawn and searched; `measure` computes the scores.

    Args:
        job: what was asked for.

    Raises:
        ConceptlibError: what is asked for cannot be drawn or judged.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.spec = job, job.spec
        source: Part = job.spec.prompts
        self.prompts: Prompts = PROMPTS.get(source.module).prompts(source.params, job)
        if not self.prompts.rows:
            raise ConceptlibError("there are no prompts to draw", where=str(job.spec.source))
        self.judges = self._judges()
        self.subjects = [self._drawn(name) for name in self._names()]
        for subject in self.subjects:
            for chosen in self.judges:
                if "detections" in chosen.gives:
                    what = f"look for {' and '.join(job.concepts)}: {subject.name}"
                    tell = partial(_renamed, job, what)
                    subject.annotations[chosen.label] = chosen.judge.annotate(subject.images, tell)

    # What decides the scores.

    @property
    def lock(self) -> dict[str, Any]:
        """What decides the scores beside the suite and the images, as JSON: networks and weights by their hashes."""
        found = dict(self.prompts.lock)
        for chosen in self.judges:
            found |= _under(chosen.label, self.spec.judges[chosen.label], chosen.judge.lock())
        for label, part in self.spec.measured().items():
            module = METRICS.get(part.module)
            own = module.lock(part.params, self.prompts) if hasattr(module, "lock") else {}
            found |= _under(label, part, own)
        by = self.prompts.source
        if by != self.spec.prompts.module and by in PROMPTS and (version := PROMPTS.version_lock(by)):
            found["prompts_by"] = version
        return found

    @property
    def parents(self) -> dict[str, str | Artifact]:
        """Role to artifact: the checkpoint, detectors trained here, every subject's images and annotations."""
        found: dict[str, str | Artifact] = {"checkpoint": self.job.checkpoint} if self.job.checkpoint else {}
        for chosen in self.judges:
            if artifact := getattr(chosen.judge, "artifact", ""):
                found[_role("detector", chosen.label)] = artifact
        for one in self.subjects:
            found[f"images:{one.name}"] = one.images.id
            for label, made in one.annotations.items():
                found[f"{_role('annotations', label)}:{one.name}"] = made.id
        return found

    # Making what is not there.

    def _names(self) -> list[str]:
        """The subjects that exist: a base by itself has no checkpoint to measure."""
        asked = dict.fromkeys(self.spec.subjects)
        return [name for name in asked if self.job.erased or not name.startswith("checkpoint")] or ["base"]

    def _judges(self) -> list[Chosen]:
        """The judges that a metric or the picture needs: for each need the first that can fill it."""
        wanted = {need for part in self.spec.measured().values() for need in needs_of(part)} | {"detections"}
        if "recognised" in wanted and self.prompts.domain:
            wanted.add("labels")  # what was recognised follows from the words that were read
        chosen: list[Chosen] = []
        for label, part in self.spec.judges.items():
            module = JUDGES.get(part.module)
            filled = {need for one in chosen for need in one.gives}
            gives = tuple(n for n in module.GIVES if n in wanted and n not in filled)
            if gives and (not hasattr(module, "reads") or module.reads(part.params, self.prompts)):
                chosen.append(Chosen(label, module.load(part.params, self.job, self.prompts), gives))
        return chosen

    def _drawn(self, name: str) -> Subject:
        if name == "clean":
            return Subject(name, self._rendered())
        from conceptlib.models.generate import generate

        job, sampler = self.job, self.spec.sampler
        negative = {"checkpoint": "checkpoint", "base+negative": ", ".join(job.phrases)}.get(name, "")
        images = generate(
            job.source if name.startswith("checkpoint") else job.base,
            self.prompts.rows,
            negative=negative,
            labels=None if self.prompts.world else self.prompts.columns or None,
            num_steps=sampler.num_steps,
            guidance_scale=sampler.guidance_scale,
            batch_size=sampler.batch_size,
            store=job.store,
            device=job.device,
            dtype=job.dtype,
            progress=partial(_renamed, job, f"draw {len(self.prompts.rows)} pictures: {name}"),
        )
        return Subject(name, images)

    def _rendered(self) -> Artifact:
        """What a perfect model would draw, as an `images` artifact."""
        from conceptlib.concepts.tables import ImageTable, shard_name

        if self.prompts.rendered is None:
            raise ConceptlibError(
                "only captions of the world can be rendered",
                hint="leave `clean` out of subjects, or say captions=world",
            )
        rows, lock = self.prompts.rendered
        with self.job.store.draft("images", "clean", lock=dict(lock)) as draft:
            if draft.done:
                return draft.done
            ImageTable.write(draft.path / "data" / shard_name("test", 0, 1), rows())
            return draft.commit(info={"rows": len(self.prompts.rows)})

    # Measuring.

    def measure(self) -> Measured:
        """The scores of every subject, their differences to the base, and the picture."""
        from conceptlib.evaluators.picture import picture

        inputs = self._inputs()
        told: dict[str, list[tuple[str, Score]]] = {}  # by metric label: subject and score, in order
        skipped: dict[str, str] = {}
        rows: list[dict[str, Any]] = []
        plain = [label for label, part in self.spec.measured().items() if "base_images" not in needs_of(part)]
        for group in self._groups(plain):
            for subject, label in _order(list(inputs), group):
                rows += self._scored(label, inputs[subject], told, skipped)
        rows += _changes(told)
        for label in (label for label in self.spec.measured() if label not in plain):
            for subject in inputs:
                if inputs[subject].base is not None:
                    rows += self._scored(label, inputs[subject], told, skipped)
        if not rows and skipped:
            raise ConceptlibError(
                "nothing could be measured: " + "; ".join(f"{label}: {why}" for label, why in skipped.items()),
                where=str(self.spec.source),
            )
        grid = picture(self.spec, self.job, self.prompts, self.subjects, inputs)
        return Measured(rows, grid, self._info(inputs, skipped, rows))

    def _inputs(self) -> dict[str, Inputs]:
        shared: dict[str, Any] = {}
        found: dict[str, Inputs] = {}
        detector = next((one.judge for one in self.judges if "detections" in one.gives), None)
        for one in self.subjects:
            found[one.name] = Inputs(
                subject=one.name,
                prompts=self.prompts,
                concepts=self.job.concepts,
                images=partial(_images, one.images),
                readings=self._readings(one),
                detections=one.detections if one.annotations else None,
                detector=detector.about() if detector is not None else {},
                base=found.get("base") if one.name not in ("base", "clean") else None,
                artifact=one.images,
                checkpoint=self.job.checkpoint,
                seed=self.spec.seed,
                device=self.job.device,
                dtype=self.job.dtype,
                model=self.job.base,
                shared=shared,
            )
        return found

    def _readings(self, subject: Subject) -> dict[str, Reading]:
        """What each judge reads, by the needs that it fills."""
        found: dict[str, Reading] = {}
        total = len(self.prompts.rows)
        for chosen in self.judges:
            if "detections" in chosen.gives:
                continue

            def tell(done: int) -> None:
                self.job.progress(f"read the pictures: {subject.name}", done, total)

            reading = judged(chosen.judge, chosen.label, _images(subject.images), self.prompts, tell)
            found |= dict.fromkeys(chosen.gives, reading)
        return found

    def _groups(self, labels: Sequence[str]) -> Iterator[list[str]]:
        """Metrics in order, those that follow each other and ask the same judge together."""
        group: list[str] = []
        hopeless = [x for x in labels if set(needs_of(self.spec.metrics[x])) & set(_JUDGED) and not self._judge_of(x)]
        yield from ([label] for label in hopeless)
        for label in (label for label in labels if label not in hopeless):
            if group and self._judge_of(label) == self._judge_of(group[0]) != frozenset():
                group.append(label)
                continue
            if group:
                yield group
            group = [label]
        if group:
            yield group

    def _judge_of(self, label: str) -> frozenset[str]:
        needed = set(needs_of(self.spec.metrics[label])) & set(_JUDGED)
        if "recognised" in needed:
            needed |= {"labels", "similarity"}
        return frozenset(one.label for one in self.judges if needed & set(one.gives))

    def _scored(
        self, label: str, inputs: Inputs, told: dict[str, list[tuple[str, Score]]], skipped: dict[str, str]
    ) -> list[dict[str, Any]]:
        """A metric's rows of one subject; none, and a reason in `skipped`, where it cannot be measured."""
        part = self.spec.metrics[label]
        self.job.progress(f"compute {label}: {inputs.subject}", 0, 1)
        try:
            self._check_needs(part, inputs)
            scores = METRICS.get(part.module).compute(inputs, part.params)
        except Skip as skip:
            if not part.optional:
                skipped[label] = str(skip)
            return []
        told.setdefault(label, []).extend((inputs.subject, score) for score in scores)
        return [score.row(inputs.subject) for score in scores]

    def _check_needs(self, part: Part, inputs: Inputs) -> None:
        """Raise Skip where something that the metric needs is not there."""
        there = {"images", "captions", "base_images", *inputs.readings}
        there |= {"detections"} if inputs.detections is not None else set()
        there |= {"recognised"} if "labels" in there and inputs.prompts.domain else set()
        there |= {"reference_images"} if inputs.prompts.reference is not None else set()
        if missing := [need for need in needs_of(part) if need not in there]:
            raise Skip(f"nothing here says {NEEDS[missing[0]]} (no judge of this suite can, for these prompts)")

    def _info(self, inputs: Mapping[str, Inputs], skipped: dict[str, str], rows: Sequence[Any]) -> dict[str, Any]:
        info: dict[str, Any] = {**self.prompts.info, "n": len(self.prompts.rows), "skipped": skipped}
        info["metrics"] = {
            name: {key: told[key] for key in ("unit", "higher_is_better", "interval")}
            for name in dict.fromkeys(row["metric"] for row in rows)
            if (known := meaning(name)) and not known.change and (told := asdict(known))
        }
        detector = next(iter(inputs.values())).detector
        info |= {"detector": detector["detector"]} if detector else {}
        read = {subject: _read_as(one) for subject, one in inputs.items()}
        return info | ({"read_as": read} if all(read.values()) else {})


def needs_of(part: Part) -> tuple[str, ...]:
    """What a metric needs with these parameters."""
    module = METRICS.get(part.module)
    found: tuple[str, ...] = module.needs(part.params) if hasattr(module, "needs") else module.METRIC.needs
    return found


def _under(label: str, part: Part, lock: Mapping[str, Any]) -> dict[str, Any]:
    """A part's lock; under its label where it has one of its own, so that two parts of one kind do not collide."""
    return dict(lock) if label.replace("_", "-") == part.module or not lock else {label: dict(lock)}


def _role(kind: str, label: str) -> str:
    return kind if label == "detector" else f"{kind}:{label}"


def _order(subjects: Sequence[str], group: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((subject, label) for subject in subjects for label in group)


def _changes(told: Mapping[str, Sequence[tuple[str, Score]]]) -> list[dict[str, Any]]:
    """Subject minus base, row by row, of every score that has a value a row."""
    rows = []
    for scores in told.values():
        before = {score.metric: score.each for subject, score in scores if subject == "base"}
        for subject, score in scores:
            base = before.get(score.metric)
            if subject not in ("base", "clean") and score.each is not None and base is not None:
                rows.append(difference(score.each, base).score(subject, f"{score.metric}_change"))
    return rows


def difference(after: np.ndarray, before: np.ndarray) -> Estimate:
    """The paired difference of two models that drew the same rows: of booleans a difference of shares (Newcombe), of
    numbers the mean difference (normal).

    Args:
        after, before: one value a row, in the same order.
    """
    if after.dtype == bool:
        return paired_difference(after, before)
    return mean(after - before)


def _read_as(inputs: Inputs) -> dict[str, int]:
    """How often each word was read in the target's images, the most frequent first; empty where none was read."""
    reading, domain = inputs.readings.get("labels"), inputs.prompts.domain
    if reading is None or domain not in reading.labels:
        return {}
    words = [word for word, own in zip(reading.labels[domain], inputs.target, strict=True) if own]
    return dict(sorted(((word, words.count(word)) for word in set(words)), key=lambda pair: (-pair[1], pair[0])))


def _images(artifact: Artifact) -> Iterator[Image.Image]:
    from conceptlib.concepts.tables import ImageTable

    table = ImageTable(artifact)
    for row in table.rows(columns=["image_id", "image"]):
        yield table.decode(row)


def _renamed(job: Job, name: str, stage: str, done: int, total: int) -> None:
    """Progress of a step under the name that the suite gives it."""
    job.progress(name, done, total)


def versions(spec: Any) -> dict[str, Any]:
    """What a lock says of the versions of the runner's and the parts' code; nothing of version 1."""
    from conceptlib.specs.registry import version_lock

    found: dict[str, Any] = version_lock(VERSION)
    parts = {
        "prompts": {spec.prompts.module: PROMPTS},
        "judges": {part.module: JUDGES for part in spec.judges.values()},
        "metrics": {part.module: METRICS for part in spec.measured().values()},
    }
    made = {
        kind: own
        for kind, modules in parts.items()
        if (own := {name: one for name, registry in modules.items() if (one := registry.version_lock(name))})
    }
    return found | ({"versions": made} if made else {})
