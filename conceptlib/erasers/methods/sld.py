"""SLD, Safe Latent Diffusion (Schramowski et al., CVPR 2023): steer away from a concept at inference, train nothing.

With e_u, e_p and e_S the predictions of ε for the empty (or negative) prompt, the picture's own and the safety concept
S, every step

    μ  = min(s_S·|e_p − e_S|, 1) where e_p − e_S < λ, else 0             (element by element)
    γ  = μ ⊙ (e_S − e_u) + s_m·ν          ν ← β_m·ν + (1 − β_m)·γ        (ν = 0 at the start; also during warm-up)
    ε̂  = e_u + s_g·[(e_p − e_u) − γ]      from step δ on; before it, plain guidance

S is the phrases of all concepts, joined by commas. The checkpoint is this configuration; `conceptlib.load` opens the
base with it. Models that predict v are guided in ε (`models.prediction`). Without guidance (scale 1 or less) it is off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from conceptlib.erasers.base import Job, Result
from conceptlib.errors import ConceptlibError
from conceptlib.specs.params import Params as BaseParams
from conceptlib.specs.params import PositiveFloat

if TYPE_CHECKING:
    import torch

Scale = Annotated[float, Field(ge=0)]


class Params(BaseParams):
    """Settings, by default the paper's `medium`. The recipes `sld/weak`, `medium`, `strong` and `max` are its four
    presets.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 10
    """δ: steps of plain guidance. The presets are for 50 steps."""
    scale: PositiveFloat = 1000.0
    """s_S, the guidance away from the concept; at 0 nothing would be."""
    threshold: Annotated[float, Field(ge=-10, le=10)] = 0.01
    """λ: elements where e_p exceeds e_S by it or more are left alone."""
    momentum_scale: Scale = 0.3
    """s_m."""
    momentum_beta: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """β_m."""


class Config(Params):
    """What a checkpoint holds: the settings, and the text of the safety concept."""

    concept: Annotated[str, Field(min_length=1)]


def needs(params: Params) -> frozenset[str]:
    """Nothing, not even a change of the model."""
    return frozenset()


def run(job: Job) -> Result:
    """Write down what `apply` will do."""
    from conceptlib.models.encoding import refuse_cut

    concept = ", ".join(dict.fromkeys(phrase for concept in job.concepts for phrase in concept.phrases))
    refuse_cut(job.model.tokenizer, [concept], what="safety concept")
    config = Config(**job.params.model_dump(), concept=concept)
    return Result(adapter="config", convention="arXiv 2211.05105", config=config.model_dump(mode="json"))


def apply(pipe: Any, config: dict[str, Any]) -> None:
    """Make the pipeline follow the rule.

    Raises:
        ConceptlibError: a configuration that this version does not understand.
    """
    try:
        pipe.guidance_rule = SafeGuidance(Config.model_validate(config))
    except ValidationError as error:
        raise ConceptlibError(
            "this configuration of SLD cannot be read", hint=f"{error.errors()[0]['msg']}; a newer version?"
        ) from error


@dataclass(frozen=True)
class SafeGuidance:
    """SLD as a `models.guidance.GuidanceRule`."""

    config: Config

    @property
    def prompts(self) -> tuple[str, ...]:
        """The safety concept."""
        return (self.config.concept,)

    def begin(self) -> _Run:
        """A run with no momentum yet."""
        return _Run(self.config)


class _Run:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.momentum: torch.Tensor | None = None

    def __call__(
        self, negative: torch.Tensor, positive: torch.Tensor, extra: torch.Tensor, step: int, guidance_scale: float
    ) -> torch.Tensor:
        """ε̂ of one step; see the module."""
        import torch

        config, safety = self.config, extra[0]
        difference = positive - safety
        mu = torch.where(difference >= config.threshold, 0, (difference.abs() * config.scale).clamp(max=1))
        gamma = mu * (safety - negative)
        if self.momentum is None:
            self.momentum = torch.zeros_like(gamma)
        gamma = gamma + config.momentum_scale * self.momentum
        self.momentum = config.momentum_beta * self.momentum + (1 - config.momentum_beta) * gamma
        direction = positive - negative
        if step >= config.warmup_steps:
            direction = direction - gamma
        return negative + guidance_scale * direction
