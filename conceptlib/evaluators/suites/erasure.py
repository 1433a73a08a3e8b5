"""Explicit concepts: is the erased thing still drawn when the caption names it, and is everything else?

Base and checkpoint draw the same captions from the same seeds (`conceptlib.evaluators.probes`); a judge reads the
pictures (`conceptlib.evaluators.readings`). Reported of each are, with UnlearnCanvas's names in brackets,

- `target_accuracy` (1 - UA): share of the target's pictures in which it is recognised; lower is better after erasure;
- `retain_accuracy` (IRA): share of the neighbours' pictures in which the neighbour is recognised;
- `accuracy.<neighbour>`: the same for each, with its embedding `distance` to the target;
- `cross_accuracy` (CRA): mean share of the other attributes that are right in the neighbours' pictures, and
  `accuracy_<attribute>` for each; `target_cross_accuracy` in the target's pictures;
- with a CLIP: `target_clip_score` and `retain_clip_score` (Kumari et al.).

and of the checkpoint alone, against `base`: `kid` of the neighbours' pictures, as pairs, and `target_accuracy_change`,
`retain_accuracy_change` and `cross_accuracy_change`, paired too.

The base's pictures are an artifact that all checkpoints with that target share, whatever the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.job import Job, Measured, Plan
from conceptlib.specs import Params as BaseParams

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from conceptlib.evaluators.probes import Probe
    from conceptlib.evaluators.readings import Reading
    from conceptlib.store import Artifact

TEMPLATES = ("a photo of {}", "an image of {}", "a picture of {}", "{}")


class Params(BaseParams):
    """What the suite measures.

    target: the erased word; null for the checkpoint's. n: pictures of the target. neighbour_n: pictures of each
        neighbour. guidance_scale, batch_size: null for the model's usual ones. features: network for KID (`tiny`, a Hub
        id, a folder); `auto` takes `tiny` for the world and leaves KID out elsewhere. examples: columns of the grid.
    clip: for pictures that are not the world's, a CLIP that judges them (a Hub id or a folder), with `anchor`, what the
        target is to become, `neighbours`, and `templates`, captions with `{}`.
    """

    target: Annotated[str, Field(min_length=1)] | None = None
    n: Annotated[int, Field(ge=4, le=100_000)] = 96
    neighbour_n: Annotated[int, Field(ge=2, le=100_000)] = 16
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    features: str = "auto"
    kid_subsets: Annotated[int, Field(ge=1, le=100_000)] = 100
    kid_subset_size: Annotated[int, Field(ge=2, le=100_000)] = 256
    examples: Annotated[int, Field(ge=2, le=32)] = 12
    clip: str | None = None
    anchor: str | None = None
    neighbours: tuple[str, ...] = ()
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = TEMPLATES

    @model_validator(mode="after")
    def _one_judge(self) -> Params:
        if self.clip and not (self.anchor and self.neighbours):
            raise ValueError("a CLIP judges against an `anchor`, and needs `neighbours`; say both")
        if not self.clip and (self.anchor or self.neighbours):
            raise ValueError("`anchor` and `neighbours` belong to `clip`; the embedded world has its own neighbours")
        return self


def plan(job: Job) -> Plan:
    """Draw what is not there yet, and say what the scores rest on."""
    params: Params = job.spec.params  # type: ignore[assignment]
    probe = _probe(job, params)
    images = {"base": _draw("base", job.base, job, params, probe)}
    if job.erased:
        images["checkpoint"] = _draw("checkpoint", job.source, job, params, probe)
    roles = {"checkpoint": job.checkpoint.id} if job.checkpoint else {}
    roles |= {f"images:{subject}": artifact.id for subject, artifact in images.items()}
    lock = {"target": probe.target, "neighbours": list(probe.neighbours), **_networks(job, params)}
    return Plan(roles, lock, partial(_measure, job, params, probe, images))


def _probe(job: Job, params: Params) -> Probe:
    """The captions for the target: the one that was asked for, else the checkpoint's only one."""
    from conceptlib.evaluators.probes import phrase_probe, world_probe

    if params.target is None and len(job.targets) != 1:
        listed = f": {', '.join(job.targets)}" if job.targets else ""
        raise ConceptlibError(
            f"this model has {len(job.targets) or 'no'} targets{listed}",
            where="target",
            hint=f"say which one to measure: target={job.targets[0] if job.targets else 'star'}",
        )
    target = params.target or job.targets[0]
    sizes = {"n": params.n, "each": params.neighbour_n, "seed": job.spec.seed}
    if params.clip:
        return phrase_probe(target, params.neighbours, params.templates, **sizes)
    return world_probe(target, without=job.targets, **sizes)


