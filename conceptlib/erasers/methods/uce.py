"""UCE, Unified Concept Editing (Gandikota et al., WACV 2024): erase in closed form, in seconds, without training.

Every key and value matrix of cross-attention becomes

    W' = (λW + e·Σ W c_i* c_iᵀ + p·Σ W k_j k_jᵀ)(λI + e·Σ c_i c_iᵀ + p·Σ k_j k_jᵀ)⁻¹

with c_i the text encoder's state at the last token of a phrase to erase, c_i* that of what it shall be read as (the
empty prompt, or another phrase), k_j that of a phrase to preserve. The factor on the right is the same for all layers
and is factored once; the edit is a LoRA of a rank of at most the number of phrases, without loss.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from conceptlib.erasers.base import Job, Result
from conceptlib.specs.params import Params as BaseParams
from conceptlib.specs.params import PositiveFloat

Text = Annotated[str, Field(max_length=500)]
Words = Annotated[str, Field(min_length=1, max_length=500)]
Scale = Annotated[float, Field(ge=0)]


class Params(BaseParams):
    """Settings. Three lists: the recipe's concepts are erased (read as `anchor`), `redirect` is read as something of
    its own, `preserve` and the recipe's neighbours are held.
    """

    anchor: Text = ""
    """What an erased phrase is read as; empty: the end mark of the empty prompt (see `convention`)."""
    redirect: dict[Words, Text] = Field(default_factory=dict)
    """Phrase to what it shall be read as instead; a phrase that is no concept of the recipe may be among them."""
    preserve: tuple[Words, ...] = ()
    templates: Annotated[tuple[Words, ...], Field(min_length=1)] = ("{}",)
    """Prompts that every phrase is put into; more of them make the edit hold in more contexts, and its rank larger."""
    positions: Literal["last", "tail"] = "last"
    """`last`: the phrase's last token, as in the paper. `tail`: every position behind it as well."""
    lamb: PositiveFloat = 0.5
    erase_scale: PositiveFloat = 1.0
    preserve_scale: Scale = 1.0
    adapter: Literal["lora", "tensors"] = "lora"
    convention: Literal["paper", "release"] = "paper"
    """What an empty anchor is: the end mark that stands in the phrase's place, or (as in the authors' code) the begin
    mark, which every prompt has.
    """

    later: ClassVar[frozenset[str]] = frozenset({"convention"})

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"the template {template!r} must hold {{}} exactly once")
        return templates


FORWARDS = False
"""The denoiser is edited and never run."""


def needs(params: Params) -> frozenset[str]:
    """Nothing but the model."""
    return frozenset()


def run(job: Job) -> Result:
    """Edit `job.model` in closed form; see the module."""
    from conceptlib.erasers.closed_form import uce
    from conceptlib.erasers.methods._closed_form import finish, held, moves, pairs, refuse_unmoved

    params: Params = job.params
    wanted, kept = moves(job), held(job)
    refuse_unmoved(job, wanted)
    sources, targets = pairs(
        job.model, wanted, params.templates, params.positions, begin=params.convention == "release"
    )
    preserved, _ = pairs(job.model, {phrase: phrase for phrase in kept}, params.templates, params.positions)
    edit = uce(
        sources,
        targets,
        preserved,
        lamb=params.lamb,
        erase_scale=params.erase_scale,
        preserve_scale=params.preserve_scale,
    )
    return finish(
        job.model,
        edit,
        params.adapter,
        f"keys and values of cross-attention, positions: {params.positions}"
        + (", an empty anchor is the begin mark" if params.convention == "release" else ""),
        {"edited": len(wanted), "preserved": len(kept)},
    )
