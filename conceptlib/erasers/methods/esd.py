"""ESD, Erasing Concepts from Diffusion Models (Gandikota et al., ICCV 2023, arXiv 2303.07345): where the model would be
guided towards the concept c, it learns to go the other way.

With ε the frozen base, z_t a point on a guided walk towards f (the concept, or `erase_from`), ∅ the empty prompt:

* paper: y = ε(z_t, ∅) − η [ε(z_t, c) − ε(z_t, ∅)], η = 1, z_t walked by the model that is being trained;
* release: y = ε(z_t, f) − η [ε(z_t, c) − ε(z_t, ∅)], η = 2, z_t walked by the frozen base;

loss ‖ε_θ(z_t, c) − y‖², in the release ‖ε_θ(z_t, f) − y‖². With f = c the release's η is the paper's + 1. Variants by
what is trained: ESD-x cross-attention (strict: its keys and values), ESD-u everything else, ESD-self self-attention,
ESD-all.

A walk is by DDIM, whatever scheduler the base was saved with; in the release by that scheduler. Unlike the authors'
code, all steps of a walk are trained on, and its timesteps are not jittered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from conceptlib.erasers.base import Job, Result, WeightParams
from conceptlib.specs.params import PositiveFloat, PositiveInt

if TYPE_CHECKING:
    import torch

    from conceptlib.models.parts import Part

Convention = Literal["paper", "release"]

VERSION = 2
"""2: with `convention: release` a walk is by the base's own scheduler."""


class Params(WeightParams):
    """Settings.

    convention: the target's form; with ESD-u also whether the output convolution and the time embedding are left out
        (paper) or trained (release).
    as_released: with `convention: release`, what else the authors' code does: the student is trained at f, ESD-u
        and -all leave normalisation layers as they are, and walks are by the base's own scheduler. It is so unless it
        is turned off.
    erase_from: f where it is not the concept: what the concept is taken out of.
    templates: what is said around a concept; every one is trained on.
    sampler: who walks; the student's walks are made anew every `refresh` steps.
    """

    variant: Literal["x", "x-strict", "u", "self", "all"] = "x"
    convention: Convention = "paper"
    eta: PositiveFloat = 1.0
    erase_from: str = ""
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("{}",)
    sampler: Literal["base", "student"] = "base"
    refresh: PositiveInt = 50
    trajectories: PositiveInt = 32
    num_steps: PositiveInt = 50
    start_guidance: Annotated[float, Field(gt=1)] = 3.0
    as_released: bool = False

    later: ClassVar[frozenset[str]] = frozenset({"as_released"})

    @model_validator(mode="after")
    def _released(self) -> Params:
        if self.as_released and self.convention != "release":
            raise ValueError("as_released goes with convention: release")
        if self.convention == "release" and "as_released" not in self.model_fields_set:
            object.__setattr__(
                self, "as_released", True
            )  # a default that another field decides; nobody has seen it yet
        return self

    @field_validator("templates")
    @classmethod
    def _hold_the_concept(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"{template!r} must hold {{}} once, where the concept goes")
        return templates

    @property
    def part(self) -> Part:
        """Which weights are trained."""
        everything_else: Part = "no-attn2-inner" if self.convention == "paper" else "no-attn2"
        parts: dict[str, Part] = {
            "x": "attn2",
            "x-strict": "attn2-kv",
            "u": everything_else,
            "self": "attn1",
            "all": "all",
        }
        return parts[self.variant]

    def in_words(self, scheduler: str = "") -> str:
        """The convention, for the manifest and the card. scheduler: the name of the base's."""
        walker = "the frozen base" if self.sampler == "base" else f"the student, anew every {self.refresh} steps"
        source = f"f = {self.erase_from!r}" if self.erase_from else "f = c"
        if self.erase_from:
            source += ", trained at f" if self.as_released else ", trained at c"
        if self.variant in ("u", "all"):
            source += ", without normalisation layers" if self.as_released else ", with normalisation layers"
        walker += f", by its own {scheduler}" if self.as_released and scheduler else ""
        return f"ESD-{self.variant}, {self.convention} target, eta {self.eta:g}, {source}, latents walked by {walker}"


def needs(params: Params) -> frozenset[str]:
    """Nothing: the base draws what it is trained on."""
    return frozenset()


def run(job: Job) -> Result:
    """Train; see the module."""
    from conceptlib.erasers.loop import train

    params: Params = job.params
    convention = params.in_words(type(job.pipe.scheduler).__name__)
    objective = EsdObjective(job)
    report = train(
        objective,
        params,
        rows=len(objective.points),
        seed=job.seed,
        workdir=job.workdir,
        log=job.log,
        accelerator=job.accelerator,
        progress=job.progress,
    )
    return Result(
        adapter=params.adapter,
        changed=objective.student.release(),
        convention=convention,
        info={**report.as_dict(), "convention": convention, "points": len(objective.points)},
    )


class EsdObjective:
    """‖ε_θ(z_t, c) − y‖² at the points of cached walks."""

    may_skip = False

    def __init__(self, job: Job) -> None:
        from conceptlib.erasers.anchors import cycle
        from conceptlib.erasers.student import Student
        from conceptlib.erasers.trajectories import Trajectories, Walk
        from conceptlib.errors import ConceptlibError
        from conceptlib.models.encoding import refuse_cut

        params: Params = job.params
        self.params = params
        texts = [template.format(concept.phrase) for concept in job.concepts for template in params.templates]
        refuse_cut(job.model.tokenizer, [*texts, *([params.erase_from] if params.erase_from else [])])
        if params.trajectories < len(texts):
            raise ConceptlibError(
                f"{params.trajectories} trajectories do not reach for {len(texts)} prompts "
                f"({len(job.concepts)} concepts, {len(params.templates)} templates)",
                where="trajectories",
                hint=f"use trajectories={len(texts)} or more",
            )
        self.student = Student(job, params.part, norms=not params.as_released)
        self.points = Trajectories(
            job,
            self.student,
            cycle([Walk(params.erase_from or text, text) for text in texts], params.trajectories),
            num_steps=params.num_steps,
            guidance_scale=params.start_guidance,
            by_student=params.sampler == "student",
            own_scheduler=params.as_released,
        )
        if params.sampler == "base":
            self.points.ready()

    def modules(self) -> dict[str, Any]:
        """The denoiser."""
        return self.student.modules()

    def groups(self) -> list[Any]:
        """The variant's weights."""
        return self.student.groups()

    def prepare(self, step: int) -> None:
        """See that the student's walks are those of its round."""
        params = self.params
        if params.sampler == "student" and (step % params.refresh == 0 or not self._walked):
            saved = max(0, step - params.checkpoint_every)  # a run that stops now may go on from there
            self.points.ready(step // params.refresh, keep=saved // params.refresh)
            self._walked = True

    _walked = False

    def loss(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
        """The mean over points `rows`; nothing is left to chance in it, so the generators are not used."""
        points = self.points.read(rows)
        target = esd_target(points.null, points.concept, points.start, self.params.eta, self.params.convention)
        condition = self.points.condition(points.walks, start=self.params.as_released)
        output = self.student.epsilon(points.latents, points.timesteps, condition)
        return self.student.distance(output, target, points.timesteps)


def esd_target(
    null: torch.Tensor, concept: torch.Tensor, start: torch.Tensor, eta: float, convention: Convention
) -> torch.Tensor:
    """y of either convention, from the base's ε(z_t, ∅), ε(z_t, c) and ε(z_t, f), all (N, C, h, w)."""
    return (null if convention == "paper" else start) - eta * (concept - null)