def _draw(subject: str, source: Artifact | str, job: Job, params: Params, probe: Probe) -> Artifact:
    from conceptlib.models.generate import generate

    def progress(stage: str, done: int, total: int) -> None:
        job.progress(f"draw {len(probe.rows)} pictures: {subject}", done, total)

    return generate(
        source,
        probe.rows,
        negative="checkpoint",
        num_steps=params.num_steps,
        guidance_scale=params.guidance_scale,
        batch_size=params.batch_size,
        store=job.store,
        device=job.device,
        dtype=job.dtype,
        progress=progress,
    )


def _features(params: Params) -> str | None:
    """The name of KID's network; None if there is to be no KID."""
    from conceptlib.evaluators.features import WORLD

    if params.features != "auto":
        return params.features
    return None if params.clip else WORLD


def _networks(job: Job, params: Params) -> dict[str, Any]:
    """The networks that the scores rest on, pinned by hash."""
    from conceptlib.evaluators.clip import load_clip
    from conceptlib.evaluators.features import WORLD, classifier_sha256, load_extractor

    judge = load_clip(params.clip).lock() if params.clip else {"classifier_sha256": classifier_sha256()}
    name = _features(params)
    if name == WORLD:
        return judge | {"features": WORLD, "features_sha256": classifier_sha256()}
    return judge | (load_extractor(name).lock() if name else {})


def _measure(job: Job, params: Params, probe: Probe, images: Mapping[str, Artifact]) -> Measured:
    from conceptlib.evaluators.clip import load_clip
    from conceptlib.evaluators.probes import distances
    from conceptlib.evaluators.readings import read_clip, read_world
    from conceptlib.models.loading import load_pipeline

    clip = load_clip(params.clip, job.device) if params.clip else None
    readings: dict[str, Reading] = {}
    for k, (subject, artifact) in enumerate(images.items()):
        job.progress("read the pictures", k, len(images))
        pictures = _pictures(artifact)
        readings[subject] = (
            read_clip(pictures, probe, clip, str(params.anchor)) if clip else read_world(pictures, probe)
        )
    far = distances(probe, load_pipeline(job.base, device=job.device, dtype=job.dtype))
    scores = [row for subject, reading in readings.items() for row in _scores(subject, reading, probe, far)]
    if "checkpoint" in readings:
        scores += _changes(readings["checkpoint"], readings["base"], probe)
        scores += _kid(job, params, probe, images)
    target = probe.of(probe.target)
    info = {
        "target": probe.target,
        "domain": probe.domain,
        "n": len(probe.rows),
        "read_as": {subject: reading.read_as(target) for subject, reading in readings.items() if reading.seen},
        "skipped": {} if _features(params) else {"kid": "no network to compare pictures by: features=ID names one"},
    }
    return Measured(scores, _picture(params, probe, images, readings), info)


