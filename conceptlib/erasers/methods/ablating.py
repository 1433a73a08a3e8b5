"""Ablating Concepts (Kumari et al., ICCV 2023, arXiv 2303.13516): the prompt of a concept c* learns to mean its anchor
a, something broader (grumpy cat → cat, Van Gogh → painting, a memorised caption → its paraphrases).

z_t is the noised latent of a picture of the anchor. Model-based:

    L = ‖m ⊙ [ε_θ(z_t, c*) − sg ε_θ(z_t, a)]‖² / Σm + λ ‖ε_θ(z_t', a) − ε‖²

where the teacher is the current weights under stop-gradient (sg) and the second term, on another picture, keeps the
anchor (prior). The authors' code sums the first term over the latent's channels, and so weighs it 4 times as much
against the prior as this formula (`convention: release`). Noise-based: the target is the noise ε itself. The keys and
values of the begin mark are detached. m masks the padding of the authors' augmentations; here pictures are not
augmented, so m = 1 throughout.

Pictures are drawn by the base from anchor prompts, or taken from a dataset (`--data`) whose captions name the anchor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from conceptlib.erasers.base import Job, Result, WeightParams
from conceptlib.specs.params import PositiveFloat, PositiveInt

if TYPE_CHECKING:
    import torch

    from conceptlib.erasers.anchors import Anchors, Pair
    from conceptlib.models.conditioning import Conditioning, Framing


class Params(WeightParams):
    """Settings.

    variant: `model` (the target is what the model says of the anchor) or `noise`.
    kind: how a prompt about the concept is made from one about the anchor, see `erasers.anchors`.
    anchor: one or more anchors for all concepts; for `style` "painting" if none is given.
    anchors: anchors of single concepts, by the concept's name or phrase; they go before `anchor`.
    templates: anchor prompts with {} for the anchor; by default some of each kind.
    part: which weights: the papers' choice is `attn2-kv` (style, object), `attention` (nudity), `all` (memorised).
    images: pictures that the base draws; prior_weight: λ.
    convention: `paper` takes both terms as means; `release` the first one as a sum over channels.
    timestep_shift: above 1, more of the noisy timesteps; 1: uniform, as in the paper.
    """

    variant: Literal["model", "noise"] = "model"
    kind: Literal["object", "style", "memorised"] = "object"
    anchor: tuple[str, ...] = ()
    anchors: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    templates: tuple[str, ...] = ()
    part: Literal["attn2", "attn2-kv", "attn1", "attention", "no-attn2", "no-attn2-inner", "all"] = "attn2-kv"
    images: PositiveInt = 200
    num_steps: PositiveInt = 25
    guidance_scale: Annotated[float, Field(gt=1)] = 6.0
    prior_weight: Annotated[float, Field(ge=0)] = 0.0
    timestep_shift: PositiveFloat = 1.0
    convention: Literal["paper", "release"] = "paper"

    later: ClassVar[frozenset[str]] = frozenset({"convention"})

    @model_validator(mode="after")
    def _templates_hold_the_anchor(self) -> Params:
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"{template!r} must hold {{}} once, where the anchor goes")
        return self

    def in_words(self) -> str:
        """The convention, for the manifest and the card."""
        prior = f", prior term {self.prior_weight:g}" if self.prior_weight else ""
        prior += ", first term summed over channels as in the release" if self.convention == "release" else ""
        return f"{self.variant}-based, {self.kind}, weights {self.part}, begin mark detached, m = 1{prior}"


def needs(params: Params) -> frozenset[str]:
    """Nothing: the base draws the anchor's pictures."""
    return frozenset()


def uses(params: Params) -> frozenset[str]:
    """Pictures of the anchor, if they are given."""
    return frozenset({"data"})


def run(job: Job) -> Result:
    """Train; see the module."""
    from conceptlib.erasers.loop import train

    params: Params = job.params
    objective = AblatingObjective(job)
    report = train(
        objective,
        params,
        rows=len(objective.pairs),
        seed=job.seed,
        workdir=job.workdir,
        log=job.log,
        accelerator=job.accelerator,
        progress=job.progress,
    )
    info = {**report.as_dict(), "convention": params.in_words(), "images": len(objective.pairs)}
    return Result(adapter=params.adapter, changed=objective.student.release(), convention=params.in_words(), info=info)


