"""Guided walks from noise towards pictures of a prompt: where on the way the model stands, and what it says there.

ESD and its relatives train on z_t taken from such walks. A walk visits all its timesteps anyway, so all of them are
kept: N walks of S steps are N·S training points for the price of N drawings. The walk computes ε(z_t, f) and ε(z_t, ∅)
for its guidance; kept beside z_t, they are the teacher's half of the target, and no teacher runs during training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from conceptlib.erasers.base import Job
from conceptlib.erasers.cache import RowCache
from conceptlib.erasers.student import Student
from conceptlib.models.conditioning import Conditioning
from conceptlib.models.devices import send
from conceptlib.models.encoding import PromptCache
from conceptlib.models.prediction import wide
from conceptlib.models.sampling import denoise, rows_at_once
from conceptlib.models.schedules import fresh
from conceptlib.store.seeds import row_seed

MAX_ROWS = 16
"""Walks at once, at most, and no more than pictures are trained on at once: `gradient_accumulation` saves memory here
too.
"""


@dataclass(frozen=True)
class Walk:
    """One walk: drawn from `start` (f), about `concept` (c)."""

    start: str
    concept: str


@dataclass(frozen=True)
class Points:
    """Points of walks, M of them: z_t (M, C, h, w), t int64 (M,), the teacher's ε of f, c and ∅, each (M, C, h, w), and
    which walk each point is on.
    """

    latents: torch.Tensor
    timesteps: torch.Tensor
    start: torch.Tensor
    concept: torch.Tensor
    null: torch.Tensor
    walks: list[int]


class Trajectories:
    """Walks that are cached in the job's `workdir`.

    Args:
        walks: N of them; the noise of each follows from the job's seed, its position and the round.
        num_steps: S, steps of a walk.
        guidance_scale: of the walk, above 1.
        by_student: the student walks and the teacher (the frozen base) is asked at every point; else the base walks and
            is the teacher in one.
        own_scheduler: the walks are by the scheduler that the base was saved with, not by DDIM; S are its first ones.
    """

    def __init__(
        self,
        job: Job,
        student: Student,
        walks: Sequence[Walk],
        *,
        num_steps: int,
        guidance_scale: float,
        by_student: bool,
        own_scheduler: bool = False,
    ) -> None:
        self.job, self.student, self.walks = job, student, list(walks)
        self.num_steps, self.guidance_scale, self.by_student = num_steps, guidance_scale, by_student
        self.own_scheduler = own_scheduler
        self.embeds = PromptCache(job.model)
        self._cache = self._round(0)

    def __len__(self) -> int:
        return len(self.walks) * self.num_steps

    def ready(self, number: int = 0, *, keep: int = 0) -> None:
        """Walk the round `number` (from 0; more than one only for walks of the student) unless it lies there already.

        Args:
            keep: rounds before this one are not needed any more, whatever happens: their files are removed.
        """
        self._cache = self._round(number)
        predictions = 3 if self._three else 2
        floats = self.num_steps * (1 + predictions) * torch.Size(self.student.shape).numel()
        self._cache.fill(
            lambda rows: self._walk(rows, number),
            accelerator=self.job.accelerator,
            bytes_per_row=4 * floats,
            stage="walk",
            progress=self.job.progress,
        )
        if self.job.accelerator.is_main_process:
            for old in range(keep):
                self._round(old).remove()

    def read(self, rows: Sequence[int]) -> Points:
        """Points by number below `len(self)`: step `row % S` of walk `row // S`. On the student's device."""
        walks, steps = [row // self.num_steps for row in rows], [row % self.num_steps for row in rows]
        found = {
            name: send(self._cache.read(name, walks, steps), self.student.device)
            for name in ("latents", "timesteps", "null", "start", *(["concept"] if self._three else []))
        }
        return Points(**{"concept": found["start"], **found}, walks=walks)

    def condition(self, walks: Sequence[int], *, start: bool = False) -> Conditioning:
        """The conditioning of the concepts of walks, or of what they start from, M rows."""
        return self.embeds.encode([self.walks[walk].start if start else self.walks[walk].concept for walk in walks])

    @property
    def _three(self) -> bool:
        return any(walk.start != walk.concept for walk in self.walks)

    def _round(self, number: int) -> RowCache:
        params = self.student.params
        micro = max(1, params.batch_size // params.gradient_accumulation)
        size = min(MAX_ROWS, micro, rows_at_once(self.student.side, self.student.side))
        return RowCache(self.job.workdir, f"walk-{number:05d}", len(self.walks), size)

    @torch.no_grad()
    def _walk(self, rows: range, number: int) -> dict[str, torch.Tensor]:
        walks = [self.walks[row] for row in rows]
        seeds = [row_seed(self.job.seed, number * len(self.walks) + row, "walk") for row in rows]
        sources = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(self.student.shape, generator=source) for source in sources])
        prompts = [None for _ in walks] + [walk.start for walk in walks]
        asked = prompts + [walk.concept for walk in walks] if self._three else prompts
        given = self.embeds.encode(asked)
        kept: list[dict[str, torch.Tensor]] = []

        def watch(step: int, timestep: torch.Tensor, latents: torch.Tensor, outputs: torch.Tensor) -> None:
            if self.by_student:
                with self.student.teacher():
                    states = torch.cat([latents] * (len(asked) // len(walks)))
                    said = self.student.model.predict(states, timestep, given.to(dtype=states.dtype))
            else:
                said = outputs
            parts = [
                self.student.prediction.to_epsilon(wide(part), wide(latents), timestep)
                for part in said.chunk(len(asked) // len(walks))
            ]
            one = dict(zip(("null", "start", "concept"), parts, strict=False))
            kept.append({**one, "latents": wide(latents), "timesteps": timestep.expand(len(walks))})

        with self.job.accelerator.autocast():
            denoise(
                self.job.model,
                noise,
                self.embeds.encode(prompts) if self.by_student else given,
                num_steps=self.num_steps,
                guidance_scale=self.guidance_scale,
                watch=watch,
                scheduler=fresh(self.job.pipe.scheduler) if self.own_scheduler else None,
                generators=sources,
                until=self.num_steps,
            )
        return {name: torch.stack([one[name] for one in kept], dim=1).cpu().clone() for name in kept[0]}