def _scores(subject: str, reading: Reading, probe: Probe, far: Mapping[str, float]) -> list[dict[str, Any]]:
    """What is said of one model by itself."""
    from conceptlib.evaluators.clip import clip_score
    from conceptlib.evaluators.stats import mean, wilson

    target = probe.of(probe.target)
    about = {"target": probe.target, "domain": probe.domain}

    def share(metric: str, verdict: np.ndarray, **more: Any) -> dict[str, Any]:
        return wilson(int(verdict.sum()), len(verdict)).score(subject, metric, **about, **more)

    rows = [share("target_accuracy", reading.named[target]), share("retain_accuracy", reading.named[~target])]
    for value in probe.neighbours:
        rows.append(share(f"accuracy.{value}", reading.named[probe.of(value)], distance=far.get(value)))
    if reading.others:
        rows.append(mean(reading.cross[~target], low=0, high=1).score(subject, "cross_accuracy", **about))
        rows += [share(f"accuracy_{name}", verdict[~target]) for name, verdict in reading.others.items()]
        rows.append(mean(reading.cross[target], low=0, high=1).score(subject, "target_cross_accuracy", **about))
    if reading.cosines is not None:
        rows.append(clip_score(reading.cosines[target]).score(subject, "target_clip_score", **about))
        rows.append(clip_score(reading.cosines[~target]).score(subject, "retain_clip_score", **about))
    return rows


def _changes(after: Reading, before: Reading, probe: Probe) -> list[dict[str, Any]]:
    """The checkpoint minus the base, row by row."""
    from conceptlib.evaluators.stats import mean, paired_difference

    target = probe.of(probe.target)
    changes = {
        "target_accuracy": paired_difference(after.named[target], before.named[target]),
        "retain_accuracy": paired_difference(after.named[~target], before.named[~target]),
    }
    if after.others:
        changes["cross_accuracy"] = mean((after.cross - before.cross)[~target])
    return [change.score("checkpoint", f"{name}_change") for name, change in changes.items()]


def _kid(job: Job, params: Params, probe: Probe, images: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    """KID of the checkpoint's pictures of the neighbours against the base's, as pairs."""
    from conceptlib.evaluators.features import load_extractor
    from conceptlib.evaluators.kid import feature_scale, kid

    name = _features(params)
    if name is None:
        return []
    extractor, kept = load_extractor(name, job.device), ~probe.of(probe.target)
    features = {subject: extractor.features(_pictures(artifact))[kept] for subject, artifact in images.items()}
    scale = feature_scale(features["base"])
    estimate = kid(
        features["checkpoint"] / scale,
        features["base"] / scale,
        subsets=params.kid_subsets,
        subset_size=params.kid_subset_size,
        seed=job.spec.seed,
        paired=True,
    )
    return [estimate.score("checkpoint", "kid", reference="base", scale=round(scale, 6), **extractor.lock())]


def _picture(
    params: Params, probe: Probe, images: Mapping[str, Artifact], readings: Mapping[str, Reading]
) -> Image.Image:
    """The grid, one band a model: captions of the target, then one of each neighbour in turn."""
    from conceptlib.concepts.tables import ImageTable
    from conceptlib.reports.grid import Panel, grid

    target = probe.of(probe.target)
    starts = {row["value"]: index for index, row in reversed(list(enumerate(probe.rows)))}
    own = min((params.examples + 1) // 2, int(target.sum()))
    shown = [*range(own), *[starts[value] for value in probe.neighbours[: params.examples - own]]]
    panels = []
    for subject, artifact in images.items():
        table, named = ImageTable(artifact), readings[subject].named
        found = {k: table.decode(row) for k, row in enumerate(table.rows(columns=["image_id", "image"])) if k in shown}
        note = f"{probe.target} recognised in {100 * named[target].mean():.0f} % of its {target.sum()} pictures, "
        note += f"neighbours in {100 * named[~target].mean():.0f} % of {(~target).sum()}"
        heading = "before" if subject == "base" else f"after erasing {probe.target}"
        panels.append(Panel(heading, note, [found[k] for k in shown]))
    footer = f"The first {own} captions of the target, and the first of each of {len(shown) - own} neighbours; "
    footer += "nothing was picked by hand."
    captions = [probe.rows[k]["caption"] for k in shown]
    title = "Same caption, same seed"
    return grid(panels, captions, title=title, footer=footer, columns=min(8, len(shown)), cell=120)


def _pictures(images: Artifact) -> Iterator[Image.Image]:
    from conceptlib.concepts.tables import ImageTable

    table = ImageTable(images)
    for row in table.rows(columns=["image_id", "image"]):
        yield table.decode(row)