class AblatingObjective:
    """The loss over pictures of the anchor; `pairs` has the prompts of each."""

    may_skip = False

    def __init__(self, job: Job) -> None:
        from conceptlib.erasers.anchors import Anchors
        from conceptlib.erasers.student import Student
        from conceptlib.models.encoding import PromptCache, refuse_cut

        params: Params = job.params
        self.params = params
        self.student = Student(job, params.part)
        self.embeds = PromptCache(job.model)
        self._framings: list[Framing] = []
        anchors = Anchors(params.kind, params.anchor, params.anchors, params.templates)
        if job.data is not None:
            self._latents, self.pairs, self._framings = _given(job, self.student.side, anchors)
        else:
            self.pairs = anchors.drawn(job.concepts, params.images)
            self._latents = _draw(job, self.student, self.embeds, [anchor for anchor, _ in self.pairs])
        refuse_cut(job.model.tokenizer, [prompt for pair in self.pairs for prompt in pair])

    def modules(self) -> dict[str, Any]:
        """The denoiser."""
        return self.student.modules()

    def groups(self) -> list[Any]:
        """The part's weights."""
        return self.student.groups()

    def loss(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
        """The mean over pictures `rows`, each with noise and a timestep of its own."""
        return self.loss_of(self.batch(rows, generators))

    def batch(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> dict[str, Any]:
        """The pictures' latents, noise, timesteps and prompts; of the prior's pictures too (`other_...`)."""
        found = {**self._noised(rows, generators), "pairs": [self.pairs[row] for row in rows]}
        found["framings"] = self._framings_of(rows)
        if self.params.prior_weight:
            others = [self._other(source) for source in generators]
            found |= {f"other_{name}": value for name, value in self._noised(others, generators).items()}
            found["other_pairs"] = [self.pairs[row] for row in others]
            found["other_framings"] = self._framings_of(others)
        return found

    def loss_of(self, batch: dict[str, Any]) -> torch.Tensor:
        """`loss` of a batch."""
        student = self.student
        latents, noise, timesteps = self._on_device(batch, "")
        anchor, concept = (self._conditioning(batch, "", side) for side in (0, 1))
        target = noise if self.params.variant == "noise" else self._teacher(latents, timesteps, anchor)
        with student.model.detached_first_token():
            loss = student.distance(student.epsilon(latents, timesteps, concept), target, timesteps)
            if self.params.convention == "release":
                loss = student.shape[0] * loss
            if self.params.prior_weight:
                latents, noise, timesteps = self._on_device(batch, "other_")
                prompts = self._conditioning(batch, "other_", 0)
                prior = student.distance(student.epsilon(latents, timesteps, prompts), noise, timesteps)
                loss = loss + self.params.prior_weight * prior
        return loss

    def _teacher(self, latents: torch.Tensor, timesteps: torch.Tensor, anchor: Conditioning) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return self.student.epsilon(latents, timesteps, anchor)

    def _framings_of(self, rows: Sequence[int]) -> list[Framing]:
        """How given pictures were cut; none of drawn ones."""
        return [self._framings[row] for row in rows] if self._framings else []

    def _conditioning(self, batch: Mapping[str, Any], which: str, side: int) -> Conditioning:
        """Of the anchors' prompts (0) or the concepts' (1), with how given pictures were cut."""
        found = self.embeds.encode([pair[side] for pair in batch[f"{which}pairs"]])
        framings = batch[f"{which}framings"]
        return self.student.model.framed(found, framings) if framings else found

    def _other(self, source: torch.Generator) -> int:
        import torch

        return int(torch.randint(len(self.pairs), (), generator=source))

    def _noised(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> dict[str, torch.Tensor]:
        """x₀, ε and t of pictures, on the CPU."""
        import torch

        from conceptlib.models.prediction import shifted_timesteps

        steps, shift = self.student.prediction.num_timesteps, self.params.timestep_shift
        clean = self._latents(rows)
        noise = torch.stack([torch.randn(clean.shape[1:], generator=source) for source in generators]).to(clean)
        uniform = torch.cat([torch.rand(1, generator=source, dtype=torch.float64) for source in generators])
        return {"clean": clean, "noise": noise, "timesteps": shifted_timesteps(uniform, steps, shift)}

    def _on_device(self, batch: dict[str, Any], prefix: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """z_t, ε and t."""
        from conceptlib.models.devices import send

        names = ("clean", "noise", "timesteps")
        clean, noise, timesteps = (send(batch[prefix + name], self.student.device) for name in names)
        return self.student.prediction.noised(clean, noise, timesteps), noise, timesteps


def _draw(job: Job, student: Any, embeds: Any, prompts: Sequence[str]) -> Any:
    """Latents of pictures that the base draws of the prompts, cached in `workdir`; returns how to read rows of them."""
    import torch

    from conceptlib.erasers.cache import RowCache
    from conceptlib.models.prediction import wide
    from conceptlib.models.sampling import denoise, rows_at_once
    from conceptlib.store.seeds import row_seed

    params: Params = job.params

    def make(rows: range) -> dict[str, torch.Tensor]:
        noise = torch.stack(
            [
                torch.randn(student.shape, generator=torch.Generator().manual_seed(row_seed(job.seed, row, "anchor")))
                for row in rows
            ]
        )
        asked = embeds.encode([None for _ in rows] + [prompts[row] for row in rows])
        with job.accelerator.autocast():
            drawn = denoise(job.model, noise, asked, num_steps=params.num_steps, guidance_scale=params.guidance_scale)
        return {"latents": wide(drawn).clone()}

    cache = RowCache(job.workdir, "anchor", len(prompts), min(16, rows_at_once(student.side, student.side)))
    size = 4 * torch.Size(student.shape).numel()
    cache.fill(make, accelerator=job.accelerator, bytes_per_row=size, stage="draw anchors", progress=job.progress)
    return lambda rows: cache.read("latents", rows)


def _given(job: Job, side: int, anchors: Anchors) -> tuple[Any, list[Pair], list[Framing]]:
    """Pictures of `job.data`, the pairs that their captions give, one a picture and concept, and how they were cut."""

    from conceptlib.erasers.examples import gather
    from conceptlib.errors import ConceptlibError

    assert job.data is not None
    examples = gather(job, side=side, min_score=0.0, located=False)
    found = [item for concept in job.concepts for item in anchors.of_captions(concept, examples.captions).items()]
    if not found:
        raise ConceptlibError(
            "no caption of the train split names an anchor",
            where=job.data.ref,
            hint="give pictures of the anchor, or leave data out: the base draws them",
        )
    pictures = [index for index, _ in found]
    framings = [examples.framings[index] for index in pictures]
    read = partial(_rows, examples.latents, pictures)
    return read, [pair for _, pair in found], framings


def _rows(latents: Any, pictures: Sequence[int], rows: Sequence[int]) -> torch.Tensor:
    import torch

    return torch.from_numpy(latents[[pictures[row] for row in rows]])
